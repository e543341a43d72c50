//! `POST /chat/<room>`: append one line.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, ETAG, HOST, HeaderValue, LOCATION, ORIGIN};
use hyper::{HeaderMap, StatusCode};
use tokio::time::timeout;

use crate::body::Body;
use crate::conditional::prefers_html;
use crate::error::Error;
use crate::form::{FormType, required};
use crate::handlers::{App, Response, TEXT, respond};
use crate::line::Post;
use crate::name::RoomName;
use crate::route::MessageField;
use crate::store::batch::Stored;

/// The most bytes that a posted body may have.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Appends one line, and answers once it is on disk.
pub async fn post(
    app: &Arc<App>,
    room: RoomName,
    field: MessageField,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Response, Error> {
    same_site(headers)?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let form = FormType::of(content_type.unwrap_or_default())?;
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Error::BodyTooLarge);
    }
    let body = match timeout(app.body_timeout, whole(body)).await {
        Ok(body) => body?,
        Err(_) => return Err(Error::BodyTimeout),
    };
    let (post, after) = {
        let [username, message, after] = form.fields(&body, ["username", field.name(), "after"])?;
        let (username, message) =
            (required(username, "username")?, required(message, field.name())?);
        let after = after.filter(|after| !after.is_empty()).map(|after| after.parse()).transpose();
        let after = after.map_err(|_| {
            Error::bad_request(
                "after takes a cursor, as in 0a1b2c3d-65: the ETag without its quotes",
            )
        })?;
        (Post::new(&username, &message).map_err(Error::bad_request)?, after)
    };
    let stored = app.rooms.get(&room).append(post, after).await?;
    Ok(answer(&room, stored, headers))
}

/// 201 with the line, 200 where it was there before, or for a browser's form the way back to the room.
fn answer(room: &RoomName, stored: Stored, headers: &HeaderMap) -> Response {
    let segment = room.to_segment();
    let status = if stored.before { StatusCode::OK } else { StatusCode::CREATED };
    let (mut response, location) = match prefers_html(headers) {
        false => (respond(status, TEXT, Body::Full(stored.line)), format!("/chat/{segment}")),
        true => (respond(StatusCode::SEE_OTHER, TEXT, Body::empty()), format!("/{segment}")),
    };
    let headers = response.headers_mut();
    if let (Ok(location), Ok(etag)) =
        (HeaderValue::try_from(location), HeaderValue::try_from(format!("\"{}\"", stored.cursor)))
    {
        headers.insert(LOCATION, location);
        headers.insert(ETAG, etag);
    }
    response
}

/// Reads the whole body, which mostly came with the head in one piece.
async fn whole(body: &mut Incoming) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Error::bad_request("the body is incomplete: send as much as Content-Length says")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > BODY_BYTES_MAX {
            return Err(Error::BodyTooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// Refuses what the page of another site makes a browser send.
fn same_site(headers: &HeaderMap) -> Result<(), Error> {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Err(Error::CrossSite);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let same = origin.to_str().is_ok_and(|origin| is_host(origin, host));
    if same { Ok(()) } else { Err(Error::CrossSite) }
}

/// Whether an origin (RFC 6454, section 6.2) is of the host that was asked.
fn is_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |host: &'_ str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    !authority.is_empty() && plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_held_against_the_host() {
        for (origin, host) in [
            ("http://a", "a"),
            ("http://A:80", "a"),
            ("https://a", "a:443"),
            ("http://a:8080", "a:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(is_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "a"),
            ("http://a", "b"),
            ("http://a:8080", "a"),
            ("http://a", "a:443"),
            ("", ""),
            ("http://", ""),
            ("file://", ""),
        ] {
            assert!(!is_host(origin, host), "{origin} {host}");
        }
    }
}
