//! The live forms of `GET /chat/<room>`: server-sent events, or lines as `tail -f`
//! prints them. Checks the request; the stream itself is [`crate::live`].

use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{CACHE_CONTROL, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use crate::body::Body;
use crate::conditional::wants_events;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::handlers::{App, Response, respond};
use crate::live::Subscription;
use crate::live::frame::{Chunk, Kind};
use crate::name::RoomName;
use crate::route::ReadQuery;
use crate::store::snapshot::Snapshot;

/// After how long a browser comes back, in milliseconds: this and up to as much
/// again, so that those who were cut off together do not come back together.
const RETRY_MILLIS: u128 = 500;

/// What a request for a stream comes to.
pub enum Answer {
    /// A stream.
    Stream(Box<Subscription>),
    /// HEAD: only what the response would begin with.
    Head(Response),
}

/// Checks where the stream begins, from `Last-Event-ID`, `after` or `tail`.
pub async fn subscribe(
    app: &Arc<App>,
    room: RoomName,
    query: ReadQuery,
    head: &Parts,
) -> Result<Answer, Error> {
    let kind = if wants_events(&head.headers) { Kind::Events } else { Kind::Lines };
    if head.method == Method::HEAD {
        return Ok(Answer::Head(headers_only(kind)));
    }
    let last_event = head.headers.get("last-event-id").filter(|id| !id.is_empty());
    let after = match last_event {
        // What is no cursor at all is taken for one of another log.
        Some(id) => Resume::At(id.to_str().ok().and_then(|id| id.parse().ok())),
        None => query.after.map_or(Resume::Anew, |after| Resume::At(Some(after))),
    };
    // Watched first and looked at then, so that no growth falls between.
    let room = app.rooms.watch(&room);
    let now = match after {
        Resume::At(Some(cursor)) => room.room().snapshot_reaching(cursor).await?,
        _ => room.room().snapshot().await?,
    };
    let (start, reset) = match after {
        Resume::At(Some(cursor)) if resumes(cursor, &now).await? => (cursor.length, false),
        Resume::At(_) => (beginning(&now, query.tail).await?, true),
        Resume::Anew => (beginning(&now, query.tail).await?, false),
    };
    let start = Cursor { length: start, ..now.cursor };
    let chunked = head.version != Version::HTTP_10;
    let greeting = greeting(app, kind, start, reset, chunked).into();
    Ok(Answer::Stream(Box::new(Subscription {
        room,
        kind,
        start,
        tail: query.tail,
        chunked,
        greeting,
    })))
}

#[derive(Clone, Copy)]
enum Resume {
    /// No cursor was given.
    Anew,
    /// A cursor was given; `None` is one that cannot be read.
    At(Option<Cursor>),
}

/// Whether the cursor is a place in this log.
async fn resumes(cursor: Cursor, now: &Snapshot) -> Result<bool, Error> {
    let fits = cursor.length == 0 || cursor.epoch == now.cursor.epoch;
    Ok(fits && now.is_line_end(cursor.length).await?)
}

async fn beginning(now: &Snapshot, tail: Option<u64>) -> Result<u64, Error> {
    match tail {
        Some(lines) => Ok(now.tail(lines).await?),
        None => Ok(0),
    }
}

fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Events => "text/event-stream",
        Kind::Lines => "text/plain; charset=utf-8",
    }
}

const CACHE: &str = "no-store, no-transform";

fn headers_only(kind: Kind) -> Response {
    let content_type = HeaderValue::from_static(content_type(kind));
    let mut response = respond(StatusCode::OK, content_type, Body::empty());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(CACHE));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// The head of the response, and the first events: who serves, and where.
fn greeting(app: &App, kind: Kind, start: Cursor, reset: bool, chunked: bool) -> Vec<u8> {
    let (now, name) = (SystemTime::now(), app.name());
    let mut head = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(
        head,
        "HTTP/1.1 200 OK\r\ncontent-type: {}\r\nx-content-type-options: nosniff\r\ncache-control: {CACHE}\r\n\
         vary: Accept\r\nx-accel-buffering: no\r\nserver-name: {name}\r\ndate: {}\r\nconnection: close\r\n",
        content_type(kind),
        httpdate::HttpDate::from(now),
    );
    head.push_str(if chunked { "transfer-encoding: chunked\r\n\r\n" } else { "\r\n" });
    let mut greeting = head.into_bytes();
    if kind == Kind::Events {
        let nanos = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let retry = RETRY_MILLIS + nanos / 1000 % RETRY_MILLIS;
        let mut events = format!("retry: {retry}\nevent: server\nid: {start}\ndata: {name}\n\n");
        if reset {
            let _ = write!(events, "event: reset\nid: {start}\ndata: {start}\n\n");
        }
        greeting.extend_from_slice(&Chunk::new(events.as_bytes()).wire(chunked));
    }
    greeting
}
