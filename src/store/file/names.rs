//! The name of a server, held by the advisory lock of a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;

use crate::name::RoomName;
use crate::store::file::directory::Directory;

/// A name, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    name: String,
    _lock: File,
}

impl Claim {
    /// Claims this name; fails with `AlreadyExists` where another server holds it.
    pub fn of(directory: &Directory, name: &str) -> io::Result<Claim> {
        let room = RoomName::new(name)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let file = room.to_file_name();
        let file = file.strip_suffix(".log").unwrap_or(&file);
        // No room's file begins with a dot.
        let path = directory.path().join(format!(".server-{file}"));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim { name: name.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
