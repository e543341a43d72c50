//! Appending to a room's rows: the posts that wait are one transaction.
//!
//! Lock the room's row, which tells the log's length; store the lines; add their
//! length; commit. Where a commit does not succeed, the next attempt looks for the
//! mark of its first line, under the same lock, before it stores anything: what
//! still runs holds that lock, and on another node of a cluster one of two that
//! have locked the same row is refused.

use std::time::Duration;

use hyper::body::Bytes;
use sqlx::{AssertSqlSafe, MySqlConnection, raw_sql};
use tokio::time::Instant;

use crate::cursor::{Cursor, Epoch};
use crate::line;
use crate::store::StoreError;
use crate::store::batch::{Batch, Waiting, Written};
use crate::store::mysql::fault::Fault;
use crate::store::mysql::room::{Rows, State, StateRow};
use crate::store::mysql::rows::{self, Row};
use crate::store::mysql::{Pauses, STATEMENT_WAIT, random, within};

/// How long a post is tried for, from when it came.
const COMMIT_WAIT: Duration = Duration::from_secs(5);
/// How long each statement may take at the least, for posts that waited for others.
const ATTEMPT_WAIT: Duration = Duration::from_secs(2);
/// How long the beginning of a transaction may take.
const BEGIN_WAIT: Duration = Duration::from_secs(1);
/// How long a transaction whose answer was lost is looked for.
const LOOK_WAIT: Duration = Duration::from_secs(5);

/// What came of the posts: the lines, where they are, and the room's number.
#[derive(Debug)]
pub struct Committed {
    /// The posts as they were stored.
    pub batch: Batch,
    /// Where in the log.
    pub written: Written,
    /// The room's number.
    pub room: u64,
}

/// The attempts at storing the same posts whose commit was asked for, and that may
/// have taken place; each with what marks its first line, as each has its own time.
#[derive(Default)]
struct Attempts {
    lost: Vec<(u64, Committed)>,
}

impl Rows {
    /// Stores a line for each post that is not there yet, all or none.
    pub async fn commit(&self, waiting: &[Waiting]) -> Result<Committed, StoreError> {
        let since = waiting.iter().map(|waiting| waiting.since).min();
        let mut deadline = since.map_or(Instant::now(), Instant::from_std) + COMMIT_WAIT;
        let mut pauses = Pauses::new();
        let mut attempts = Attempts::default();
        loop {
            let sure = attempts.lost.is_empty();
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.clamp(ATTEMPT_WAIT, STATEMENT_WAIT);
            let fault = match self.try_commit(waiting, &mut attempts, wait).await {
                Ok(committed) => return Ok(committed),
                Err(fault) => fault,
            };
            if sure && !attempts.lost.is_empty() {
                deadline = deadline.max(Instant::now() + LOOK_WAIT);
            }
            if fault.is_final() || Instant::now() > deadline {
                if attempts.lost.is_empty() {
                    return Err(fault.into_store_error());
                }
                let text = format!("the answer to a commit was lost: {fault:?}");
                return Err(StoreError::Doubtful(text.into()));
            }
            pauses.wait().await;
        }
    }

    async fn try_commit(
        &self,
        waiting: &[Waiting],
        attempts: &mut Attempts,
        wait: Duration,
    ) -> Result<Committed, Fault> {
        // What is left of a transaction that fails ends with its connection.
        let mut session = self.mysql.writing_session().await?;
        let committed = self.transact(&mut session, waiting, attempts, wait).await?;
        Ok(session.gives(committed))
    }

