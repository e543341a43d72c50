//! From a method and a URI to what is asked for. Pure: percent-decoding and the
//! checks of names end here, so nothing deeper sees raw input.

use std::borrow::Cow;

use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::assets::Asset;
use crate::cursor::{Cursor, decimal};
use crate::error::Error;
use crate::name::RoomName;

/// The room of `GET /`.
const DEFAULT_ROOM: &str = "general";

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The chat page of a room.
    Page(RoomName),
    /// A file that the page is made of.
    Asset(&'static Asset),
    /// Append one line.
    Post(RoomName, MessageField),
    /// The log, whole or in part.
    Read(RoomName, ReadQuery),
    /// Whether the server and its store work.
    Health,
    /// The server's counters.
    Metrics,
}

/// The form field that holds the message: it differs by the route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageField {
    /// `message`, on `/chat/<room>`.
    Message,
    /// `msg`, on `/api/chat/<room>`.
    Msg,
}

impl MessageField {
    /// The field's name in the form.
    pub fn name(self) -> &'static str {
        match self {
            MessageField::Message => "message",
            MessageField::Msg => "msg",
        }
    }
}

/// The query of `GET /chat/<room>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadQuery {
    /// `tail=N`: only the last N lines.
    pub tail: Option<u64>,
    /// `follow`: stay, and send what comes.
    pub follow: bool,
    /// `after=CURSOR`: where a stream goes on.
    pub after: Option<Cursor>,
}

/// A known path, before the method is looked at.
enum Place {
    Page(RoomName),
    Chat(RoomName, MessageField),
    Asset(&'static Asset),
    Health,
    Metrics,
}

/// What the request asks for, or why there is no answer.
pub fn route(method: &Method, uri: &Uri) -> Result<Route, Error> {
    let place = place(uri)?;
    let get = method == Method::GET || method == Method::HEAD;
    match place {
        Place::Page(room) if get => Ok(Route::Page(room)),
        Place::Chat(room, _) if get => Ok(Route::Read(room, read_query(uri.query())?)),
        Place::Chat(room, field) if method == Method::POST => post(room, field, uri.query()),
        Place::Asset(asset) if get => Ok(Route::Asset(asset)),
        Place::Health if get => Ok(Route::Health),
        Place::Metrics if get => Ok(Route::Metrics),
        Place::Chat(..) => Err(Error::MethodNotAllowed { allow: "GET, HEAD, POST" }),
        _ => Err(Error::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

fn place(uri: &Uri) -> Result<Place, Error> {
    let path = uri.path().strip_prefix('/').ok_or(Error::NotFound)?;
    if path.is_empty() {
        return room(DEFAULT_ROOM).map(Place::Page);
    }
    if let Some(shorter) = path.strip_suffix('/') {
        known(shorter)?;
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Err(Error::Moved { location: format!("/{shorter}{query}") });
    }
    known(path)
}

/// The place that this path, without its first slash, names.
fn known(path: &str) -> Result<Place, Error> {
    let mut segments = path.split('/').map(decode);
    let mut next = || segments.next().transpose();
    let (first, second, third, fourth) = (next()?, next()?, next()?, next()?);
    match (first.as_deref(), second.as_deref(), third.as_deref(), fourth) {
        (Some(""), ..) => Err(Error::NotFound),
        (Some(name), None, ..) => room(name).map(Place::Page),
        (Some("chat"), Some(name), None, _) if !name.is_empty() => {
            Ok(Place::Chat(room(name)?, MessageField::Message))
        }
        (Some("api"), Some("chat"), Some(name), None) if !name.is_empty() => {
            Ok(Place::Chat(room(name)?, MessageField::Msg))
        }
        (Some("-"), Some("health"), None, _) => Ok(Place::Health),
        (Some("-"), Some("metrics"), None, _) => Ok(Place::Metrics),
        (Some("-"), Some(file), None, _) => {
            Asset::named(file).map(Place::Asset).ok_or(Error::NotFound)
        }
        _ => Err(Error::NotFound),
    }
}

fn room(name: &str) -> Result<RoomName, Error> {
    RoomName::new(name).map_err(Error::bad_request)
}

/// Percent-decodes one path segment (RFC 3986, section 2.1).
fn decode(segment: &str) -> Result<Cow<'_, str>, Error> {
    let mut rest = segment;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Error::bad_request("bad path: write % as %25"));
        }
        rest = after;
    }
    let decoded = percent_decode_str(segment).decode_utf8();
    decoded.map_err(|_| Error::bad_request("bad path: it is not UTF-8"))
}

