//! The state of a log at one look at it, whichever store it is in.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cursor::Cursor;
use crate::store::file::directory::FileId;
use crate::store::file::look::{Glance, Open};
#[cfg(feature = "mysql")]
use crate::store::mysql;
use crate::store::window::PIECE_BYTES;
use crate::store::{StoreError, blocking, file};

/// The state of a log at one look at it.
#[derive(Debug)]
pub struct Snapshot {
    /// The log's state: where its last whole line ends.
    pub cursor: Cursor,
    /// The cursor as a header's value, in quotes.
    pub etag: HeaderValue,
    /// Where the log's bytes are.
    pub source: Source,
}

/// Where a log's bytes are.
#[derive(Clone, Debug)]
pub enum Source {
    /// Nowhere: nobody has written to the room.
    Nothing,
    /// In a file.
    File(Open),
    /// In a database.
    #[cfg(feature = "mysql")]
    Rows(Arc<mysql::log::Log>),
}

/// An open log: what all its snapshots share.
#[derive(Clone, Debug)]
pub enum Log {
    /// In a file.
    File(Arc<file::log::Log>),
    /// In a database.
    #[cfg(feature = "mysql")]
    Rows(Arc<mysql::log::Log>),
}

/// Tells a log from another one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogId {
    /// Which file it is.
    File(FileId),
    /// The number of a log in a database: it stays open as long as it is the same.
    #[cfg(feature = "mysql")]
    Rows(u64),
}

impl Default for Snapshot {
    /// The empty log.
    fn default() -> Snapshot {
        Snapshot::new(Cursor::default(), Source::Nothing)
    }
}

impl Snapshot {
    /// The log in this state.
    pub fn new(cursor: Cursor, source: Source) -> Snapshot {
        let etag = HeaderValue::try_from(format!("\"{cursor}\""));
        Snapshot { cursor, etag: etag.unwrap_or(HeaderValue::from_static("\"0-0\"")), source }
    }

    /// The open log; `None` where nothing was written.
    pub fn log(&self) -> Option<Log> {
        match &self.source {
            Source::Nothing => None,
            Source::File(open) => Some(Log::File(open.log.clone())),
            #[cfg(feature = "mysql")]
            Source::Rows(log) => Some(Log::Rows(log.clone())),
        }
    }

    /// Which log it is.
    pub fn id(&self) -> Option<LogId> {
        match &self.source {
            Source::Nothing => None,
            Source::File(open) => Some(LogId::File(open.log.id)),
            #[cfg(feature = "mysql")]
            Source::Rows(log) => Some(LogId::Rows(log.number)),
        }
    }

    /// Which log it is, and the number that it was opened under.
    pub fn opened(&self) -> Option<(LogId, u64)> {
        self.id().zip(self.log().map(|log| log.number()))
    }

    /// What the path of the log's file showed.
    pub fn glance(&self) -> Option<Glance> {
        match &self.source {
            Source::File(open) => Some(open.glance()),
            _ => None,
        }
    }

    /// Where the last `lines` lines begin.
    pub async fn tail(&self, lines: u64) -> Result<u64, StoreError> {
        let Some(log) = self.log() else { return Ok(0) };
        let length = self.cursor.length;
        match tail_in_memory(&log, lines, length) {
            Some(start) => Ok(start),
            None => log.tail(lines, length).await,
        }
    }

    /// Whether a line ends at this length, or the log begins there.
    pub async fn is_line_end(&self, length: u64) -> Result<bool, StoreError> {
        let Some(last) = length.checked_sub(1) else { return Ok(true) };
        let Some(log) = self.log().filter(|_| length <= self.cursor.length) else {
            return Ok(false);
        };
        let byte = match log.piece(last..length) {
            Some(byte) => byte,
            None => log.read(last..length).await?,
        };
        Ok(byte == b"\n"[..])
    }
}

/// Where the last `lines` lines before `length` begin, where memory tells.
fn tail_in_memory(log: &Log, lines: u64, length: u64) -> Option<u64> {
    let start = length.saturating_sub(1) / PIECE_BYTES * PIECE_BYTES;
    let last = log.piece(start..length)?;
    let skip = usize::try_from(lines).ok()?;
    match memchr::memrchr_iter(b'\n', &last).nth(skip) {
        Some(at) => Some(start + at as u64 + 1),
        None if start == 0 => Some(0),
        None => None,
    }
}

impl Log {
    /// Tells it from every other log that this process opens.
    pub fn number(&self) -> u64 {
        match self {
            Log::File(log) => log.number,
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.number,
        }
    }

    /// The bytes of this range that lie in its first piece, where they are in memory.
    pub fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        match self {
            Log::File(log) => log.piece(range),
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.piece(range),
        }
    }

    /// Begins to read the bytes of this range that lie in its first piece.
    pub fn start_reading(&self, range: Range<u64>) -> JoinHandle<Result<Bytes, StoreError>> {
        match self.clone() {
            Log::File(log) => spawn_blocking(move || log.read(range).map_err(StoreError::from)),
            #[cfg(feature = "mysql")]
            Log::Rows(log) => tokio::spawn(async move { log.read(range).await }),
        }
    }

    /// The bytes of this range that lie in its first piece, from the store.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.start_reading(range).await.unwrap_or_else(|panic| Err(io::Error::other(panic).into()))
    }

    /// The bytes of this range, which must be short, from the store.
    pub async fn read_all(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self.clone() {
            Log::File(log) => blocking(move || log.read_all(range)).await,
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.read_all(range).await,
        }
    }

    /// Begins to read whole lines of this range, which begins and ends where lines do:
    /// about a mebibyte of them, at least one.
    pub fn start_lines(&self, range: Range<u64>) -> JoinHandle<Result<Bytes, StoreError>> {
        match self.clone() {
            Log::File(log) => spawn_blocking(move || log.lines(range)),
            #[cfg(feature = "mysql")]
            Log::Rows(log) => tokio::spawn(async move { log.lines(range).await }),
        }
    }

    /// Where the last `lines` lines before `length` begin, as the store has them.
    pub async fn tail(&self, lines: u64, length: u64) -> Result<u64, StoreError> {
        match self.clone() {
            Log::File(log) => log.tail(lines, length).await,
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.tail(lines, length).await,
        }
    }

    /// Whether everything from `start` to the end is in memory, or too large for it.
    pub fn is_loaded(&self, start: u64, length: u64) -> bool {
        match self {
            Log::File(log) => log.is_loaded(start, length),
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.is_loaded(start, length),
        }
    }

    /// Brings everything from `start` to the end into memory.
    pub async fn load(&self, start: u64, length: u64) -> Result<(), StoreError> {
        match self.clone() {
            Log::File(log) => blocking(move || log.load(start, length)).await,
            #[cfg(feature = "mysql")]
            Log::Rows(log) => log.load(start, length).await,
        }
    }
}
