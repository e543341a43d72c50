//! Friendly names: each server of a store holds one that no other server of it
//! holds, by an advisory lock that is gone the moment the server is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;

use crate::name::RoomName;
use crate::store::directory::Directory;

/// The names, in the order in which they are given out; then each with a 2, a 3, …
const NAMES: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
    "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango",
    "uniform", "victor", "whiskey", "xray", "yankee", "zulu",
];
/// How often the list is gone through: more servers than any store has.
const ROUNDS: usize = 100;

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

    /// Claims the first name that is free.
    pub fn first_free(directory: &Directory) -> io::Result<Claim> {
        for round in 1..=ROUNDS {
            for name in NAMES {
                let name = if round == 1 { name.to_owned() } else { format!("{name}-{round}") };
                match Claim::of(directory, &name) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    claim => return claim,
                }
            }
        }
        Err(io::Error::other("all names are taken"))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
