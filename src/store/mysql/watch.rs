//! Notices what other servers append: one question for all rooms, again and again
//! while somebody watches.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::name::RoomName;
use crate::report;
use crate::room::Room;
use crate::room::rows::{goes_back, is_at};
use crate::rooms::Rooms;
use crate::store::StoreError;
use crate::store::mysql::room::{LAG_WAIT, State};
use crate::store::mysql::{MySql, Session};
use crate::store::snapshot::Snapshot;

/// How often the database is asked which rooms have changed: others' lines are to
/// come within half a second.
const TICK: Duration = Duration::from_millis(200);
/// How far back it is asked, in seconds: for longer than a transaction takes from
/// when it says that the room has changed to its commit.
const LATELY_SECONDS: u32 = 5;
/// Over how many ticks every watched room is asked for by its name, a share of them
/// with each question: the safety net, should the clocks of a cluster differ, or a
/// room have been removed.
const ROUND_TICKS: usize = 25;
/// Where the last answer is older than this, all of them are asked for at once.
const GAP: Duration = Duration::from_secs(1);
/// How many names stand in one question at the most.
const NAMES_MAX: usize = 16_384;
/// How many rooms look at the same time at what is new to them.
const LOOKS_MAX: usize = 4;

/// Notices changes until the rooms are dropped.
pub async fn watch(rooms: Weak<Rooms>, mysql: Arc<MySql>) {
    let mut round = Round::default();
    let mut looks = Looks::new();
    let mut answered = None::<Instant>;
    let mut away = false;
    loop {
        sleep(TICK).await;
        let Some(rooms) = rooms.upgrade() else { return };
        rooms.until_watched().await;
        rooms.trim();
        let gap = away || answered.is_none_or(|answered| answered.elapsed() > GAP);
        let named = match gap {
            true => rooms.watched(),
            false => looks.and_doubted(round.next(&rooms)),
        };
        let done = tick(&rooms, &mysql, &named, &mut looks).await;
        match &done {
            Err(error) if !away => report::store_error(&mysql, error),
            Ok(()) if away => report::line(format_args!("{mysql}: answers again")),
            _ => {}
        }
        away = done.is_err();
        match away {
            true => looks.doubts.clear(),
            false => answered = Some(Instant::now()),
        }
    }
}

/// The watched rooms in turn.
#[derive(Default)]
struct Round {
    /// Those that are still to be asked for in this round.
    left: Vec<Weak<Room>>,
    /// How many at a time.
    share: usize,
}

impl Round {
    fn next(&mut self, rooms: &Rooms) -> Vec<Arc<Room>> {
        if self.left.is_empty() {
            self.left = rooms.watched().iter().map(Arc::downgrade).collect();
            self.share = self.left.len().div_ceil(ROUND_TICKS);
        }
        let rest = self.left.len().saturating_sub(self.share);
        let next = self.left.drain(rest..).filter_map(|room| room.upgrade());
        next.filter(|room| room.is_watched()).collect()
    }
}

/// Has the rooms looked at that have changed lately, and these.
async fn tick(
    rooms: &Arc<Rooms>,
    mysql: &Arc<MySql>,
    named: &[Arc<Room>],
    looks: &mut Looks,
) -> Result<(), StoreError> {
    let (first, rest) = named.split_at(named.len().min(NAMES_MAX));
    let mut found = ask(mysql, first).await?;
    for more in rest.chunks(NAMES_MAX) {
        found.extend(ask(mysql, more).await?);
    }
    looks.forget_ended();
    for room in named {
        let row = room.row_name().and_then(|name| found.remove(name.as_str()));
        looks.hear(mysql, room, row.unwrap_or_default());
    }
    for (name, state) in found {
        let watched = RoomName::new(&name).ok().and_then(|name| rooms.watched_room(&name));
        if let Some(room) = watched {
            looks.hear(mysql, &room, state);
        }
    }
    Ok(())
}

