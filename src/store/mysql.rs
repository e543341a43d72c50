//! The store of more than one host: a database that speaks MySQL's protocol.
//!
//! A room is a row that holds its log's length, and each line a row that holds its
//! place in the log; so cursors, ranges and resumption are those of the file store.

pub mod address;
pub mod append;
mod fault;
mod lines;
pub mod log;
pub mod names;
pub mod room;
mod rows;
mod schema;
pub mod watch;

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, MySqlConnection, raw_sql};
use tokio::time::{Instant, sleep, timeout};

use crate::name::RoomName;
use crate::store::StoreError;
use crate::store::mysql::address::Address;
use crate::store::mysql::fault::Fault;
use crate::store::mysql::room::Rows;

/// Connections at the most, for what waits for locks and for what does not, so that
/// locked rooms hold up no reader. Each costs the database a thread and memory.
const WRITERS_MAX: u32 = 12;
const READERS_MAX: u32 = 6;
/// For how long a new connection is tried for, and one that is given back is asked.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long one statement may take. A lock is waited for for less than that.
const STATEMENT_WAIT: Duration = Duration::from_secs(6);
/// For how long what failed is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(3);
/// How long a statement of a copy may take, and how long it is tried again: nobody
/// waits for its answer, and the next node of a cluster may have to take over.
const COPY_WAIT: Duration = Duration::from_secs(60);
/// How many rooms are listed at once.
const LISTED_ROOMS: u32 = 5_000;
/// The first pause before something is tried again, and the longest.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];
/// How long a starting server waits for the database.
const START_WAIT: Duration = Duration::from_secs(10);
/// A connection that has been idle for this long is closed, before the database does it.
const IDLE_WAIT: Duration = Duration::from_secs(15);
/// What every session is told. Lines are read under the room's lock as they were
/// committed last. A session whose client has vanished ends, and its locks with it;
/// so does a statement that waits for a lock of a row or, by a backup, of a table.
/// Leases and changes are told in one time, whatever the nodes' zones are. What the
/// database is set to otherwise does not matter: statements mean what they say, commit
/// by themselves outside of a transaction, and what does not fit a column is refused.
const SESSION: [&str; 2] = [
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
     completion_type = 0, innodb_lock_wait_timeout = 5, lock_wait_timeout = 5, \
     wait_timeout = 20, sql_select_limit = 18446744073709551615, time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// A database with the rooms in it.
pub struct MySql {
    readers: MySqlPool,
    writers: MySqlPool,
    address: Address,
    /// Whether it is a node of a Galera cluster, where a lock is only this node's.
    galera: bool,
    /// Tells this server's row from those of others.
    holder: u64,
}

impl MySql {
    /// Connects, and makes the tables where there are none.
    pub async fn open(address: &Address) -> Result<MySql, StoreError> {
        Self::opening(address, true).await
    }

    /// Connects to a database in which the tables are.
    pub async fn open_to_read(address: &Address) -> Result<MySql, StoreError> {
        Self::opening(address, false).await
    }

    async fn opening(address: &Address, make: bool) -> Result<MySql, StoreError> {
        // Such a file does not come by waiting, as a database may.
        address.check_files().map_err(|error| StoreError::Failed(error.into()))?;
        let deadline = Instant::now() + START_WAIT;
        let mut pauses = Pauses::new();
        loop {
            match Self::try_open(address, make).await {
                Ok(opened) => return Ok(opened),
                Err(fault) if fault.is_final() || Instant::now() > deadline => {
                    return Err(fault.into_store_error());
                }
                Err(_) => pauses.wait().await,
            }
        }
    }

    async fn try_open(address: &Address, make: bool) -> Result<MySql, Fault> {
        let galera = within(STATEMENT_WAIT, async {
            let mut conn = connect(&address.options).await?;
            schema::prepare(&mut conn, make).await?;
            let wsrep: Option<(String, String)> =
                sqlx::query_as("SHOW VARIABLES LIKE 'wsrep_on'").fetch_optional(&mut conn).await?;
            let _ = conn.close().await;
            Ok(wsrep.is_some_and(|(_, value)| value == "ON"))
        })
        .await?;
        let (readers, writers) = (pool(address, READERS_MAX), pool(address, WRITERS_MAX));
        Ok(MySql { readers, writers, address: address.clone(), galera, holder: random() })
    }

    /// A room's rows.
    pub fn room(self: &Arc<MySql>, name: &RoomName) -> Arc<Rows> {
        Arc::new(Rows::new(self.clone(), name.clone()))
    }

    /// The rooms that somebody has written to, each with how many bytes.
    pub async fn rooms(&self) -> Result<Vec<(RoomName, u64)>, StoreError> {
        let statement =
            "SELECT id, name, length FROM rooms WHERE id > ? AND length > 0 ORDER BY id LIMIT ?";
        let mut rooms = Vec::new();
        let mut last = 0;
        loop {
            let ask = |mut session: Session| async move {
                let page = sqlx::query_as(statement).bind(last).bind(LISTED_ROOMS);
                let page = page.fetch_all(&mut *session).await?;
                Ok(session.gives(page))
            };
            let page: Vec<(u64, String, u64)> = self.copying(ask).await?;
            match page.last() {
                Some(&(id, ..)) => last = id,
                None => return Ok(rooms),
            }
            // Another name than a room can have was put there by hand.
            let named =
                |(_, name, bytes): (u64, String, u64)| Some((RoomName::new(&name).ok()?, bytes));
            rooms.extend(page.into_iter().filter_map(named));
        }
    }

    /// Tries whether the database takes data now.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let probe = "UPDATE servers SET seen = NOW(6) WHERE holder = ?";
        let write = |mut session: Session| async move {
            let done = sqlx::query(probe).bind(self.holder).execute(&mut *session).await?;
            Ok(session.gives(done))
        };
        self.writing(write).await.map(drop)
    }

    /// Asks what can be asked again without harm: a lost connection or a conflict
    /// is followed by another attempt, for a while.
    async fn asking<T, F>(&self, ask: impl Fn(Session) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        again(RETRY_WAIT, || once(&self.readers, STATEMENT_WAIT, &ask)).await
    }

    /// The same for what may wait for locks.
    async fn writing<T, F>(&self, write: impl Fn(Session) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        again(RETRY_WAIT, || once(&self.writers, STATEMENT_WAIT, &write)).await
    }

    /// The same for what a copy does, which may take long.
    async fn copying<T, F>(&self, copy: impl Fn(Session) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        again(COPY_WAIT, || once(&self.writers, COPY_WAIT, &copy)).await
    }

    async fn writing_session(&self) -> Result<Session, Fault> {
        Session::of(&self.writers).await
    }
}