fn post(room: RoomName, field: MessageField, query: Option<&str>) -> Result<Route, Error> {
    match query {
        None | Some("") => Ok(Route::Post(room, field)),
        Some(_) => Err(Error::bad_request("a post takes no query parameters: send form fields")),
    }
}

fn read_query(query: Option<&str>) -> Result<ReadQuery, Error> {
    let mut read = ReadQuery::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let twice = match name {
            "tail" => {
                let lines = decimal(value)
                    .ok_or(Error::bad_request("tail takes a number of lines, as in ?tail=100"));
                read.tail.replace(lines?).is_some()
            }
            "after" => {
                let cursor = value.parse().map_err(|_| {
                    Error::bad_request("after takes a cursor, as in ?after=0a1b2c3d-65: the ETag without its quotes")
                });
                read.after.replace(cursor?).is_some()
            }
            "follow" if value.is_empty() => std::mem::replace(&mut read.follow, true),
            "follow" => return Err(Error::bad_request("follow takes no value, as in ?follow")),
            _ => {
                return Err(Error::bad_request(
                    "unknown query parameter: tail, follow and after are allowed",
                ));
            }
        };
        if twice {
            return Err(Error::bad_request("a query parameter may be given once"));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(uri: &str) -> Result<Route, Error> {
        route(&Method::GET, &uri.parse().unwrap())
    }

    fn name(text: &str) -> RoomName {
        RoomName::new(text).unwrap()
    }

    #[test]
    fn every_row_of_the_table() {
        assert_eq!(get("/").unwrap(), Route::Page(name("general")));
        assert_eq!(get("/?x=y").unwrap(), Route::Page(name("general")));
        assert_eq!(get("/chat").unwrap(), Route::Page(name("chat")));
        assert_eq!(get("/-").unwrap(), Route::Page(name("-")));
        assert_eq!(get("/a%20b%C3%A9").unwrap(), Route::Page(name("a bé")));
        assert_eq!(get("/chat/a%2525").unwrap(), Route::Read(name("a%25"), ReadQuery::default()));
        assert_eq!(
            get("/api/chat/a?tail=3").unwrap(),
            Route::Read(name("a"), ReadQuery { tail: Some(3), ..ReadQuery::default() })
        );
        assert_eq!(get("/-/health").unwrap(), Route::Health);
        let script = Asset::named("chat.js").unwrap();
        assert_eq!(get("/-/chat.js").unwrap(), Route::Asset(script));
        let post = |uri: &str| route(&Method::POST, &uri.parse().unwrap());
        assert_eq!(post("/chat/a").unwrap(), Route::Post(name("a"), MessageField::Message));
        assert_eq!(post("/api/chat/a").unwrap(), Route::Post(name("a"), MessageField::Msg));
    }

    #[test]
    fn what_is_not_there_and_what_is_not_allowed() {
        for uri in [
            "/a/b",
            "/chat/a/b",
            "//",
            "//evil.example/",
            "/api/chat",
            "/chat//a",
            "/-/x",
            "/api/chat/a/b",
        ] {
            assert!(matches!(get(uri), Err(Error::NotFound)), "{uri}");
        }
        for uri in [
            "/a%2Fb",
            "/a%00",
            "/a%FF",
            "/a%zz",
            "/%",
            "/chat/a?tail=x",
            "/chat/a?tale=3",
            "/chat/a?tail=1&tail=1",
            "/chat/a?follow&follow",
            "/chat/a?follow=1",
            "/chat/a?after=",
            "/chat/a?after=x-1",
            "/chat/a?after=0-0&after=0-0",
        ] {
            assert!(matches!(get(uri), Err(Error::BadRequest(_))), "{uri}");
        }
        let put = route(&Method::PUT, &"/chat/a".parse().unwrap());
        assert!(matches!(put, Err(Error::MethodNotAllowed { allow: "GET, HEAD, POST" })));
    }

    #[test]
    fn a_trailing_slash_redirects_within_this_server_only() {
        let moved = |uri: &str| match get(uri) {
            Err(Error::Moved { location }) => location,
            other => panic!("{uri}: {other:?}"),
        };
        assert_eq!(moved("/chat/a/?tail=3"), "/chat/a?tail=3");
        assert_eq!(moved("/a%20b/"), "/a%20b");
    }

    proptest! {
        #[test]
        fn no_path_makes_routing_panic(path in "/[!-~]{0,40}") {
            if let Ok(uri) = path.parse::<Uri>() {
                let _ = route(&Method::GET, &uri);
            }
        }
    }
}
