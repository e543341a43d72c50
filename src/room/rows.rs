//! A room of a database: what is asked of it, and what is heard of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

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

/// How long the next posts wait until this server's readers see the last ones.
const TAKE_OVER_WAIT: Duration = Duration::from_millis(200);
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
            if is_same(before.as_ref(), now.as_ref()) || !goes_back(now.as_deref(), state) {
                return self.learn(rows, state, now).await;
            }
        }
        self.latest().ok_or_else(|| StoreError::Failed("the room comes and goes".into()))
    }

    /// What the watcher was told of this room, of which `before` was known then.
    pub async fn heard(&self, state: State, before: Option<Arc<Snapshot>>) {
        let Place::Rows(rows) = &self.place else { return };
        // Where something else was seen since, or it fails, the next look tells.
        if is_same(before.as_ref(), self.latest().as_ref()) {
            let _ = self.learn(rows, state, before).await;
        }
    }

    /// Makes a snapshot of a state, and has it seen in the place of `before`, or of
    /// what is seen meanwhile, unless that is more of the same log. A log that is
    /// shorter than it was has lost lines: what follows them is another log.
    async fn learn(
        &self,
        rows: &Rows,
        state: State,
        before: Option<Arc<Snapshot>>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let known = self.latest();
        if let Some(known) = known.filter(|known| is_at(known, state)) {
            return Ok(known);
        }
        let _in_turn = rows.turn().await?;
        let known = self.latest();
        let open = known.as_deref().and_then(|known| log_of(known, state));
        let mut shrunk = false;
        if let Some(known) = &known {
            let newer = !is_same(before.as_ref(), Some(known));
            if is_at(known, state) || (newer && open.is_some() && is_longer(known, state)) {
                return Ok(known.clone());
            }
            shrunk = is_longer(known, state);
        }
        let length = state.cursor.length;
        let source = if length == 0 {
            Source::Nothing
        } else {
            Source::Rows(match open {
                Some(log) if !shrunk && log.grow(length).await? => log,
                _ => {
                    let usage = &self.shared.usage;
                    Arc::new(Log::open(&rows.mysql, state.room, length, usage).await?)
                }
            })
        };
        let now = Arc::new(Snapshot::new(state.cursor, source));
        self.see(&mut lock(&self.seen), &now);
        Ok(now)
    }

    /// Commits until nobody waits.
    pub(super) async fn commit_rows(self: Arc<Room>, rows: &Rows) {
        let _unwinding = Restart(self.clone());
        loop {
            let began = Instant::now();
            let waiting = self.take_waiting();
            let (batch, written, room) = match rows.commit(&waiting).await {
                Ok(Committed { batch, written, room }) => (batch, written, room),
                Err(error) => (Batch::default(), Written::nothing(error), 0),
            };
            let (posts, lines) = (waiting.len(), batch.lines.clone());
            self.settle(waiting, batch, &written, None, began);
            // Where it takes longer, the next look tells.
            let _ = timeout(TAKE_OVER_WAIT, self.take_over(rows, room, &lines, &written)).await;
            if !self.goes_on(posts) {
                return;
            }
        }
    }

    /// Has readers and streams of this server see the lines that were just stored.
    async fn take_over(&self, rows: &Rows, room: u64, lines: &[u8], written: &Written) {
        if written.bytes == 0 {
            return;
        }
        let length = written.start + written.bytes;
        let state = State { room, cursor: Cursor { epoch: written.epoch, length } };
        let mut known = self.latest();
        if let Some(log) = known.as_deref().and_then(|known| log_of(known, state))
            && !log.take(written.start, lines).await
        {
            // Under the room's lock the log was another one than it was here.
            lock(&self.seen).snapshot.take_if(|seen| is_same(Some(seen), known.as_ref()));
            known = None;
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
        Source::Rows(log) if log.room == state.room && known.cursor.epoch == state.cursor.epoch => {
            Some(log.clone())
        }
        _ => None,
    }
}

/// Whether this state is of another log than the one that is known.
fn is_other(known: Option<&Snapshot>, state: State) -> bool {
    known.is_some_and(|known| known.log().is_some() && log_of(known, state).is_none())
}

/// Whether the known state is of another log, or has more of this one.
pub fn goes_back(known: Option<&Snapshot>, state: State) -> bool {
    is_other(known, state) || known.is_some_and(|known| is_longer(known, state))
}

/// Whether the known state is this one.
pub fn is_at(known: &Snapshot, state: State) -> bool {
    known.cursor == state.cursor && !is_other(Some(known), state)
}

fn is_longer(known: &Snapshot, state: State) -> bool {
    known.cursor.length > state.cursor.length
}

/// Whether nothing else was seen between the two.
pub fn is_same(before: Option<&Arc<Snapshot>>, now: Option<&Arc<Snapshot>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => Arc::ptr_eq(before, now),
        (before, now) => before.is_none() && now.is_none(),
    }
}
