//! Appending whole lines to a room's file, by the protocol that servers keep.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::cursor::Cursor;
use crate::store::StoreError;
use crate::store::file::append::{self, Appender};
use crate::store::file::directory::sync_parent;

/// For how long a file is waited for that others have locked, and how often it is tried.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// After how many bytes they are brought to the device: so many that this is seldom,
/// and so few that a server which syncs its own lines does not wait for long.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// A room's file that lines are appended to.
#[derive(Debug)]
pub struct Appending {
    path: PathBuf,
    appender: Option<Appender>,
    /// How many bytes were appended since the last sync.
    unsynced: u64,
}

impl Appending {
    /// To the file of this path, which is made by the first line.
    pub fn new(path: PathBuf) -> Appending {
        Appending { path, appender: None, unsynced: 0 }
    }

    /// Appends whole lines if the log is at `at`; where it is then, and `None` where
    /// it was elsewhere. On failure the first of them may be there. Blocks.
    pub fn append(&mut self, at: Cursor, lines: &[u8]) -> Result<Option<Cursor>, StoreError> {
        let deadline = Instant::now() + LOCK_WAIT;
        let mut locked = loop {
            if let Some(locked) = append::lock(&self.path, &mut self.appender)? {
                break locked;
            }
            if Instant::now() > deadline {
                return Err(StoreError::Busy);
            }
            thread::sleep(LOCK_PAUSE);
        };
        let now = locked.cursor();
        if now.length != at.length || (at.length > 0 && now.epoch != at.epoch) {
            return Ok(None);
        }
        let written = locked.write(lines);
        drop(locked);
        self.unsynced += written.bytes;
        if self.unsynced > SYNC_BYTES || written.error.is_some() {
            self.sync()?;
        }
        match written.error {
            Some(error) => Err(error),
            None => Ok(Some(Cursor { epoch: written.epoch, length: at.length + written.bytes })),
        }
    }

    /// Brings all that the file holds to the device, also what others have appended,
    /// or a copy that was killed. Blocks.
    pub fn sync(&mut self) -> io::Result<()> {
        match &mut self.appender {
            Some(appender) => appender.sync(&self.path, 0)?,
            None => {
                File::open(&self.path)?.sync_data()?;
                sync_parent(&self.path)?;
            }
        }
        self.unsynced = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cursor::Epoch;
    use crate::testing::Scratch;

    #[test]
    fn lines_go_only_where_they_belong() {
        let scratch = Scratch::new();
        let path = scratch.path("a.log");
        let mut log = Appending::new(path.clone());
        let one = log.append(Cursor::default(), b"one\n").unwrap().unwrap();
        assert_eq!(one, Cursor { epoch: Epoch::of(b"one\n"), length: 4 });
        assert_eq!(log.append(Cursor::default(), b"one\n").unwrap(), None);
        let other = Cursor { epoch: Epoch::of(b"two\n"), length: 4 };
        assert_eq!(log.append(other, b"two\n").unwrap(), None);
        fs::write(&path, "one\ntorn").unwrap();
        let two = log.append(one, b"\xff\n\n").unwrap().unwrap();
        assert_eq!(two, Cursor { length: 7, ..one });
        log.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\n\xff\n\n");
    }
}
