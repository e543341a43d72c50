//! Notices what other servers, and scripts, append to rooms that have streams.
//!
//! The kernel tells of changes in the rooms' directory (`inotify(7)`), with one
//! watch for all rooms, set only while there are streams. A slow check of the
//! rooms that have streams is the safety net: for file systems and systems where
//! nobody tells, and should a notice be lost.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::name::RoomName;
use crate::rooms::Rooms;
use crate::store::Store;
#[cfg(feature = "mysql")]
use crate::store::mysql;

/// How often the slow check looks at every room that has streams.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The rooms of a store, with what notices what others append to them; it ends
/// when the rooms are dropped. A directory is watched by a thread, as it reads files.
pub fn rooms(store: Store, config: &Config) -> io::Result<Arc<Rooms>> {
    let notices = match &store {
        Store::Files(directory) if config.notices => Notices::new(directory.path()).ok(),
        _ => None,
    };
    let rooms = Rooms::new(store, config.open_rooms_max, notices);
    let weak = Arc::downgrade(&rooms);
    match rooms.store() {
        Store::Files(_) => {
            let watcher = thread::Builder::new().name("watcher".to_owned());
            watcher.spawn(move || watch(&weak))?;
        }
        #[cfg(feature = "mysql")]
        Store::MySql(database) => drop(tokio::spawn(mysql::watch::watch(weak, database.clone()))),
    }
    Ok(rooms)
}

fn watch(rooms: &Weak<Rooms>) {
    let notices = rooms.upgrade().and_then(|rooms| rooms.notices().cloned());
    let mut next_check = Instant::now() + CHECK_EVERY;
    loop {
        let left = next_check.saturating_duration_since(Instant::now());
        let changes = match &notices {
            Some(notices) => notices.wait(left),
            None => {
                thread::sleep(left);
                Changes::Of(HashSet::new())
            }
        };
        let Some(rooms) = rooms.upgrade() else { return };
        let changed = match changes {
            Changes::Any => rooms.watched(),
            Changes::Of(names) => {
                names.iter().filter_map(|name| rooms.watched_room(name)).collect()
            }
        };
        for room in changed {
            room.refresh();
        }
        if next_check <= Instant::now() {
            for room in rooms.watched().iter().filter(|room| room.has_changed()) {
                room.refresh();
            }
            next_check = Instant::now() + CHECK_EVERY;
        }
        rooms.trim();
    }
}

/// The rooms whose files changed, or that any may have.
enum Changes {
    Of(HashSet<RoomName>),
    Any,
}

#[cfg(target_os = "linux")]
pub use linux::Notices;
#[cfg(not(target_os = "linux"))]
pub use other::Notices;

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;

    use super::*;
    use crate::store::lock;

    /// What tells that a log grew, came or went.
    const CHANGES: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::CREATE)
        .union(WatchFlags::DELETE)
        .union(WatchFlags::MOVED_FROM)
        .union(WatchFlags::MOVED_TO);
    /// Room for the notices of one read, in bytes; one takes 272 at the most.
    const NOTICES_BYTES: usize = 16 * 1024;

    /// The kernel's notices about one directory.
    #[derive(Debug)]
    pub struct Notices {
        queue: OwnedFd,
        directory: PathBuf,
        /// The watch, while there is one.
        watch: Mutex<Option<i32>>,
    }

    impl Notices {
        /// A queue for this directory, without a watch yet.
        pub fn new(directory: &Path) -> io::Result<Notices> {
            let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            Ok(Notices { queue, directory: directory.to_owned(), watch: Mutex::default() })
        }

        /// Sets the watch, or takes it away. Where that fails, there is the slow check.
        pub fn set(&self, on: bool) {
            let mut watch = lock(&self.watch);
            match (on, *watch) {
                (true, None) => {
                    *watch = inotify::add_watch(&self.queue, &self.directory, CHANGES).ok()
                }
                (false, Some(number)) => {
                    let _ = inotify::remove_watch(&self.queue, number);
                    *watch = None;
                }
                _ => {}
            }
        }

        /// Waits for notices, or until the time is over.
        pub(super) fn wait(&self, time: Duration) -> Changes {
            let mut queue = [PollFd::new(&self.queue, PollFlags::IN)];
            let time = Timespec::try_from(time).ok();
            // Where it fails there is nothing to read, and the slow check goes on.
            let _ = poll(&mut queue, time.as_ref());
            let mut buffer = vec![MaybeUninit::uninit(); NOTICES_BYTES];
            let mut reader = Reader::new(&self.queue, &mut buffer);
            let mut changed = HashSet::new();
            loop {
                match reader.next() {
                    Ok(notice) if notice.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                        return Changes::Any;
                    }
                    Ok(notice) => {
                        let file = notice.file_name().and_then(|file| file.to_str().ok());
                        changed.extend(file.and_then(RoomName::from_file_name));
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => return Changes::Of(changed),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::*;

    /// Nobody tells here: the slow check sees what changes.
    #[derive(Debug)]
    pub struct Notices;

    impl Notices {
        /// Never there.
        pub fn new(_: &std::path::Path) -> io::Result<Notices> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Does nothing.
        pub fn set(&self, _: bool) {}

        pub(super) fn wait(&self, time: Duration) -> Changes {
            thread::sleep(time);
            Changes::Of(HashSet::new())
        }
    }
}
