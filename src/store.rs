//! The store: where the logs are kept, and what that owes to those who use it.
//!
//! A store keeps one append-only log a room. A post is durable before it is
//! acknowledged; reading gives whole lines only; a log may be replaced by another one
//! at any time (removed, rotated), and other servers append to it too.

pub mod appending;
pub mod batch;
pub mod file;
pub mod listing;
#[cfg(feature = "mysql")]
pub mod mysql;
pub mod names;
pub mod place;
pub mod snapshot;
pub mod window;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Location;
use crate::cursor::Cursor;
use crate::name::RoomName;
use crate::store::file::directory::Directory;
use crate::store::place::Place;

/// Where the logs are kept.
#[derive(Clone, Debug)]
pub enum Store {
    /// In files, one a room.
    Files(Arc<Directory>),
    /// In a database.
    #[cfg(feature = "mysql")]
    MySql(Arc<mysql::MySql>),
}

impl Store {
    /// Opens the store, making it where there is none. The error is one line.
    pub async fn open(location: &Location) -> Result<Store, String> {
        match location {
            Location::Directory(path) => {
                let opened = Directory::open(path).map_err(|error| {
                    format!(
                        "{location}: cannot write there: {error}; give a directory that this user may write to"
                    )
                })?;
                Ok(Store::Files(Arc::new(opened)))
            }
            #[cfg(feature = "mysql")]
            Location::MySql(address) => {
                let opened = mysql::MySql::open(address).await;
                let opened = opened.map_err(|error| format!("{location}: {error}"))?;
                Ok(Store::MySql(Arc::new(opened)))
            }
        }
    }

    /// Opens a store that is there, only to read from it. The error is one line.
    pub async fn open_to_read(location: &Location) -> Result<Store, String> {
        match location {
            Location::Directory(path) => {
                let opened = Directory::open_to_read(path);
                let opened = opened.map_err(|error| format!("{location}: {error}"))?;
                Ok(Store::Files(Arc::new(opened)))
            }
            #[cfg(feature = "mysql")]
            Location::MySql(address) => {
                let opened = mysql::MySql::open_to_read(address).await;
                let opened = opened.map_err(|error| format!("{location}: {error}"))?;
                Ok(Store::MySql(Arc::new(opened)))
            }
        }
    }

    /// Whether both are the same, as far as their names tell.
    pub fn is(&self, other: &Store) -> bool {
        match (self, other) {
            (Store::Files(one), Store::Files(other)) => one.is(other),
            #[cfg(feature = "mysql")]
            (Store::MySql(one), Store::MySql(other)) => one.to_string() == other.to_string(),
            #[cfg(feature = "mysql")]
            _ => false,
        }
    }

    /// Where the log of this room is, or will be.
    pub fn place(&self, room: &RoomName) -> Place {
        match self {
            Store::Files(directory) => Place::File(directory.log_path(room)),
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => Place::Rows(mysql.room(room)),
        }
    }

    /// Tries whether the store takes data now, by writing some.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match self.clone() {
            Store::Files(directory) => blocking(move || directory.probe()).await,
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => mysql.probe().await,
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Files(directory) => write!(out, "{}", directory.path().display()),
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => mysql.fmt(out),
        }
    }
}

/// Why the store did not do what it was asked for. Cheap to clone: one failure
/// is the answer to every post of a batch.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// No room left: on the device, in the quota, or under the file-size limit.
    Full(Arc<str>),
    /// The cursor is not one of this log's last stretch; nothing was appended.
    OutOfReach(Cursor),
    /// Another program held the room's lock all the time; nothing was appended.
    Busy,
    /// It is not known whether the line is on the device, or in the database.
    Doubtful(Arc<str>),
    /// Anything else that the operating system said.
    Failed(Arc<str>),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError::from(&error)
    }
}

impl From<&io::Error> for StoreError {
    fn from(error: &io::Error) -> StoreError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let text = error.to_string().into();
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full(text),
            _ => StoreError::Failed(text),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full(text) | StoreError::Doubtful(text) | StoreError::Failed(text) => {
                out.write_str(text)
            }
            StoreError::OutOfReach(now) => write!(out, "the log is at {now}"),
            StoreError::Busy => out.write_str("another program holds the room's lock"),
        }
    }
}

/// Locks, also after a panic elsewhere: what the locks of this program guard is
/// whole at any time.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks on a thread of its own kind, and waits for it.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(StoreError::from),
        Err(_) => Err(StoreError::Failed("a task of the store panicked".into())),
    }
}