    async fn transact(
        &self,
        conn: &mut MySqlConnection,
        waiting: &[Waiting],
        attempts: &mut Attempts,
        wait: Duration,
    ) -> Result<Committed, Fault> {
        let State { room, cursor: now } = within(wait, self.lock(conn)).await?;
        if let Some(found) = within(wait, look(conn, room, attempts)).await? {
            within(wait, end_with(conn, "ROLLBACK")).await?;
            return Ok(attempts.lost.swap_remove(found).1);
        }
        let from = Batch::unread_from(waiting, now);
        let since = within(wait, rows::read(conn, room, from..now.length)).await?;
        let batch = Batch::new(waiting, now, &Bytes::from(since));
        let (start, bytes) = (now.length, batch.lines.len() as u64);
        let epoch = if start == 0 { Epoch::of(&batch.lines) } else { now.epoch };
        let lines = batch.new_posts(waiting).map(|(at, post)| {
            let (time, raw) = (&batch.stamp[1..batch.stamp.len() - 2], &[][..]);
            let parts =
                Some(line::Line { time, username: post.username(), message: post.message() });
            Row { place: start + at as u64, parts, raw }
        });
        let lines: Vec<_> = lines.collect();
        let mark = random();
        within(wait, rows::insert(conn, room, &lines, Some(mark))).await?;
        // Also where there is no new line: what was found must be as durable as this.
        let end = Cursor { epoch, length: start + bytes };
        within(wait, set_state(conn, room, end)).await?;
        drop(lines);
        let written = Written { epoch, start, bytes, error: None };
        let committed = Committed { batch, written, room };
        match within(wait, end_with(conn, "COMMIT")).await {
            Ok(()) => Ok(committed),
            Err(fault) => {
                if bytes > 0 {
                    attempts.lost.push((mark, committed));
                }
                Err(fault)
            }
        }
    }

    /// Begins a transaction that holds the room's row, made where there is none.
    pub(super) async fn lock(&self, conn: &mut MySqlConnection) -> Result<State, Fault> {
        // It waits for no lock: a connection that is silent here is a dead one.
        within(BEGIN_WAIT, end_with(conn, "START TRANSACTION")).await?;
        let statement = "SELECT id, length, epoch FROM rooms WHERE name = ? FOR UPDATE";
        for _ in 0..2 {
            let row = sqlx::query_as(statement).bind(self.name.as_str());
            let row: Option<StateRow> = row.fetch_optional(&mut *conn).await?;
            if let Some(row) = row {
                return Ok(State::of(row));
            }
            let make = sqlx::query("INSERT IGNORE INTO rooms (name) VALUES (?)");
            make.bind(self.name.as_str()).execute(&mut *conn).await?;
        }
        Err(Fault::Conflict("the room's row comes and goes".to_owned()))
    }
}

/// Which of the attempts took place, while the room's row is locked.
async fn look(
    conn: &mut MySqlConnection,
    room: u64,
    attempts: &Attempts,
) -> Result<Option<usize>, Fault> {
    let starts = attempts.lost.iter().map(|(_, lost)| lost.written.start);
    let Some(first) = starts.min() else { return Ok(None) };
    let mut marks: Vec<_> = attempts.lost.iter().map(|&(mark, _)| mark).collect();
    // Few sizes, so that the database knows each.
    marks.resize(marks.len().next_power_of_two(), marks[0]);
    let statement = format!(
        "SELECT batch FROM messages WHERE room = ? AND place >= ? AND batch IN ({})",
        vec!["?"; marks.len()].join(", ")
    );
    let mut found = sqlx::query_as(AssertSqlSafe(statement)).bind(room).bind(first);
    for mark in marks {
        found = found.bind(mark);
    }
    let found: Option<(u64,)> = found.fetch_optional(conn).await?;
    Ok(found.and_then(|(found,)| attempts.lost.iter().position(|&(mark, _)| mark == found)))
}

/// Tells the room's row where its log ends now.
pub(super) async fn set_state(
    conn: &mut MySqlConnection,
    room: u64,
    now: Cursor,
) -> Result<(), Fault> {
    sqlx::query("UPDATE rooms SET length = ?, epoch = ?, changed = NOW(6) WHERE id = ?")
        .bind(now.length)
        .bind(now.epoch.to_string())
        .bind(room)
        .execute(conn)
        .await?;
    Ok(())
}

/// Begins or ends a transaction with this statement.
pub(super) async fn end_with(
    conn: &mut MySqlConnection,
    statement: &'static str,
) -> Result<(), Fault> {
    raw_sql(statement).execute(conn).await?;
    Ok(())
}
