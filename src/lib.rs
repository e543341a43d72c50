//! catchat: chat rooms that you can `cat`.
//!
//! Any URL is a room; a room is an append-only log of text lines; one cursor (the
//! log's entity tag, its length in bytes) lets anyone resume anywhere. Data goes
//! one way:
//!
//! ```text
//! TcpStream > server > route > handlers > room > store
//! accept, cap,  one match   page, post,  one log,  verbs and
//! drain         (pure)      read         cursors   their duties
//! ```

pub mod args;
pub mod assets;
pub mod body;
pub mod conditional;
pub mod config;
pub mod copy;
pub mod cursor;
pub mod error;
pub mod form;
pub mod handlers;
pub mod health;
pub mod line;
pub mod live;
pub mod metrics;
pub mod name;
pub mod report;
pub mod room;
pub mod rooms;
pub mod route;
pub mod server;
pub mod store;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod watcher;