/// The state of the rooms that have changed lately, and of these, by their names.
async fn ask(
    mysql: &Arc<MySql>,
    named: &[Arc<Room>],
) -> Result<HashMap<String, State>, StoreError> {
    let names = named.iter().filter_map(|room| room.row_name());
    let mut names: Vec<_> = names.map(RoomName::as_str).collect();
    // Few sizes, so that the database knows each; no room has an empty name.
    names.resize(names.len().next_power_of_two(), "");
    let marks = vec!["?"; names.len()].join(", ");
    let statement = format!(
        "SELECT name, id, length, epoch FROM rooms WHERE changed > NOW(6) - INTERVAL ? SECOND \
         UNION ALL SELECT name, id, length, epoch FROM rooms WHERE name IN ({marks})"
    );
    let ask = |mut session: Session| async {
        let mut question = sqlx::query_as(AssertSqlSafe(statement.clone())).bind(LATELY_SECONDS);
        for name in &names {
            question = question.bind(*name);
        }
        let found = question.fetch_all(&mut *session).await?;
        Ok(session.gives(found))
    };
    let found: Vec<NamedRow> = mysql.asking(ask).await?;
    let state = |(name, room, length, epoch)| (name, State::of((room, length, epoch)));
    Ok(found.into_iter().map(state).collect())
}

/// A room's name, number, length and epoch.
type NamedRow = (String, u64, u64, String);

/// The rooms that look at what is new to them, beside the questions: a slow one holds
/// up no other room.
struct Looks {
    looking: HashMap<RoomName, JoinHandle<()>>,
    /// How many of them look at the same time.
    permits: Arc<Semaphore>,
    /// The rooms of which the database has less than is known. It may lag behind
    /// another one, so they are asked for with every question for a while.
    doubts: HashMap<RoomName, Doubt>,
}

/// A room of which the database has less than is known.
struct Doubt {
    room: Arc<Room>,
    known: Arc<Snapshot>,
    since: Instant,
}

impl Looks {
    fn new() -> Looks {
        let permits = Arc::new(Semaphore::new(LOOKS_MAX));
        Looks { looking: HashMap::new(), permits, doubts: HashMap::new() }
    }

    /// These rooms, and those that are in doubt.
    fn and_doubted(&mut self, mut rooms: Vec<Arc<Room>>) -> Vec<Arc<Room>> {
        self.doubts.retain(|_, doubt| doubt.room.is_watched());
        rooms.retain(|room| room.row_name().is_none_or(|name| !self.doubts.contains_key(name)));
        rooms.extend(self.doubts.values().map(|doubt| doubt.room.clone()));
        rooms
    }

    fn forget_ended(&mut self) {
        self.looking.retain(|_, look| !look.is_finished());
    }

    /// The database says this of a room.
    fn hear(&mut self, mysql: &MySql, room: &Arc<Room>, state: State) {
        let Some(name) = room.row_name().filter(|name| !self.looking.contains_key(name)) else {
            return;
        };
        let known = room.latest();
        match known.clone().filter(|known| goes_back(Some(known), state)) {
            // Another log that is as long is none that lags; Galera can be told to wait.
            Some(known) if mysql.galera || state.cursor.length >= known.cursor.length => {
                let room = room.clone();
                // Where it fails, the next look tells.
                self.look(name, async move { drop(room.snapshot().await) });
            }
            Some(known) if !self.is_sure(name, room, &known) => {}
            _ => {
                self.doubts.remove(name);
                if known.as_deref().is_none_or(|known| !is_at(known, state)) {
                    let room = room.clone();
                    self.look(name, async move { room.heard(state, known).await });
                }
            }
        }
    }

    /// Whether the database has had less than this for so long that it does not lag.
    fn is_sure(&mut self, name: &RoomName, room: &Arc<Room>, known: &Arc<Snapshot>) -> bool {
        match self.doubts.get(name) {
            Some(doubt) if Arc::ptr_eq(&doubt.known, known) => doubt.since.elapsed() > LAG_WAIT,
            _ => {
                let (room, known, since) = (room.clone(), known.clone(), Instant::now());
                self.doubts.insert(name.clone(), Doubt { room, known, since });
                false
            }
        }
    }

    fn look(&mut self, name: &RoomName, look: impl Future<Output = ()> + Send + 'static) {
        let permits = self.permits.clone();
        let look = tokio::spawn(async move {
            let _permit = permits.acquire().await;
            look.await;
        });
        self.looking.insert(name.clone(), look);
    }
}
