//! The end of a log in memory, in pieces.
//!
//! What lies before the end of a whole line never changes as long as the log is
//! this one, so pieces of it can be kept, and shared by all who send them. What
//! is older than the window of pieces is read from the store as it is sent.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hyper::body::Bytes;

#[cfg(feature = "mysql")]
use crate::cursor::fnv1a;

/// The size of a piece, in memory and of a read from the store, in bytes.
pub const PIECE_BYTES: u64 = 64 * 1024;
/// About how much is read at once by who reads whole lines, in bytes.
pub const LINES_BYTES: u64 = 1024 * 1024;
/// How much of the end of one log may be kept in memory, in bytes.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What all open logs take together. Written when one is opened, grows or is
/// dropped; read when it is time to close some.
#[derive(Debug, Default)]
pub struct Usage {
    /// Files held open, for reading or for appending.
    pub files: AtomicUsize,
    /// Bytes of logs held in memory.
    pub bytes: AtomicU64,
}

/// A file that is held open, counted as long as this lives.
#[derive(Debug)]
pub struct OpenFile(Arc<Usage>);

impl OpenFile {
    /// One file more.
    pub fn counted_in(usage: &Arc<Usage>) -> OpenFile {
        usage.files.fetch_add(1, Ordering::Relaxed);
        OpenFile(usage.clone())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.0.files.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pieces of a log that are in memory: all from the first to the log's end.
#[derive(Debug)]
pub struct Window {
    /// The number of the first piece: its offset divided by [`PIECE_BYTES`].
    first: u64,
    /// Where the log ends of which nothing is in memory.
    length: u64,
    pieces: VecDeque<Bytes>,
    usage: Arc<Usage>,
    /// What was last in memory, when nothing is any more.
    #[cfg(feature = "mysql")]
    forgotten: Option<LastLine>,
}

/// A log's last line, or what of it was in the last piece, no longer in memory.
#[cfg(feature = "mysql")]
#[derive(Debug)]
struct LastLine {
    range: Range<u64>,
    hash: u64,
}

impl Window {
    /// Nothing yet of a log of this length.
    pub fn new(length: u64, usage: &Arc<Usage>) -> Window {
        let first = length.div_ceil(PIECE_BYTES);
        Window {
            first,
            length,
            pieces: VecDeque::new(),
            usage: usage.clone(),
            #[cfg(feature = "mysql")]
            forgotten: None,
        }
    }

    /// The bytes of this range that lie in its first piece, where they are in memory.
    pub fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        let number = range.start / PIECE_BYTES;
        let offset = number * PIECE_BYTES;
        let piece = self.pieces.get(number.checked_sub(self.first)? as usize)?;
        let end = (range.end - offset).min(piece.len() as u64);
        piece.get((range.start - offset) as usize..end as usize)?;
        let bytes = piece.slice((range.start - offset) as usize..end as usize);
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Whether everything from `start` to the end is in memory, or too large for it.
    pub fn is_loaded(&self, start: u64, length: u64) -> bool {
        length.div_ceil(PIECE_BYTES) - start / PIECE_BYTES > WINDOW_BYTES_MAX / PIECE_BYTES
            || self.first <= start / PIECE_BYTES
    }

    /// What of a log of this length is missing from `start` on: whole pieces, but
    /// for the log's last one.
    pub fn missing(&self, start: u64, length: u64) -> Range<u64> {
        let from = start / PIECE_BYTES * PIECE_BYTES;
        from..(self.first * PIECE_BYTES).min(length).max(from)
    }

    /// Puts bytes before the others, where they belong: `range` is as
    /// [`Window::missing`] gave it. Where the window has changed, nothing happens.
    pub fn prepend(&mut self, range: Range<u64>, bytes: &[u8]) {
        let offset = self.first * PIECE_BYTES;
        let fits = match self.pieces.is_empty() {
            true => range.end == self.length && self.is_remembered(range.start, bytes),
            false => range.end == offset,
        };
        if !fits || bytes.len() as u64 != range.end - range.start {
            return;
        }
        for piece in bytes.chunks(PIECE_BYTES as usize).rev() {
            self.pieces.push_front(Bytes::copy_from_slice(piece));
            self.first -= 1;
        }
        self.usage.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// The offset at which the last piece ends.
    pub fn end(&self) -> u64 {
        let pieces = self.pieces.len() as u64;
        match self.pieces.back() {
            Some(last) => (self.first + pieces - 1) * PIECE_BYTES + last.len() as u64,
            None => self.first * PIECE_BYTES,
        }
    }

    /// Whether nothing is in memory.
    #[cfg(feature = "mysql")]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether these bytes, which begin at `start`, have the last line that was in
    /// memory, should it lie in them.
    #[cfg(feature = "mysql")]
    fn is_remembered(&self, start: u64, bytes: &[u8]) -> bool {
        let Some(last) = &self.forgotten else { return true };
        let inside = |at: u64| at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
        let line = inside(last.range.start).zip(inside(last.range.end));
        let line = line.and_then(|(from, to)| bytes.get(from..to));
        line.is_none_or(|line| fnv1a(line) == last.hash)
    }

    #[cfg(not(feature = "mysql"))]
    fn is_remembered(&self, _: u64, _: &[u8]) -> bool {
        true
    }

    /// Lets go of all that is in memory, but for what its last line was.
    pub fn clear(&mut self) {
        #[cfg(feature = "mysql")]
        if let Some(last) = self.pieces.back() {
            let range = self.last_line();
            let line = &last[last.len() - (range.end - range.start) as usize..];
            self.forgotten = Some(LastLine { hash: fnv1a(line), range });
        }
        if !self.pieces.is_empty() {
            self.length = self.end();
        }
        let held: usize = self.pieces.iter().map(Bytes::len).sum();
        self.usage.bytes.fetch_sub(held as u64, Ordering::Relaxed);
        self.first += self.pieces.len() as u64;
        self.pieces.clear();
    }

    /// Nothing yet of what is a log of this length by now.
    #[cfg(feature = "mysql")]
    pub fn restart(&mut self, length: u64) {
        self.clear();
        self.first = length.div_ceil(PIECE_BYTES);
        self.length = length;
    }

    /// Where the last known line is, or what of it is in the last piece; empty where
    /// nothing was ever known.
    #[cfg(feature = "mysql")]
    pub fn last_line(&self) -> Range<u64> {
        let Some(last) = self.pieces.back() else {
            return self.forgotten.as_ref().map_or(0..0, |last| last.range.clone());
        };
        let before = memchr::memrchr(b'\n', &last[..last.len() - 1]).map_or(0, |end| end + 1);
        self.end() - (last.len() - before) as u64..self.end()
    }

    /// Whether these bytes of the log, which begin at `start`, are those in memory,
    /// as far as they are there, or are the last line that was.
    #[cfg(feature = "mysql")]
    pub fn agrees(&self, start: u64, bytes: &[u8]) -> bool {
        let end = start + bytes.len() as u64;
        if let Some(last) = self.forgotten.as_ref().filter(|_| self.pieces.is_empty()) {
            return last.range != (start..end) || last.hash == fnv1a(bytes);
        }
        let mut at = start.max(self.first * PIECE_BYTES);
        while let Some(known) = (at < end).then(|| self.piece(at..end)).flatten() {
            let told = &bytes[(at - start) as usize..][..known.len()];
            if known != told {
                return false;
            }
            at += known.len() as u64;
        }
        true
    }

    /// Adds bytes at the end: the last piece is filled, then come new ones. What
    /// is oldest goes, where it is too much.
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.usage.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
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
        while self.pieces.len() as u64 > WINDOW_BYTES_MAX / PIECE_BYTES {
            let dropped = self.pieces.pop_front().map_or(0, |piece| piece.len() as u64);
            self.usage.bytes.fetch_sub(dropped, Ordering::Relaxed);
            self.first += 1;
        }
    }
}

/// A number for a log that is opened, which no other one of this process has.
pub fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Drop for Window {
    fn drop(&mut self) {
        let bytes: usize = self.pieces.iter().map(Bytes::len).sum();
        self.usage.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that began before the log grew and was let go of: what it puts back
    /// would end before the log does.
    #[test]
    #[cfg(feature = "mysql")]
    fn only_the_whole_end_comes_back() {
        let log = b"first\nsecond\n";
        let mut window = Window::new(6, &Arc::default());
        window.prepend(window.missing(0, 6), &log[..6]);
        window.append(&log[6..]);
        window.clear();
        window.prepend(window.missing(0, 6), &log[..6]);
        assert!(window.is_empty() && window.last_line() == (6..13));
        let other = b"first\nanother";
        window.prepend(window.missing(0, 13), other);
        assert!(window.is_empty(), "it has another last line");
        window.prepend(window.missing(0, 13), log);
        assert_eq!((window.end(), window.last_line()), (13, 6..13));
    }

    proptest! {
        #[test]
        fn what_is_in_memory_is_what_is_in_the_log(length in 1u64..400_000, steps in prop::collection::vec((any::<prop::sample::Index>(), 0usize..90_000), 1..9)) {
            let mut log: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let usage = Arc::default();
            let mut window = Window::new(length, &usage);
            let last = window.missing(length - 1, length);
            window.prepend(last.clone(), &log[last.start as usize..]);
            for (start, more) in steps {
                let start = start.index(log.len()) as u64;
                let missing = window.missing(start, log.len() as u64);
                window.prepend(missing.clone(), &log[missing.start as usize..missing.end as usize]);
                prop_assert!(window.is_loaded(start, log.len() as u64));
                let new: Vec<u8> = (0..more).map(|at| (at % 241) as u8).collect();
                window.append(&new);
                log.extend(new);
                prop_assert_eq!(window.end(), log.len() as u64);
                let mut at = start;
                while at < log.len() as u64 {
                    let piece = window.piece(at..log.len() as u64).unwrap();
                    prop_assert_eq!(&piece[..], &log[at as usize..][..piece.len()]);
                    at += piece.len() as u64;
                }
            }
            let held: usize = window.pieces.iter().map(Bytes::len).sum();
            prop_assert_eq!(usage.bytes.load(Ordering::Relaxed), held as u64);
            drop(window);
            prop_assert_eq!(usage.bytes.load(Ordering::Relaxed), 0);
        }
    }
}
