//! An open log: its file, and the end of it in memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;

use crate::cursor::Cursor;
use crate::store::file::append::{count_line_ends, read_start};
use crate::store::file::directory::FileId;
use crate::store::window::{LINES_BYTES, OpenFile, PIECE_BYTES, Usage, Window, next_number};
use crate::store::{StoreError, blocking, lock};

/// The longest line that is read whole, in bytes: what is longer is no line of a chat.
const LINE_BYTES_MAX: u64 = 64 * LINES_BYTES;
/// How much one step of a search for lines reads, in bytes.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// How much of the log's start is compared to tell that it is still the same.
const HEAD_BYTES: u64 = 256;

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
    _open: OpenFile,
}

impl Log {
    /// The log of this length in this file, its last piece in memory. Blocks.
    pub fn new(file: File, id: FileId, length: u64, usage: &Arc<Usage>) -> io::Result<Log> {
        let head = read_start(&file, length.min(HEAD_BYTES) as usize)?;
        let number = next_number();
        let (head, window) = (Mutex::new(head), Mutex::new(Window::new(length, usage)));
        let log = Log { file, id, number, head, window, _open: OpenFile::counted_in(usage) };
        log.load(length.saturating_sub(1), length)?;
        Ok(log)
    }

    /// Where the last `lines` lines before `length` begin. Reads the file in steps, so
    /// that whoever asks for very many holds up nobody else, and goes away with the
    /// last of them.
    pub async fn tail(self: Arc<Log>, lines: u64, length: u64) -> Result<u64, StoreError> {
        let (mut end, mut left) = (length, lines.saturating_add(1));
        while left > 0 && end > 0 {
            let log = self.clone();
            let start = end.saturating_sub(TAIL_BYTES);
            let step = move || count_line_ends(&log.file, start..end, left);
            (end, left) = blocking(step).await?;
        }
        Ok(end)
    }

    /// Lets go of what is in memory; who has the log open goes on with its file.
    pub fn close(&self) {
        lock(&self.window).clear();
    }

    /// The bytes of this range that lie in its first piece, where they are in memory.
    pub fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        lock(&self.window).piece(range)
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

    /// Whole lines of this range, which begins and ends where lines do: about
    /// [`LINES_BYTES`], at least one line, which may have [`LINE_BYTES_MAX`]. Blocks.
    pub fn lines(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut bytes = LINES_BYTES;
        while bytes <= LINE_BYTES_MAX {
            let end = range.end.min(range.start + bytes);
            let read = self.read_all(range.start..end)?;
            if let Some(last) = memchr::memrchr(b'\n', &read) {
                return Ok(read.slice(..=last));
            }
            if end == range.end {
                return Err(StoreError::Failed("the file was changed meanwhile".into()));
            }
            bytes *= 8;
        }
        Err(StoreError::Failed(
            format!("a line of more than {LINE_BYTES_MAX} bytes begins there").into(),
        ))
    }

    /// Whether everything from `start` to the end is in memory, or too large for it.
    pub fn is_loaded(&self, start: u64, length: u64) -> bool {
        lock(&self.window).is_loaded(start, length)
    }

    /// Brings everything from `start` to the end into memory. Blocks.
    pub fn load(&self, start: u64, length: u64) -> io::Result<()> {
        let missing = lock(&self.window).missing(start, length);
        let bytes = self.read_all(missing.clone())?;
        lock(&self.window).prepend(missing, &bytes);
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
        let more = (HEAD_BYTES as usize).saturating_sub(head.len()).min(new.len());
        head.extend_from_slice(&new[..more]);
        Ok(Some(Cursor { length: known.length + new.len() as u64, ..known }))
    }
}
