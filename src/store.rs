//! The store: where the logs are kept, and what that owes to those who use it.
//!
//! A store keeps one append-only log a room. Appending is durable before it
//! returns; reading gives whole lines only; a log may be replaced by another one
//! at any time (removed, rotated), and other servers append to it too.

pub mod append;
pub mod directory;
pub mod log;
pub mod snapshot;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the store did not do what it was asked for. Cheap to clone: one failure
/// is the answer to every post of a batch.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// No room left: on the device, in the quota, or under the file-size limit.
    Full(Arc<str>),
    /// Another program held the room's lock all the time; nothing was appended.
    Busy,
    /// The line was written, but it is not known whether it is on the device.
    Doubtful(Arc<str>),
    /// Anything else that the operating system said.
    Failed(Arc<str>),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
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
