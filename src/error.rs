//! The only place that gives an error its status and its sentence.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_RANGE, ETAG, HeaderName, LOCATION, RETRY_AFTER};

use crate::cursor::Cursor;
use crate::store::StoreError;

/// Seconds after which a client may try again what the store could not take.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a request is not answered as it was asked.
#[derive(Clone, Debug)]
pub enum Error {
    /// 308: the path without its trailing slash.
    Moved {
        /// Where to go: a path of this server.
        location: String,
    },
    /// 400, with a sentence that says what is allowed.
    BadRequest(Cow<'static, str>),
    /// 403: a post that another site's page sends.
    CrossSite,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed {
        /// What is allowed instead.
        allow: &'static str,
    },
    /// 408: the body did not arrive in time.
    BodyTimeout,
    /// 412: the log is not in the state that the client asks for.
    PreconditionFailed {
        /// The state that it is in.
        current: Cursor,
    },
    /// 413.
    BodyTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 416.
    RangeNotSatisfiable {
        /// The state of the log.
        current: Cursor,
    },
    /// 500: a bug of this server.
    Internal,
    /// 503 or 507: what the store says.
    Store(StoreError),
}

impl Error {
    /// A 400 with this sentence.
    pub fn bad_request(sentence: &'static str) -> Error {
        Error::BadRequest(Cow::Borrowed(sentence))
    }

    /// The status that says this kind of error (RFC 9110, section 15).
    pub fn status(&self) -> StatusCode {
        match self {
            Error::Moved { .. } => StatusCode::PERMANENT_REDIRECT,
            Error::BadRequest(_) => StatusCode::BAD_REQUEST,
            Error::CrossSite => StatusCode::FORBIDDEN,
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Error::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Error::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Error::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Error::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Error::Store(StoreError::Full(_)) => StatusCode::INSUFFICIENT_STORAGE,
            Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// One line for the client: what was wrong and what is allowed.
    pub fn sentence(&self) -> Cow<'static, str> {
        let fixed = match self {
            Error::Moved { location } => return format!("moved: {location}").into(),
            Error::BadRequest(sentence) => return sentence.clone(),
            Error::MethodNotAllowed { allow } => {
                return format!("method not allowed: use {allow}").into();
            }
            Error::RangeNotSatisfiable { current } => {
                return format!("range not satisfiable: the log has {} bytes", current.length)
                    .into();
            }
            Error::PreconditionFailed { current } => {
                return format!("precondition failed: the log is at {current}").into();
            }
            Error::CrossSite => {
                "cross-site posts are refused: post from a page of this server, or without a browser"
            }
            Error::NotFound => "not found: try /<room>, /chat/<room> or /-/health",
            Error::BodyTimeout => "the body did not arrive in time: send it at once",
            Error::BodyTooLarge => "the body is too large: 65536 bytes are allowed",
            Error::UnsupportedMediaType => {
                "unsupported content type: use application/x-www-form-urlencoded or multipart/form-data"
            }
            Error::Internal => "internal error: please try again",
            Error::Store(StoreError::Full(_)) => {
                "no room left to store this: nothing was posted, ask the operator for space"
            }
            Error::Store(StoreError::Busy) => {
                "the room is locked by another program: nothing was posted, try again"
            }
            Error::Store(StoreError::Doubtful(_)) => {
                "the store did not confirm the line: look whether it is there before you post it again"
            }
            Error::Store(StoreError::Failed(_)) => {
                "the store does not work at the moment: try again"
            }
        };
        fixed.into()
    }

    /// The header fields that belong to the status.
    pub fn header(&self) -> Option<(HeaderName, String)> {
        match self {
            Error::Moved { location } => Some((LOCATION, location.clone())),
            Error::MethodNotAllowed { allow } => Some((ALLOW, (*allow).to_owned())),
            Error::PreconditionFailed { current } => Some((ETAG, format!("\"{current}\""))),
            Error::RangeNotSatisfiable { current } => {
                Some((CONTENT_RANGE, format!("bytes */{}", current.length)))
            }
            Error::Store(StoreError::Full(_)) => None,
            Error::Store(_) => Some((RETRY_AFTER, RETRY_AFTER_SECONDS.to_string())),
            _ => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        Error::Store(error)
    }
}
