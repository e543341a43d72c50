//! Appending whole lines of any origin to a log: what a copy does to the store that
//! it fills, beside the servers that may run on it.

#[cfg(feature = "mysql")]
use std::sync::Arc;

use hyper::body::Bytes;

use crate::cursor::Cursor;
use crate::name::RoomName;
#[cfg(feature = "mysql")]
use crate::store::mysql;
use crate::store::{Store, StoreError, blocking, file};

/// A room's log that lines are appended to.
#[derive(Debug)]
pub enum Appending {
    /// In a file.
    File(file::appending::Appending),
    /// In a database.
    #[cfg(feature = "mysql")]
    Rows(Arc<mysql::room::Rows>),
}

impl Appending {
    /// Of this room. Creates nothing.
    pub fn new(store: &Store, room: &RoomName) -> Appending {
        match store {
            Store::Files(directory) => {
                Appending::File(file::appending::Appending::new(directory.log_path(room)))
            }
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => Appending::Rows(mysql.room(room)),
        }
    }

    /// Appends these whole lines if the log is at `at`; where it is then, and `None`
    /// where it was elsewhere. On failure the log may hold the first of the lines.
    /// They are durable after [`Appending::sync`].
    pub async fn append(
        self,
        at: Cursor,
        lines: Bytes,
    ) -> Result<(Appending, Option<Cursor>), StoreError> {
        match self {
            Appending::File(mut file) => {
                let appended = blocking(move || {
                    let end = file.append(at, &lines);
                    Ok(end.map(|end| (Appending::File(file), end)))
                });
                appended.await?
            }
            #[cfg(feature = "mysql")]
            Appending::Rows(rows) => {
                let end = rows.mysql.append_lines(&rows, at, &lines).await?;
                Ok((Appending::Rows(rows), end))
            }
        }
    }

    /// Makes all that the log holds durable, whoever has appended it.
    pub async fn sync(self) -> Result<(), StoreError> {
        match self {
            Appending::File(mut file) => blocking(move || file.sync()).await,
            // A commit is durable.
            #[cfg(feature = "mysql")]
            Appending::Rows(_) => Ok(()),
        }
    }
}
