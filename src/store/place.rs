//! Where one room's log is.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "mysql")]
use std::sync::Arc;

#[cfg(feature = "mysql")]
use crate::store::mysql;

/// Where one room's log is, or will be.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of this path.
    File(PathBuf),
    /// Rows of a database.
    #[cfg(feature = "mysql")]
    Rows(Arc<mysql::room::Rows>),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(out),
            #[cfg(feature = "mysql")]
            Place::Rows(rows) => rows.fmt(out),
        }
    }
}
