//! One room of the database: its state, asked for once for all who want to know.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{MySqlConnection, raw_sql};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use crate::cursor::Cursor;
use crate::name::RoomName;
use crate::store::StoreError;
use crate::store::mysql::fault::Fault;
use crate::store::mysql::log::Log;
use crate::store::mysql::{MySql, Session};
use crate::store::snapshot::{Snapshot, Source};
use crate::store::window::Usage;

/// How long a database may lag behind another one before what a client has seen
/// there counts as gone; where the database can be told to wait, it is.
pub const LAG_WAIT: Duration = Duration::from_millis(500);
const LAG_PAUSE: Duration = Duration::from_millis(20);
/// How long a reader waits until another one has brought to memory what is new.
const TURN_WAIT: Duration = Duration::from_secs(3);

/// One room of the database.
#[derive(Debug)]
pub struct Rows {
    /// The database.
    pub mysql: Arc<MySql>,
    /// The room's name.
    pub name: RoomName,
    /// How many questions were begun.
    asked: AtomicU64,
    /// The last question that was answered, and what it was. Who waits for this
    /// lock mostly finds a question answered that was begun after they came.
    last: Mutex<(u64, Result<State, StoreError>)>,
    /// Held by whoever brings to memory what is new, so that the others find it.
    turns: Mutex<()>,
}

/// What the table of rooms says of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The room's number; 0 where it has no row.
    pub room: u64,
    /// The log's state.
    pub cursor: Cursor,
}

/// A row of the table of rooms: number, length and epoch.
pub type StateRow = (u64, u64, String);

impl State {
    /// The state that a row says.
    pub fn of((room, length, epoch): StateRow) -> State {
        let cursor = format!("{epoch}-{length}").parse().unwrap_or_default();
        State { room, cursor }
    }
}

impl Rows {
    /// The room of this name.
    pub fn new(mysql: Arc<MySql>, name: RoomName) -> Rows {
        let last = Mutex::new((0, Ok(State::default())));
        Rows { mysql, name, asked: AtomicU64::new(0), last, turns: Mutex::default() }
    }

    /// The turn to bring to memory what is new, kept until it is dropped.
    pub async fn turn(&self) -> Result<MutexGuard<'_, ()>, StoreError> {
        let turn = timeout(TURN_WAIT, self.turns.lock()).await;
        turn.map_err(|_| StoreError::Failed("the room's lines do not come in time".into()))
    }

    /// The room's state now: no older than this call.
    pub async fn state(&self) -> Result<State, StoreError> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.0 <= before {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, self.ask().await);
        }
        last.1.clone()
    }

    /// The log in its state now.
    pub async fn snapshot(&self, usage: &Arc<Usage>) -> Result<Arc<Snapshot>, StoreError> {
        let State { room, cursor } = self.state().await?;
        if cursor.length == 0 {
            return Ok(Arc::default());
        }
        let log = Log::open(&self.mysql, room, cursor.length, usage).await?;
        Ok(Arc::new(Snapshot::new(cursor, Source::Rows(Arc::new(log)))))
    }

    async fn ask(&self) -> Result<State, StoreError> {
        self.mysql
            .asking(|mut session| async {
                let found = state(&mut session, &self.name).await?;
                Ok(session.gives(found))
            })
            .await
    }

    /// The room's state once this database has caught up with what was done on
    /// others, or has had the time for it.
    pub async fn caught_up(&self, seen: Cursor) -> Result<State, StoreError> {
        if self.mysql.galera {
            let ask = |mut session: Session| async {
                set_sync_wait(&mut session, true).await?;
                let found = state(&mut session, &self.name).await?;
                set_sync_wait(&mut session, false).await?;
                Ok(session.gives(found))
            };
            return self.mysql.asking(ask).await;
        }
        let deadline = Instant::now() + LAG_WAIT;
        loop {
            // One question is for all who wait.
            let now = self.state().await?;
            if now.cursor.length >= seen.length || Instant::now() > deadline {
                return Ok(now);
            }
            sleep(LAG_PAUSE).await;
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, room {}", self.mysql, self.name.as_str())
    }
}

/// What the table says of a room.
pub async fn state(conn: &mut MySqlConnection, name: &RoomName) -> Result<State, Fault> {
    let row: Option<StateRow> =
        sqlx::query_as("SELECT id, length, epoch FROM rooms WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(row.map_or(State::default(), State::of))
}

/// Has this session's statements wait until the node has applied what the cluster
/// had committed before them (Galera: `wsrep_sync_wait`; 7 is for reads and writes).
async fn set_sync_wait(conn: &mut MySqlConnection, on: bool) -> Result<(), Fault> {
    let statement =
        if on { "SET SESSION wsrep_sync_wait = 7" } else { "SET SESSION wsrep_sync_wait = 0" };
    raw_sql(statement).execute(conn).await?;
    Ok(())
}
