//! The store of one host: a directory with one file a room.

pub mod append;
pub mod appending;
pub mod directory;
pub mod log;
pub mod look;
pub mod names;