/// Asks once, for as long as `wait` at the most.
async fn once<T, F>(
    pool: &MySqlPool,
    wait: Duration,
    ask: &impl Fn(Session) -> F,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let session = Session::of(pool).await?;
    within(wait, ask(session)).await
}

/// Tries until it is done, it makes no sense, or `wait` is over.
async fn again<T, F>(wait: Duration, attempt: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, Fault>>,
{
    let deadline = Instant::now() + wait;
    let mut pauses = Pauses::new();
    loop {
        match attempt().await {
            Err(fault) if !fault.is_final() && Instant::now() < deadline => pauses.wait().await,
            done => return done.map_err(Fault::into_store_error),
        }
    }
}

/// A connection of the pool. One on which something went wrong, or was cut off, is
/// not used again.
struct Session {
    conn: PoolConnection<sqlx::MySql>,
    fine: bool,
}

impl Session {
    async fn of(pool: &MySqlPool) -> Result<Session, Fault> {
        Ok(Session { conn: pool.acquire().await?, fine: false })
    }

    /// Gives the connection back to the pool: all is well.
    fn gives<T>(mut self, answer: T) -> T {
        self.fine = true;
        answer
    }
}

impl Deref for Session {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.conn
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.conn
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        match self.fine {
            // The pool asks it whether it is well, and would wait for that without end.
            true => drop(tokio::spawn(timeout(CONNECT_WAIT, self.conn.return_to_pool()))),
            false => self.conn.close_on_drop(),
        }
    }
}

impl fmt::Display for MySql {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}

impl fmt::Debug for MySql {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Connections that are made when they are needed.
fn pool(address: &Address, most: u32) -> MySqlPool {
    MySqlPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(CONNECT_WAIT)
        .idle_timeout(IDLE_WAIT)
        // What a round trip would tell is told by the statement itself.
        .test_before_acquire(false)
        .after_connect(|conn, _| Box::pin(prepare_session(conn)))
        .connect_lazy_with(address.options.clone())
}

/// A connection of its own.
async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, Fault> {
    within(CONNECT_WAIT, async {
        let connected = MySqlConnection::connect_with(options).await;
        let mut conn = connected.map_err(Fault::connecting)?;
        prepare_session(&mut conn).await?;
        Ok(conn)
    })
    .await
}

async fn prepare_session(conn: &mut MySqlConnection) -> sqlx::Result<()> {
    for statement in SESSION {
        raw_sql(statement).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Gives something this long.
async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(time, work).await.unwrap_or_else(|_| Err(Fault::timed_out()))
}

/// Pauses between attempts: each twice as long as the one before, and scattered,
/// so that those who were in each other's way are not again.
struct Pauses(Duration);

impl Pauses {
    fn new() -> Pauses {
        Pauses(RETRY_PAUSES[0])
    }

    async fn wait(&mut self) {
        let scattered = self.0.mul_f64(0.5 + f64::from(random() as u16) / f64::from(u16::MAX));
        sleep(scattered).await;
        self.0 = (self.0 * 2).min(RETRY_PAUSES[1]);
    }
}

/// A random number, as the standard library seeds its maps with them.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now().elapsed())
}
