//! An open log: its file, and the end of it in memory.
//!
//! What lies before the end of a whole line never changes as long as the log is
//! this one, so pieces of it can be kept, and shared by all who send them. What
//! is older than the window of pieces is read from the file as it is sent.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;

use crate::cursor::Cursor;
use crate::store::append::{nth_line_end_before, read_start};
use crate::store::directory::FileId;
use crate::store::lock;

/// The size of a piece, in memory and of a read from the file, in bytes.
pub const PIECE_BYTES: u64 = 64 * 1024;
/// How much of the end of one log may be kept in memory, in bytes.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of the log's start is compared to tell that it is still the same.
const HEAD_BYTES: u64 = 256;

/// What all open logs take together. Written when one is opened, grows or is
/// dropped; read when it is time to close some.
#[derive(Debug, Default)]
pub struct Usage {
    /// Files held open for reading.
    pub files: AtomicUsize,
    /// Bytes of logs held in memory.
    pub bytes: AtomicU64,
}

/// An open log: what all its snapshots share.
#[derive(Debug)]
pub struct Log {
    /// The file, open for reading.
    pub file: File,
    /// Which file it is.
    pub id: FileId,
    /// Tells it from every other log that this process opens, also of the same file:
    /// an operator may have edited what stands in it.
    pub number: u64,
    /// The log's first bytes, up to [`HEAD_BYTES`]. Locked after the window.
    head: Mutex<Vec<u8>>,
    window: Mutex<Window>,
    usage: Arc<Usage>,
}

/// Counts the logs that are opened.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The pieces of a log that are in memory: all from the first to the log's end.
#[derive(Debug, Default)]
struct Window {
    /// The number of the first piece: its offset divided by [`PIECE_BYTES`].
    first: u64,
    pieces: VecDeque<Bytes>,
}

impl Log {
    /// The log of this length in this file, its last piece in memory. Blocks.
    pub fn new(file: File, id: FileId, length: u64, usage: &Arc<Usage>) -> io::Result<Log> {
        let head = read_start(&file, length.min(HEAD_BYTES) as usize)?;
        let window = Window { first: length.div_ceil(PIECE_BYTES), pieces: VecDeque::new() };
        usage.files.fetch_add(1, Ordering::Relaxed);
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        let (head, window, usage) = (Mutex::new(head), Mutex::new(window), usage.clone());
        let log = Log { file, id, number, head, window, usage };
        log.load(length.saturating_sub(1), length)?;
        Ok(log)
    }

    /// Where the last `lines` lines before `length` begin, where memory tells.
    pub fn tail_in_memory(&self, lines: u64, length: u64) -> Option<u64> {
        let start = length.saturating_sub(1) / PIECE_BYTES * PIECE_BYTES;
        let last = self.piece(start..length)?;
        let skip = usize::try_from(lines).ok()?;
        match memchr::memrchr_iter(b'\n', &last).nth(skip) {
            Some(at) => Some(start + at as u64 + 1),
            None if start == 0 => Some(0),
            None => None,
        }
    }

    /// Where the last `lines` lines before `length` begin. Blocks, as it reads the file.
    pub fn tail(&self, lines: u64, length: u64) -> io::Result<u64> {
        nth_line_end_before(&self.file, length, lines.saturating_add(1))
    }

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
        self.read_all(range.start..end)
    }

    /// The bytes of this range, which must be short. Blocks.
    pub fn read_all(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
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
    pub fn grow(&self, known: Cursor, size: u64) -> io::Result<Option<Cursor>> {
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
        let more = (HEAD_BYTES as usize).saturating_sub(head.len()).min(new.len());
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
