//! What a response carries: a few bytes, or a log of any length.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::store::StoreError;
use crate::store::snapshot::{Log, Snapshot};

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// Bytes that are in memory already; empty once they are sent.
    Full(Bytes),
    /// A part of a log, sent piece by piece.
    Log(LogBody),
}

/// A part of a log. Holds no more than the piece that it reads, so that a slow
/// client does not keep in memory what others no longer use.
#[derive(Debug)]
pub struct LogBody {
    log: Log,
    rest: Range<u64>,
    reading: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body::Full(Bytes::new())
    }

    /// This part of the log as the snapshot has it.
    pub fn of_log(snapshot: &Snapshot, range: Range<u64>) -> Body {
        let Some(log) = snapshot.log() else { return Body::empty() };
        match log.piece(range.clone()) {
            Some(piece) if piece.len() as u64 == range.end - range.start => Body::Full(piece),
            _ => Body::Log(LogBody { log, rest: range, reading: None }),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Log(log) => {
                log.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Body::Full(bytes) => bytes.len() as u64,
            Body::Log(log) => log.rest.end - log.rest.start,
        })
    }
}

impl LogBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = match &mut self.reading {
            None => match self.log.piece(self.rest.clone()) {
                Some(piece) => piece,
                None => {
                    self.reading = Some(self.log.start_reading(self.rest.clone()));
                    return self.poll_piece(cx);
                }
            },
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                match read.unwrap_or_else(|panic| Err(io::Error::other(panic).into())) {
                    Ok(piece) => piece,
                    Err(error) => {
                        return Poll::Ready(Some(Err(io::Error::other(error.to_string()))));
                    }
                }
            }
        };
        self.rest.start += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}
