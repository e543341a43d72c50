//! Appending to a room's file: the writers' side of the protocol that every
//! process on the directory keeps.
//!
//! Lock the file; make sure that the path still names it; cut off a torn last
//! line that a dead writer left; write all lines in one call; unlock; sync.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use crate::cursor::{Cursor, EPOCH_BYTES, Epoch};
use crate::store::StoreError;
use crate::store::batch::Written;
use crate::store::file::directory::{FileId, sync_parent};
use crate::store::window::{OpenFile, Usage};

/// How often a lock may turn out to be on a file that was just replaced.
const REOPENS_MAX: u32 = 100;
/// How much of the log's start is compared to tell that it is still the same.
const HEAD_BYTES: usize = 256;
/// Block size for looking backwards for the end of a line.
const SCAN_BYTES: usize = 64 * 1024;

/// A file that can be appended to and synced; tests put one in its place that fails.
pub trait Medium: From<File> {
    /// The file itself, for everything else.
    fn file(&self) -> &File;

    /// Appends some or all of the bytes, as `write(2)` with `O_APPEND`.
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    /// Brings all that was appended to the device, as `fdatasync(2)`.
    fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }
}

impl Medium for File {
    fn file(&self) -> &File {
        self
    }
}

/// A room's file, open for appending. One process has one at a time for a room.
#[derive(Debug)]
pub struct Appender<M: Medium = File> {
    medium: M,
    id: FileId,
    /// The file's length when we last held the lock: whole lines that begin with
    /// `head`. [`UNKNOWN`] where a torn remainder could not be cut.
    length: u64,
    head: Vec<u8>,
    epoch: Epoch,
    /// Whether the name in the directory is on the device too.
    name_synced: bool,
    /// Where the bytes begin that a failed sync left in doubt. The kernel reports
    /// such a failure once and takes the pages for clean from then on, so they
    /// have to be written again before a later sync can mean anything.
    doubtful_from: Option<u64>,
    open: Option<OpenFile>,
}

/// No length that a file can have.
const UNKNOWN: u64 = u64::MAX;

/// The lock is held until this is dropped, and the log holds whole lines.
#[derive(Debug)]
pub struct Locked<'a, M: Medium = File> {
    appender: &'a mut Appender<M>,
}

impl<M: Medium> Drop for Locked<'_, M> {
    fn drop(&mut self) {
        // Where this fails, closing the file unlocks it.
        let _ = self.appender.medium.file().unlock();
    }
}

/// Locks the room's file, making it where there is none; `None` where another
/// process holds the lock. `slot` keeps the file open from one time to the next.
pub fn lock<'a, M: Medium>(
    path: &Path,
    slot: &'a mut Option<Appender<M>>,
) -> io::Result<Option<Locked<'a, M>>> {
    for _ in 0..REOPENS_MAX {
        let appender = match slot.take() {
            Some(appender) => appender,
            None => Appender::open(path)?,
        };
        match appender.medium.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                *slot = Some(appender);
                return Ok(None);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let named = match fs::metadata(path) {
            Ok(meta) => Some(FileId::of(&meta)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if named == Some(appender.id) {
            let locked = Locked { appender: slot.insert(appender) };
            locked.appender.settle(path)?;
            return Ok(Some(locked));
        }
        // Rotated or removed before we came: closing the file unlocks it.
    }
    Err(io::Error::other("the file is replaced again and again"))
}

impl<M: Medium> Appender<M> {
    fn open(path: &Path) -> io::Result<Appender<M>> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Appender {
            id: FileId::of(&file.metadata()?),
            medium: M::from(file),
            length: 0,
            head: Vec::new(),
            epoch: Epoch::EMPTY,
            name_synced: false,
            doubtful_from: None,
            open: None,
        })
    }

    /// Under the lock: learns what others did, and cuts off a torn last line.
    fn settle(&mut self, path: &Path) -> io::Result<()> {
        let file = self.medium.file();
        let size = file.metadata()?.size();
        let head_bytes = self.head.len().min(size as usize);
        let same_start = head_bytes > 0 && read_start(file, head_bytes)? == self.head;
        if size != self.length || !same_start {
            let length = end_of_lines(file, size)?;
            if length < size {
                file.set_len(length)?;
            }
            if length < self.length || !same_start {
                self.epoch = epoch_of(file, length)?;
            }
            self.head = read_start(file, length.min(HEAD_BYTES as u64) as usize)?;
            self.length = length;
        }
        match self.doubtful_from {
            Some(from) => write_again(file, path, from, self.length),
            None => Ok(()),
        }
    }

    /// Has its file counted among those that are held open.
    pub fn count_in(&mut self, usage: &Arc<Usage>) {
        self.open.get_or_insert_with(|| OpenFile::counted_in(usage));
    }

    /// Whether a sync failed, and what it left in doubt is not written again yet.
    pub fn is_in_doubt(&self) -> bool {
        self.doubtful_from.is_some()
    }

    /// Brings what was written to the device, and the file's name when it may be
    /// new. Needs no lock. Where it fails, everything from `start` on is in doubt.
    pub fn sync(&mut self, path: &Path, start: u64) -> io::Result<()> {
        if let Err(error) = self.medium.sync() {
            self.doubtful_from = Some(self.doubtful_from.map_or(start, |from| from.min(start)));
            return Err(error);
        }
        self.doubtful_from = None;
        if !self.name_synced {
            sync_parent(path)?;
            self.name_synced = true;
        }
        Ok(())
    }
}

