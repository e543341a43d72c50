//! Friendly names of servers: one that no other server of the same store holds.

use std::io;

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
        for round in 1..=ROUNDS {
            for name in NAMES {
                let name = if round == 1 { name.to_owned() } else { format!("{name}-{round}") };
                match Claim::of(store, &name).await {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    claim => return claim,
                }
            }
        }
        Err(io::Error::other("all names are taken"))
    }

    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Claim::File(claim) => claim.name(),
            #[cfg(feature = "mysql")]
            Claim::MySql(claim) => claim.name(),
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
