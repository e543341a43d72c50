//! `GET /chat/<room>`: the room's log, whole or in part.

use std::ops::Range;
use std::sync::Arc;

use hyper::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, ETAG, HeaderValue, VARY};
use hyper::{HeaderMap, Method, StatusCode};

use crate::body::Body;
use crate::conditional::{Condition, Part, condition, part, seen};
use crate::error::Error;
use crate::handlers::{App, NO_CACHE, Response, TEXT, respond};
use crate::name::RoomName;
use crate::route::ReadQuery;
use crate::store::snapshot::Snapshot;

/// Sends the log as it is at this moment.
pub async fn read(
    app: &Arc<App>,
    room: RoomName,
    query: ReadQuery,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    if query.after.is_some() {
        return Err(Error::bad_request("after is for live streams: add follow, or use Range"));
    }
    let room = app.rooms.get(&room);
    let snapshot = match seen(headers) {
        Some(cursor) => room.snapshot_reaching(cursor).await?,
        None => room.snapshot().await?,
    };
    let length = snapshot.cursor.length;
    let mut response = match condition(headers, &snapshot.etag) {
        Condition::Failed => return Err(Error::PreconditionFailed { current: snapshot.cursor }),
        Condition::NotModified => respond(StatusCode::NOT_MODIFIED, TEXT, Body::empty()),
        Condition::Proceed => {
            let range = match query.tail {
                Some(lines) => Part::Bytes(snapshot.tail(lines).await?..length),
                None if method == Method::GET => part(headers, &snapshot.etag, length),
                None => Part::Whole,
            };
            match range {
                Part::Unsatisfiable => {
                    return Err(Error::RangeNotSatisfiable { current: snapshot.cursor });
                }
                Part::Whole => respond(StatusCode::OK, TEXT, log(&snapshot, 0..length).await?),
                Part::Bytes(range) if query.tail.is_some() => {
                    respond(StatusCode::OK, TEXT, log(&snapshot, range).await?)
                }
                Part::Bytes(range) => partial(&snapshot, range).await?,
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, snapshot.etag.clone());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

async fn partial(snapshot: &Arc<Snapshot>, range: Range<u64>) -> Result<Response, Error> {
    let content_range =
        format!("bytes {}-{}/{}", range.start, range.end - 1, snapshot.cursor.length);
    let mut response = respond(StatusCode::PARTIAL_CONTENT, TEXT, log(snapshot, range).await?);
    let content_range = HeaderValue::try_from(content_range).map_err(|_| Error::Internal)?;
    response.headers_mut().insert(CONTENT_RANGE, content_range);
    Ok(response)
}

/// This part of the log, brought into memory first where it may stay there.
async fn log(snapshot: &Arc<Snapshot>, range: Range<u64>) -> Result<Body, Error> {
    let length = snapshot.cursor.length;
    if let Some(log) = snapshot.log()
        && !range.is_empty()
        && !log.is_loaded(range.start, length)
    {
        log.load(range.start, length).await?;
    }
    Ok(Body::of_log(snapshot, range))
}
