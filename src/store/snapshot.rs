//! The state of a log at one look at it: the readers' side, which takes no lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;

use crate::cursor::Cursor;
use crate::store::append::{end_of_lines, epoch_of};
use crate::store::directory::FileId;
use crate::store::log::{Log, PIECE_BYTES, Usage};
use crate::store::{StoreError, blocking};

/// Longer than the steps of the clock that file systems stamp changes with.
const CLOCK_STEP: Duration = Duration::from_millis(50);
/// How long an unchanged open file stands for its path, should a file system not
/// stamp a renamed file as changed.
const NAME_CHECKED: Duration = Duration::from_secs(1);

/// The state of a log at one look at it.
#[derive(Debug)]
pub struct Snapshot {
    /// The log's state: where its last whole line ends.
    pub cursor: Cursor,
    /// The cursor as a header's value, in quotes.
    pub etag: HeaderValue,
    open: Option<Open>,
}

/// A log that has a file.
#[derive(Clone, Debug)]
struct Open {
    log: Arc<Log>,
    stamp: Stamp,
    /// Whether the file had been left alone for a while when it was looked at, so
    /// that a change since then must show in its stamp.
    settled: bool,
    /// When the path was last seen to name this file.
    named: Instant,
}

/// What `stat(2)` says of a file that changes whenever it is written to, cut,
/// renamed or removed: its size, and when it and its inode were changed, in
/// seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What `stat(2)` says of a path that has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    id: FileId,
    stamp: Stamp,
}

/// One `stat(2)`, which opens nothing: enough to see whether something changed.
pub fn glance(path: &Path) -> Option<Glance> {
    let meta = fs::metadata(path).ok()?;
    Some(Glance { id: FileId::of(&meta), stamp: Stamp::of(&meta) })
}

/// What a look at the file gave.
#[derive(Debug)]
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
    if let Some(known) = known
        && known.open.as_ref().is_some_and(Open::is_unchanged)
    {
        return Ok(Look::Now(known.clone()));
    }
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
    match known.and_then(|known| known.look_again(&meta).transpose()).transpose()? {
        Some(now) => Ok(Look::Now(Arc::new(now))),
        None => Ok(Look::Open),
    }
}

/// Opens the file and reads the end of it. Blocks.
pub fn open(path: &Path, usage: &Arc<Usage>) -> io::Result<Arc<Snapshot>> {
    let file = match fs::metadata(path) {
        // A pipe or a device of this name would block, or never end.
        Ok(meta) if !meta.is_file() => {
            return Err(io::Error::other("the room's log is not a regular file"));
        }
        Ok(_) => File::open(path),
        Err(error) => Err(error),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Arc::new(Snapshot::new(Cursor::default(), None)));
        }
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    let length = end_of_lines(&file, meta.size())?;
    let cursor = Cursor { epoch: epoch_of(&file, length)?, length };
    let log = Log::new(file, FileId::of(&meta), length, usage)?;
    Ok(Arc::new(Snapshot::new(cursor, Some(Open::new(Arc::new(log), Stamp::of(&meta))))))
}

impl Snapshot {
    fn new(cursor: Cursor, open: Option<Open>) -> Snapshot {
        let etag = HeaderValue::try_from(format!("\"{cursor}\""));
        Snapshot { cursor, etag: etag.unwrap_or(HeaderValue::from_static("\"0-0\"")), open }
    }

    /// Where the last `lines` lines begin.
    pub async fn tail(&self, lines: u64) -> Result<u64, StoreError> {
        let Some(log) = self.log().cloned() else { return Ok(0) };
        let length = self.cursor.length;
        match log.tail_in_memory(lines, length) {
            Some(start) => Ok(start),
            None => blocking(move || log.tail(lines, length)).await,
        }
    }

    /// Whether a line ends at this length, or the log begins there.
    pub async fn is_line_end(&self, length: u64) -> Result<bool, StoreError> {
        let Some(last) = length.checked_sub(1) else { return Ok(true) };
        let Some(log) = self.log().filter(|_| length <= self.cursor.length).cloned() else {
            return Ok(false);
        };
        let byte = match log.piece(last..length) {
            Some(byte) => byte,
            None => blocking(move || log.read(last..length)).await?,
        };
        Ok(byte == b"\n"[..])
    }

    /// What the path showed at this look.
    pub fn glance(&self) -> Option<Glance> {
        self.open.as_ref().map(|open| Glance { id: open.log.id, stamp: open.stamp })
    }

    /// The open log; `None` where there is no file.
    pub fn log(&self) -> Option<&Arc<Log>> {
        self.open.as_ref().map(|open| &open.log)
    }

    /// The state now that the path's file is this one, where it can be told from
    /// what is known and from a little that was added.
    fn look_again(&self, meta: &fs::Metadata) -> io::Result<Option<Snapshot>> {
        let Some(open) = self.open.as_ref().filter(|open| open.log.id == FileId::of(meta)) else {
            return Ok(None);
        };
        let (old, new) = (open.stamp, Stamp::of(meta));
        let again = || Some(Open::new(open.log.clone(), new));
        let torn = old.size != self.cursor.length;
        if !torn && (old.size, old.modified) == (new.size, new.modified) {
            return Ok(Some(Snapshot {
                cursor: self.cursor,
                etag: self.etag.clone(),
                open: again(),
            }));
        }
        let grown = new.size > self.cursor.length && new.size - self.cursor.length <= PIECE_BYTES;
        if !grown || self.cursor.length == 0 {
            return Ok(None);
        }
        let cursor = open.log.grow(self.cursor, new.size)?;
        Ok(cursor.map(|cursor| Snapshot::new(cursor, again())))
    }
}

impl Open {
    fn new(log: Arc<Log>, stamp: Stamp) -> Open {
        Open { log, stamp, settled: stamp.is_settled(), named: Instant::now() }
    }

    /// Whether the open file tells, without a look at its path, that all is as it was.
    fn is_unchanged(&self) -> bool {
        self.settled
            && self.named.elapsed() < NAME_CHECKED
            && Stamp::of_open(&self.log.file) == Some(self.stamp)
    }
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Stamp {
        Stamp {
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The stamp of an open file: without a path to walk, at a third of the cost.
    #[allow(clippy::useless_conversion)] // The fields' types differ by the system.
    fn of_open(file: &File) -> Option<Stamp> {
        let stat = rustix::fs::fstat(file).ok()?;
        Some(Stamp {
            size: u64::try_from(stat.st_size).ok()?,
            modified: (stat.st_mtime.into(), i64::try_from(stat.st_mtime_nsec).ok()?),
            changed: (stat.st_ctime.into(), i64::try_from(stat.st_ctime_nsec).ok()?),
        })
    }

    /// Whether the last change is so long ago that the next one gets another time.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(self.changed.0.max(0) as u64, self.changed.1 as u32);
        now.saturating_sub(changed) > CLOCK_STEP
    }
}
