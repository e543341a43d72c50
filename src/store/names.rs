//! Friendly names of servers: one that no other server of the same store holds.

use std::io;

use tokio::sync::watch;

use crate::store::Store;
use crate::store::file;
#[cfg(feature = "mysql")]
use crate::store::mysql;

/// The names, in the order in which they are given out; then each with a 2, a 3, …
const NAMES: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
    "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango",
    "uniform", "victor", "whiskey", "xray", "yankee", "zulu",
];
/// How often the list is gone through: more servers than any store has.
const ROUNDS: usize = 100;

/// All names, each once.
pub fn all() -> impl Iterator<Item = String> {
    (1..=ROUNDS).flat_map(|round| {
        NAMES.into_iter().map(move |name| match round {
            1 => name.to_owned(),
            _ => format!("{name}-{round}"),
        })
    })
}

/// A name, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub enum Claim {
    /// By the lock of a file.
    File(file::names::Claim),
    /// By a lock or a lease in the database.
    #[cfg(feature = "mysql")]
    MySql(mysql::names::Claim),
}

impl Claim {
    /// Claims this name; fails with `AlreadyExists` where another server holds it.
    pub async fn of(store: &Store, name: &str) -> io::Result<Claim> {
        match store {
            Store::Files(directory) => file::names::Claim::of(directory, name).map(Claim::File),
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => mysql::names::Claim::of(mysql, name).await.map(Claim::MySql),
        }
    }

    /// Claims the first name that is free.
    pub async fn first_free(store: &Store) -> io::Result<Claim> {
        for name in all() {
            match Claim::of(store, &name).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                claim => return claim,
            }
        }
        Err(io::Error::other("all names are taken"))
    }

    /// The name, and each that takes its place: a server that was cut off from a
    /// database may find it taken, and goes on under the first that is free.
    pub fn names(&self) -> watch::Receiver<String> {
        match self {
            // The lock of a file is held as long as the process is there.
            Claim::File(claim) => watch::channel(claim.name().to_owned()).1,
            #[cfg(feature = "mysql")]
            Claim::MySql(claim) => claim.names(),
        }
    }

    /// Gives the name back, for the next server to take.
    pub async fn release(self) {
        match self {
            Claim::File(_) => {}
            #[cfg(feature = "mysql")]
            Claim::MySql(claim) => claim.release().await,
        }
    }
}
