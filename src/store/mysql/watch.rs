//! Notices what other servers append: one question for all rooms, again and again
//! while somebody watches.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::name::RoomName;
use crate::report;
use crate::room::Room;
use crate::rooms::Rooms;
use crate::store::StoreError;
use crate::store::mysql::room::State;
use crate::store::mysql::{MySql, Session};

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
            false => round.next(&rooms),
        };
        let done = tick(&rooms, &mysql, &named).await;
        match &done {
            Err(error) if !away => report::store_error(&mysql, error),
            Ok(()) if away => report::line(format_args!("{mysql}: answers again")),
            _ => {}
        }
        away = done.is_err();
        if !away {
            answered = Some(Instant::now());
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

/// Looks at the rooms that have changed lately, and at these.
async fn tick(
    rooms: &Arc<Rooms>,
    mysql: &Arc<MySql>,
    named: &[Arc<Room>],
) -> Result<(), StoreError> {
    let (first, rest) = named.split_at(named.len().min(NAMES_MAX));
    let mut found = ask(mysql, first).await?;
    for more in rest.chunks(NAMES_MAX) {
        found.extend(ask(mysql, more).await?);
    }
    let mut news = Vec::new();
    for room in named {
        let row = room.row_name().and_then(|name| found.remove(name.as_str()));
        news.push((room.clone(), row.unwrap_or_default()));
    }
    for (name, state) in found {
        let watched = RoomName::new(&name).ok().and_then(|name| rooms.watched_room(&name));
        news.extend(watched.map(|watched| (watched, state)));
    }
    tell(news).await;
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

/// Has the rooms look at what is new to them, some at a time.
async fn tell(mut news: Vec<(Arc<Room>, State)>) {
    news.retain(|(room, state)| room.latest().is_none_or(|known| known.cursor != state.cursor));
    let mut looking = JoinSet::new();
    for (room, state) in news {
        if looking.len() >= LOOKS_MAX {
            looking.join_next().await;
        }
        looking.spawn(async move { room.heard(state).await });
    }
    looking.join_all().await;
}
