//! Looking at a room's file: the readers' side, which takes no lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cursor::Cursor;
use crate::store::file::append::{end_of_lines, epoch_of};
use crate::store::file::directory::FileId;
use crate::store::file::log::Log;
use crate::store::snapshot::{Snapshot, Source};
use crate::store::window::{PIECE_BYTES, Usage};

/// Longer than the steps of the clock that file systems stamp changes with.
const CLOCK_STEP: Duration = Duration::from_millis(50);
/// How long an unchanged open file stands for its path, should a file system not
/// stamp a renamed file as changed.
const NAME_CHECKED: Duration = Duration::from_secs(1);

/// A log that has a file, as it was at one look.
#[derive(Clone, Debug)]
pub struct Open {
    /// The open log.
    pub log: Arc<Log>,
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
        && file_of(known).is_some_and(Open::is_unchanged)
    {
        return Ok(Look::Now(known.clone()));
    }
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Look::Now(match known {
                Some(known) if file_of(known).is_none() => known.clone(),
                _ => Arc::new(Snapshot::default()),
            }));
        }
        Err(error) => return Err(error),
    };
    match known.and_then(|known| look_again(known, &meta).transpose()).transpose()? {
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
            return Ok(Arc::new(Snapshot::default()));
        }
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    let length = end_of_lines(&file, meta.size())?;
    let cursor = Cursor { epoch: epoch_of(&file, length)?, length };
    let log = Log::new(file, FileId::of(&meta), length, usage)?;
    Ok(Arc::new(Snapshot::new(cursor, Source::File(Open::new(Arc::new(log), Stamp::of(&meta))))))
}

/// The file that a snapshot was made from.
fn file_of(known: &Snapshot) -> Option<&Open> {
    match &known.source {
        Source::File(open) => Some(open),
        _ => None,
    }
}

/// The state now that the path's file is this one, where it can be told from
/// what is known and from a little that was added.
fn look_again(known: &Snapshot, meta: &fs::Metadata) -> io::Result<Option<Snapshot>> {
    let Some(open) = file_of(known).filter(|open| open.log.id == FileId::of(meta)) else {
        return Ok(None);
    };
    let (old, new) = (open.stamp, Stamp::of(meta));
    let again = || Source::File(Open::new(open.log.clone(), new));
    let torn = old.size != known.cursor.length;
    if !torn && (old.size, old.modified) == (new.size, new.modified) {
        let (cursor, etag) = (known.cursor, known.etag.clone());
        return Ok(Some(Snapshot { cursor, etag, source: again() }));
    }
    let grown = new.size > known.cursor.length && new.size - known.cursor.length <= PIECE_BYTES;
    if !grown || known.cursor.length == 0 {
        return Ok(None);
    }
    let cursor = open.log.grow(known.cursor, new.size)?;
    Ok(cursor.map(|cursor| Snapshot::new(cursor, again())))
}

impl Open {
    /// What the path showed at this look.
    pub fn glance(&self) -> Glance {
        Glance { id: self.log.id, stamp: self.stamp }
    }

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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cursor::Epoch;
    use crate::testing::Scratch;

    /// What a reader sees, who has looked before.
    fn seen(path: &Path, known: &mut Option<Arc<Snapshot>>, usage: &Arc<Usage>) -> Cursor {
        let now = match look(path, known.as_ref()).unwrap() {
            Look::Now(now) => now,
            Look::Open => open(path, usage).unwrap(),
        };
        let cursor = now.cursor;
        *known = Some(now);
        cursor
    }

    fn append(path: &Path, text: &str) {
        let file = File::options().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn every_change_is_seen_at_the_next_look() {
        let scratch = Scratch::new();
        let path = scratch.path("a.log");
        let (usage, mut known) = (Arc::default(), None);
        let at = |first: &str, length| Cursor { epoch: Epoch::of(first.as_bytes()), length };
        assert_eq!(seen(&path, &mut known, &usage), at("", 0));
        append(&path, "to");
        assert_eq!(seen(&path, &mut known, &usage), at("", 0));
        append(&path, "rn\none");
        assert_eq!(seen(&path, &mut known, &usage), at("torn", 5));
        append(&path, "\n");
        assert_eq!(seen(&path, &mut known, &usage), at("torn", 9));
        append(&path, &"x\n".repeat(100_000));
        assert_eq!(seen(&path, &mut known, &usage), at("torn", 200_009));
        fs::write(&path, "new\n").unwrap();
        assert_eq!(seen(&path, &mut known, &usage), at("new", 4));
        fs::write(&path, "NEW\nand longer\n").unwrap();
        assert_eq!(seen(&path, &mut known, &usage), at("NEW", 15));
        fs::rename(&path, scratch.path("a.log.1")).unwrap();
        assert_eq!(seen(&path, &mut known, &usage), at("", 0));
        fs::rename(scratch.path("a.log.1"), &path).unwrap();
        assert_eq!(seen(&path, &mut known, &usage), at("NEW", 15));
        fs::remove_file(&path).unwrap();
        assert_eq!(seen(&path, &mut known, &usage), at("", 0));
        drop(known);
        assert_eq!(usage.files.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert_eq!(usage.bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_in_memory_is_what_is_in_the_file() {
        let scratch = Scratch::new();
        let path = scratch.path("a.log");
        let (usage, mut known) = (Arc::default(), None);
        let mut text = String::new();
        for number in 0..300 {
            let more = format!("{number} {}\n", "x".repeat(number * 7));
            append(&path, &more);
            text += &more;
            seen(&path, &mut known, &usage);
            let now = known.as_ref().unwrap();
            let (log, length) = (file_of(now).unwrap().log.clone(), now.cursor.length);
            if number == 150 {
                log.load(0, length).unwrap();
            }
            for start in [0, length / 2, length - 1] {
                let range = start..length;
                let read = log.read(range.clone()).unwrap();
                assert_eq!(read, text.as_bytes()[start as usize..][..read.len()]);
                assert!(log.piece(range).is_none_or(|piece| piece == read));
            }
        }
        assert!(file_of(&known.unwrap()).unwrap().log.piece(0..1).is_some());
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("a.log")).unwrap();
        assert!(open(&scratch.path("a.log"), &Arc::default()).is_err());
    }
}
