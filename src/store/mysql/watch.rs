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
use crate::store::mysql::room::{State, StateRow};
use crate::store::mysql::{MySql, Session};

/// How often the database is asked which rooms have changed: others' lines are to
/// come within half a second.
const TICK: Duration = Duration::from_millis(200);
/// How far back it is asked, in seconds: for longer than a transaction takes from
/// when it says that the room has changed to its commit.
const LATELY_SECONDS: u32 = 5;
/// How often every watched room is looked at: the safety net, should the clocks of
/// a cluster differ, a room have been removed, or the database have been away.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How many rooms one statement asks for then.
const CHECK_ROOMS: usize = 500;
/// How many rooms look at the same time at what is new to them.
const LOOKS_MAX: usize = 4;

/// Notices changes until the rooms are dropped.
pub async fn watch(rooms: Weak<Rooms>, mysql: Arc<MySql>) {
    let mut checked = None::<Instant>;
    let mut away = false;
    loop {
        sleep(TICK).await;
        let Some(rooms) = rooms.upgrade() else { return };
        rooms.until_watched().await;
        rooms.trim();
        let all = away || checked.is_none_or(|checked| checked.elapsed() > CHECK_EVERY);
        let done = match all {
            true => check(&rooms, &mysql).await,
            false => tick(&rooms, &mysql).await,
        };
        if all && done.is_ok() {
            checked = Some(Instant::now());
        }
        match &done {
            Err(error) if !away => report::store_error(&mysql, error),
            Ok(()) if away => report::line(format_args!("{mysql}: answers again")),
            _ => {}
        }
        away = done.is_err();
    }
}

/// A room's name, number, length and epoch.
type NamedRow = (String, u64, u64, String);

/// Looks at the rooms that have changed lately.
async fn tick(rooms: &Arc<Rooms>, mysql: &Arc<MySql>) -> Result<(), StoreError> {
    let statement = "SELECT name, id, length, epoch FROM rooms \
         WHERE changed > NOW(6) - INTERVAL ? SECOND";
    let ask = |mut session: Session| async {
        let lately = sqlx::query_as(statement).bind(LATELY_SECONDS).fetch_all(&mut *session);
        let lately: Vec<NamedRow> = lately.await?;
        Ok(session.gives(lately))
    };
    let mut news = Vec::new();
    for (name, room, length, epoch) in mysql.asking(ask).await? {
        let watched = RoomName::new(&name).ok().and_then(|name| rooms.watched_room(&name));
        news.extend(watched.map(|watched| (watched, State::of((room, length, epoch)))));
    }
    tell(news).await;
    Ok(())
}

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

/// Looks at all watched rooms.
async fn check(rooms: &Arc<Rooms>, mysql: &Arc<MySql>) -> Result<(), StoreError> {
    for watched in rooms.watched().chunks(CHECK_ROOMS) {
        let names: Vec<_> = watched.iter().filter_map(|room| room.row_name()).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let statement =
            format!("SELECT name, id, length, epoch FROM rooms WHERE name IN ({marks})");
        let ask = |mut session: Session| async {
            let mut question = sqlx::query_as(AssertSqlSafe(statement.clone()));
            for name in &names {
                question = question.bind(name.as_str());
            }
            let found = question.fetch_all(&mut *session).await?;
            Ok(session.gives(found))
        };
        let found: Vec<NamedRow> = mysql.asking(ask).await?;
        let row = |(name, room, length, epoch)| (name, (room, length, epoch));
        let mut found: HashMap<String, StateRow> = found.into_iter().map(row).collect();
        let state = |room: &Arc<Room>| {
            let row = room.row_name().and_then(|name| found.remove(name.as_str()));
            (room.clone(), row.map_or(State::default(), State::of))
        };
        tell(watched.iter().map(state).collect()).await;
    }
    Ok(())
}