impl<M: Medium> Locked<'_, M> {
    /// The log's state.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.appender.epoch, length: self.appender.length }
    }

    /// The log from here to its end.
    pub fn read(&self, from: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (self.appender.length - from) as usize];
        self.appender.medium.file().read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    /// Writes these whole lines at the log's end. After a partial write (a full
    /// disk) the whole lines stay, as a reader may have seen them; the torn
    /// remainder is cut.
    pub fn write(&mut self, lines: &[u8]) -> Written {
        let appender = &mut *self.appender;
        let start = appender.length;
        // `append_all` does nothing where there is nothing to write.
        let (taken, error) = append_all(&appender.medium, lines);
        let whole = memchr::memrchr(b'\n', &lines[..taken]).map_or(0, |last| last + 1);
        let cut = whole == taken || appender.medium.file().set_len(start + whole as u64).is_ok();
        // What could not be cut no reader serves, and the next writer tries again.
        appender.length = if cut { start + whole as u64 } else { UNKNOWN };
        if start == 0 && whole > 0 {
            appender.epoch = Epoch::of(&lines[..whole]);
        }
        let more = HEAD_BYTES.saturating_sub(appender.head.len()).min(whole);
        appender.head.extend_from_slice(&lines[..more]);
        let error = error.as_ref().map(StoreError::from);
        Written { epoch: appender.epoch, start, bytes: whole as u64, error }
    }
}

/// Appends until all is written or nothing more is taken.
fn append_all(medium: &impl Medium, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut taken = 0;
    while taken < bytes.len() {
        match medium.append(&bytes[taken..]) {
            Ok(0) => return (taken, Some(io::ErrorKind::StorageFull.into())),
            Ok(more) => taken += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Some(error)),
        }
    }
    (taken, None)
}

/// Under the lock: writes the bytes of this range once more, in place, so that
/// the next sync is about them too. `O_APPEND` cannot do that: `pwrite(2)`, bugs.
fn write_again(file: &File, path: &Path, from: u64, to: u64) -> io::Result<()> {
    let in_place = OpenOptions::new().write(true).open(path)?;
    let mut block = vec![0; SCAN_BYTES];
    let mut at = from;
    while at < to {
        let block = &mut block[..SCAN_BYTES.min((to - at) as usize)];
        file.read_exact_at(block, at)?;
        in_place.write_all_at(block, at)?;
        at += block.len() as u64;
    }
    Ok(())
}

/// Where the last whole line before `size` ends: 0 where there is none.
pub fn end_of_lines(file: &File, size: u64) -> io::Result<u64> {
    Ok(count_line_ends(file, 0..size, 1)?.0)
}

/// Counts line ends in this range, from the back, up to `count`: the offset after the
/// last one that was counted and 0, or the range's start and how many are left to be
/// counted before it. Reads in blocks.
pub fn count_line_ends(file: &File, range: Range<u64>, count: u64) -> io::Result<(u64, u64)> {
    let mut block = vec![0; SCAN_BYTES.min((range.end - range.start) as usize)];
    let (mut end, mut left) = (range.end, count);
    while end > range.start {
        let start = end.saturating_sub(SCAN_BYTES as u64).max(range.start);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            left -= 1;
            if left == 0 {
                return Ok((start + at as u64 + 1, 0));
            }
        }
        end = start;
    }
    Ok((end, left))
}

/// The epoch of a log of this length.
pub fn epoch_of(file: &File, length: u64) -> io::Result<Epoch> {
    let most = length.min(EPOCH_BYTES as u64) as usize;
    let head = read_start(file, most.min(HEAD_BYTES))?;
    if head.contains(&b'\n') || head.len() == most {
        return Ok(Epoch::of(&head));
    }
    Ok(Epoch::of(&read_start(file, most)?))
}

/// The first bytes of a file that has at least as many.
pub fn read_start(file: &File, bytes: usize) -> io::Result<Vec<u8>> {
    let mut start = vec![0; bytes];
    file.read_exact_at(&mut start, 0)?;
    Ok(start)
}

#[cfg(test)]
mod tests;
