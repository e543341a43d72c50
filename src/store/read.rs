//! Reading a room's file: the readers' side, which takes no lock.
//!
//! A [`Snapshot`] is the state of a log at one look: where its last whole line
//! ends. What lies before that never changes as long as the log is this one, so
//! the end of it is kept in memory, in the pieces of a [`Window`]; what is older
//! is read from the file as it is sent.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::cursor::Cursor;
use crate::store::append::{end_of_lines, epoch_of, nth_line_end_before, read_start};
use crate::store::directory::FileId;
use crate::store::lock;

/// The size of a piece, in memory and of a read from the file, in bytes.
pub const PIECE_BYTES: u64 = 64 * 1024;
/// How much of the end of one log may be kept in memory, in bytes.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of the log's start is compared to tell that it is still the same.
const HEAD_BYTES: usize = 256;

/// What all open logs take together. Written when one is opened, grows or is
/// dropped; read when it is time to close some.
#[derive(Debug, Default)]
pub struct Usage {
    /// Files held open for reading.
    pub files: AtomicUsize,
    /// Bytes of logs held in memory.
    pub bytes: AtomicU64,
}

/// The state of a log at one look at it.
#[derive(Debug)]
pub struct Snapshot {
    /// The log's state.
    pub cursor: Cursor,
    /// The cursor as a header's value, in quotes.
    pub etag: HeaderValue,
    open: Option<Open>,
}

/// A log that has a file.
#[derive(Clone, Debug)]
struct Open {
    log: Arc<Log>,
    /// What `stat(2)` said of the file: its size, with a torn end, and when it
    /// was modified, in seconds and nanoseconds.
    size: u64,
    modified: (i64, i64),
}

/// An open log: what all its snapshots share.
#[derive(Debug)]
pub struct Log {
    file: File,
    id: FileId,
    head: Mutex<Vec<u8>>,
    window: Mutex<Window>,
    usage: Arc<Usage>,
}

/// The pieces of a log that are in memory: all from the first to the log's end.
#[derive(Debug, Default)]
struct Window {
    /// The number of the first piece: its offset divided by [`PIECE_BYTES`].
    first: u64,
    pieces: VecDeque<Bytes>,
}

/// What a look at the file gave.
pub enum Look {
    /// The state now.
    Now(Arc<Snapshot>),
    /// The file has to be opened, or much has to be read: not on an async thread.
    Open,
}

/// Looks at the file with one `stat(2)`, and where it has grown a little, reads
/// what came. This is what the page cache answers in a microsecond, so it may be
/// done on an async thread.
pub fn look(path: &Path, known: Option<&Arc<Snapshot>>) -> io::Result<Look> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Look::Now(match known {
                Some(known) if known.open.is_none() => known.clone(),
                _ => Arc::new(Snapshot::new(Cursor::default(), None)),
            }));
        }
        Err(error) => return Err(error),
    };
    let Some((known, open)) = known.and_then(|known| Some((known, known.open.as_ref()?))) else {
        return Ok(Look::Open);
    };
    if open.log.id != FileId::of(&meta) {
        return Ok(Look::Open);
    }
    let modified = (meta.mtime(), meta.mtime_nsec());
    let torn = open.size != known.cursor.length;
    if !torn && (meta.size(), modified) == (open.size, open.modified) {
        return Ok(Look::Now(known.clone()));
    }
    let grown =
        meta.size() > known.cursor.length && meta.size() - known.cursor.length <= PIECE_BYTES;
    if !grown || known.cursor.length == 0 {
        return Ok(Look::Open);
    }
    match open.log.grow(known.cursor, meta.size())? {
        Some(cursor) if cursor == known.cursor => Ok(Look::Now(known.clone())),
        Some(cursor) => {
            let open = Open { log: open.log.clone(), size: meta.size(), modified };
            Ok(Look::Now(Arc::new(Snapshot::new(cursor, Some(open)))))
        }
        None => Ok(Look::Open),
    }
}

/// Opens the file and reads the end of it. Blocks.
pub fn open(path: &Path, usage: &Arc<Usage>) -> io::Result<Arc<Snapshot>> {
    // A pipe or a device of this name would block, or never end.
    let is_file = match fs::metadata(path) {
        Ok(meta) => meta.is_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Arc::new(Snapshot::new(Cursor::default(), None)));
        }
        Err(error) => return Err(error),
    };
    if !is_file {
        return Err(io::Error::other("the room's log is not a regular file"));
    }
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let length = end_of_lines(&file, meta.size())?;
    let cursor = Cursor { epoch: epoch_of(&file, length)?, length };
    let head = read_start(&file, length.min(HEAD_BYTES as u64) as usize)?;
    usage.files.fetch_add(1, Ordering::Relaxed);
    let log = Log {
        id: FileId::of(&meta),
        file,
        head: Mutex::new(head),
        window: Mutex::new(Window { first: length.div_ceil(PIECE_BYTES), pieces: VecDeque::new() }),
        usage: usage.clone(),
    };
    log.load(length.saturating_sub(1), length)?;
    let open =
        Open { log: Arc::new(log), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) };
    Ok(Arc::new(Snapshot::new(cursor, Some(open))))
}

impl Snapshot {
    fn new(cursor: Cursor, open: Option<Open>) -> Snapshot {
        let etag = HeaderValue::try_from(format!("\"{cursor}\""))
            .unwrap_or(HeaderValue::from_static("\"0-0\""));
        Snapshot { cursor, etag, open }
    }

