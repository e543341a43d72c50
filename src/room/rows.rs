//! A room of a database: what is asked of it, and what is heard of it.

use std::sync::Arc;
use std::time::Instant;

use crate::cursor::Cursor;
use crate::name::RoomName;
use crate::room::Room;
use crate::room::commit::Restart;
use crate::store::batch::{Batch, Written};
use crate::store::mysql::append::Committed;
use crate::store::mysql::log::Log;
use crate::store::mysql::room::{Rows, State};
use crate::store::place::Place;
use crate::store::snapshot::{Snapshot, Source};
use crate::store::{StoreError, lock};

/// How often a state is asked for again because another one was seen meanwhile.
const ASK_TRIES: u32 = 3;

impl Room {
    /// The room's name, where it is in a database.
    pub fn row_name(&self) -> Option<&RoomName> {
        match &self.place {
            Place::Rows(rows) => Some(&rows.name),
            Place::File(_) => None,
        }
    }

    /// The log's state now; where a client has seen more of it than this database
    /// has, once that has caught up.
    pub(super) async fn ask(
        &self,
        rows: &Rows,
        seen: Option<Cursor>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        for _ in 0..ASK_TRIES {
            let before = self.latest();
            let mut state = rows.state().await?;
            let known = before.as_ref().map_or(Cursor::default(), |before| before.cursor);
            let most = seen.filter(|seen| seen.length > known.length).unwrap_or(known);
            if state.cursor.length < most.length || is_other(before.as_deref(), state) {
                state = rows.caught_up(most).await?;
            }
            // What was seen while this was asked may be newer.
            let now = self.latest();
            let same = match (&before, &now) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (None, None) => true,
                _ => false,
            };
            if same || !goes_back(now.as_deref(), state) {
                return self.learn(rows, state, now).await;
            }
        }
        self.latest().ok_or_else(|| StoreError::Failed("the room comes and goes".into()))
    }

    /// What the watcher was told of this room, which may be older than what is known.
    pub async fn heard(self: &Arc<Room>, state: State) {
        let known = self.latest();
        if known.as_ref().is_some_and(|known| known.cursor == state.cursor) {
            return;
        }
        let Place::Rows(rows) = &self.place else { return };
        // Where it fails, the next look tells.
        let _ = match goes_back(known.as_deref(), state) {
            true => self.snapshot().await,
            false => self.learn(rows, state, known).await,
        };
    }

    /// Makes a snapshot of a state, and has it seen in the place of `before`, or of
    /// what is seen meanwhile, unless that is more of the same log.
    async fn learn(
        &self,
        rows: &Rows,
        state: State,
        before: Option<Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let known = self.latest();
        if let Some(known) = &known
            && known.cursor == state.cursor
            && !is_other(Some(known), state)
        {
            return Ok(known.clone());
        }
        let source = if state.cursor.length == 0 {
            Source::Nothing
        } else {
            Source::Rows(match known.as_deref().and_then(|known| log_of(known, state)) {
                Some(log) if log.grow(state.cursor.length).await? => log,
                _ => {
                    let usage = &self.shared.usage;
                    Arc::new(Log::open(&rows.mysql, state.room, state.cursor.length, usage).await?)
                }
            })
        };
        let now = Arc::new(Snapshot::new(state.cursor, source));
        let mut seen = lock(&self.seen);
        if let Some(newer) = &seen.snapshot
            && log_of(newer, state).is_some()
            && newer.cursor.length > state.cursor.length
            && !before.is_some_and(|before| Arc::ptr_eq(&before, newer))
        {
            return Ok(newer.clone());
        }
        self.see(&mut seen, &now);
        Ok(now)
    }

    /// Commits until nobody waits.
    pub(super) async fn commit_rows(self: Arc<Room>, rows: &Rows) {
        let _unwinding = Restart(self.clone());
        loop {
            let began = Instant::now();
            let waiting = self.take_waiting();
            let (batch, written) = match rows.commit(&waiting).await {
                Ok(Committed { batch, written, room }) => {
                    self.take_over(rows, room, &batch, &written).await;
                    (batch, written)
                }
                Err(error) => (Batch::default(), Written::nothing(error)),
            };
            let posts = waiting.len();
            self.settle(waiting, batch, &written, None, began);
            if !self.goes_on(posts) {
                return;
            }
        }
    }

    /// Has readers and streams of this server see the lines that were just stored.
    async fn take_over(&self, rows: &Rows, room: u64, batch: &Batch, written: &Written) {
        if written.bytes == 0 {
            return;
        }
        let length = written.start + written.bytes;
        let state = State { room, cursor: Cursor { epoch: written.epoch, length } };
        let known = self.latest();
        if let Some(log) = known.as_deref().and_then(|known| log_of(known, state)) {
            log.take(written.start, &batch.lines).await;
        }
        // Another server's later lines may have been seen already.
        let is_news = match known.as_deref() {
            Some(known) => is_other(Some(known), state) || !goes_back(Some(known), state),
            None => self.is_watched(),
        };
        if is_news {
            // Where it fails, the next look tells.
            let _ = self.learn(rows, state, known).await;
        }
    }
}

/// The open log, if it is the one that this state is of.
fn log_of(known: &Snapshot, state: State) -> Option<Arc<Log>> {
    match &known.source {
        Source::Rows(log) if log.room == state.room => Some(log.clone()),
        _ => None,
    }
}

/// Whether this state is of another log than the one that is known.
fn is_other(known: Option<&Snapshot>, state: State) -> bool {
    known.is_some_and(|known| known.log().is_some() && log_of(known, state).is_none())
}

/// Whether the known state is of another log, or has more of this one.
fn goes_back(known: Option<&Snapshot>, state: State) -> bool {
    is_other(known, state) || known.is_some_and(|known| known.cursor.length > state.cursor.length)
}