    /// The open log; `None` where there is no file.
    pub fn log(&self) -> Option<&Arc<Log>> {
        self.open.as_ref().map(|open| &open.log)
    }

    /// Where the last `lines` lines begin, where what is in memory tells.
    pub fn tail_in_memory(&self, lines: u64) -> Option<u64> {
        let Some(log) = self.log() else { return Some(0) };
        let start = self.cursor.length.saturating_sub(1) / PIECE_BYTES * PIECE_BYTES;
        let last = log.piece(start..self.cursor.length)?;
        let skip = usize::try_from(lines).ok()?;
        match memchr::memrchr_iter(b'\n', &last).nth(skip) {
            Some(at) => Some(start + at as u64 + 1),
            None if start == 0 => Some(0),
            None => None,
        }
    }

    /// Where the last `lines` lines begin. Blocks, as it reads the file.
    pub fn tail(&self, lines: u64) -> io::Result<u64> {
        match self.log() {
            Some(log) => {
                nth_line_end_before(&log.file, self.cursor.length, lines.saturating_add(1))
            }
            None => Ok(0),
        }
    }
}

impl Log {
    /// The bytes of this range that lie in its first piece, where they are in memory.
    pub fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        let number = range.start / PIECE_BYTES;
        let offset = number * PIECE_BYTES;
        let window = lock(&self.window);
        let piece = window.pieces.get(number.checked_sub(window.first)? as usize)?;
        let end = (range.end - offset).min(piece.len() as u64);
        piece.get((range.start - offset) as usize..end as usize)?;
        Some(piece.slice((range.start - offset) as usize..end as usize))
    }

    /// Reads the bytes of this range that lie in its first piece from the file. Blocks.
    pub fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let end = range.end.min((range.start / PIECE_BYTES + 1) * PIECE_BYTES);
        let mut bytes = vec![0; (end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    /// Whether everything from `start` to the end is in memory, or too large for it.
    pub fn is_loaded(&self, start: u64, length: u64) -> bool {
        length.div_ceil(PIECE_BYTES) - start / PIECE_BYTES > WINDOW_BYTES_MAX / PIECE_BYTES
            || lock(&self.window).first <= start / PIECE_BYTES
    }

    /// Brings everything from `start` to the end into memory. Blocks.
    pub fn load(&self, start: u64, length: u64) -> io::Result<()> {
        let first = lock(&self.window).first;
        let mut pieces = Vec::new();
        for number in start / PIECE_BYTES..first {
            let end = length.min((number + 1) * PIECE_BYTES);
            pieces.push(self.read(number * PIECE_BYTES..end)?);
        }
        let mut window = lock(&self.window);
        if window.first == first {
            for piece in pieces.into_iter().rev() {
                self.usage.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                window.pieces.push_front(piece);
                window.first -= 1;
            }
        }
        Ok(())
    }

    /// Reads what came after `known`, up to `size`: the cursor after the last
    /// whole line, or `None` where this is not the log that it was.
    fn grow(&self, known: Cursor, size: u64) -> io::Result<Option<Cursor>> {
        let mut window = lock(&self.window);
        // The end of the last known line is read again, to see that it is there.
        let mut bytes = vec![0; (size - known.length + 1) as usize];
        let mut head = lock(&self.head);
        let mut start = vec![0; head.len()];
        let read = self.file.read_exact_at(&mut bytes, known.length - 1);
        if read.and_then(|()| self.file.read_exact_at(&mut start, 0)).is_err() || start != *head {
            return Ok(None);
        }
        let Some((b'\n', new)) = bytes.split_first() else { return Ok(None) };
        let new = &new[..memchr::memrchr(b'\n', new).map_or(0, |last| last + 1)];
        if window.end() != known.length {
            return Ok(None);
        }
        window.append(new);
        self.usage.bytes.fetch_add(new.len() as u64, Ordering::Relaxed);
        self.usage.bytes.fetch_sub(window.trim(), Ordering::Relaxed);
        let more = HEAD_BYTES.saturating_sub(head.len()).min(new.len());
        head.extend_from_slice(&new[..more]);
        Ok(Some(Cursor { length: known.length + new.len() as u64, ..known }))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let bytes: usize = lock(&self.window).pieces.iter().map(Bytes::len).sum();
        self.usage.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.usage.files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Window {
    /// The offset at which the last piece ends.
    fn end(&self) -> u64 {
        let pieces = self.pieces.len() as u64;
        match self.pieces.back() {
            Some(last) => (self.first + pieces - 1) * PIECE_BYTES + last.len() as u64,
            None => self.first * PIECE_BYTES,
        }
    }

    /// Adds bytes at the end: the last piece is filled, then come new ones.
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let last = self.pieces.back().filter(|last| (last.len() as u64) < PIECE_BYTES).cloned();
            let old = last.as_deref().unwrap_or_default();
            let take = bytes.len().min(PIECE_BYTES as usize - old.len());
            let piece = Bytes::from([old, &bytes[..take]].concat());
            if last.is_some() {
                self.pieces.pop_back();
            }
            self.pieces.push_back(piece);
            bytes = &bytes[take..];
        }
    }

    /// Forgets the oldest pieces beyond the limit; how many bytes that were.
    fn trim(&mut self) -> u64 {
        let mut dropped = 0;
        while self.pieces.len() as u64 > WINDOW_BYTES_MAX / PIECE_BYTES {
            dropped += self.pieces.pop_front().map_or(0, |piece| piece.len() as u64);
            self.first += 1;
        }
        dropped
    }
}
