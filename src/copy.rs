//! `catchat copy`: all rooms from one store to another, byte for byte.
//!
//! A room's log in the copy is at any moment a beginning of the one that is copied,
//! of whole lines; so what was stopped goes on by being run again, and every cursor
//! that a client has of the one fits the other.

mod progress;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::vec;

use hyper::body::Bytes;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Location;
use crate::copy::progress::Progress;
use crate::cursor::Cursor;
use crate::name::RoomName;
use crate::store::appending::Appending;
use crate::store::snapshot::Snapshot;
use crate::store::window::Usage;
use crate::store::{Store, StoreError, lock};

/// How many rooms are copied at a time.
const ROOMS_AT_A_TIME: usize = 8;
/// After so many failures of a store it does not get better with the next room.
const STORE_FAILURES_MAX: usize = 20;

/// What is said to who stops a copy.
const STOPPED: &str = "stopped; the same command goes on from there";

/// Copies all rooms, and says so; whether all of them are there now. Where `stop` is
/// ready before that, what is there by then is good, and the next run goes on with it.
/// The error is one line.
pub async fn run(
    from: &Location,
    to: &Location,
    stop: impl Future<Output = ()>,
) -> Result<bool, String> {
    let mut stop = pin!(stop);
    let opened = unless(stop.as_mut(), Copy::new(from, to)).await;
    let copy = Arc::new(opened.ok_or(STOPPED)??);
    let mut tasks = JoinSet::new();
    for _ in 0..ROOMS_AT_A_TIME {
        let copy = copy.clone();
        tasks.spawn(async move { copy.work().await });
    }
    let bar = copy.progress.show();
    let mut panicked = false;
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            panicked |= ended.is_err();
        }
    };
    let done = unless(stop, all).await;
    tasks.shutdown().await;
    if let Some(bar) = bar {
        bar.abort();
        // It is over when it draws no more.
        let _ = bar.await;
    }
    if done.is_none() {
        copy.progress.clear();
        return Err(STOPPED.to_owned());
    }
    let left = lock(&copy.rooms).len();
    let incomplete = copy.incomplete.load(Ordering::Relaxed) + left;
    copy.progress.end(incomplete);
    Ok(incomplete == 0 && !panicked)
}

/// What comes of the work, unless `stop` is ready before.
async fn unless<T>(
    mut stop: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    let first = poll_fn(|cx| match (work.as_mut().poll(cx), stop.as_mut().poll(cx)) {
        (Poll::Ready(done), _) => Poll::Ready(Some(done)),
        (_, Poll::Ready(())) => Poll::Ready(None),
        _ => Poll::Pending,
    });
    first.await
}

/// A copy that is being made.
#[derive(Debug)]
struct Copy {
    from: Store,
    to: Store,
    /// The rooms that nobody has begun with.
    rooms: Mutex<vec::IntoIter<(RoomName, u64)>>,
    progress: Arc<Progress>,
    /// How many rooms are not copied, or not to their end.
    incomplete: AtomicUsize,
    /// How many of them because a store failed.
    store_failures: AtomicUsize,
    usage: Arc<Usage>,
}

/// Why a room is not copied, or not to its end.
#[derive(Debug)]
enum Why {
    /// The log in the other store is not how this one begins.
    Different { here: Cursor, there: Cursor },
    /// Somebody else has written to it meanwhile.
    Elsewhere(Cursor),
    /// The log was replaced, or a store did not do what it was asked for.
    Store(Cursor, StoreError),
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Different { here, there } => write!(
                out,
                "not copied: TO has another log of this name, {there}, which is not how that in FROM, {here}, begins"
            ),
            Why::Elsewhere(at) => {
                write!(out, "copied up to byte {}: then TO was written to", at.length)
            }
            Why::Store(at, error) => write!(out, "copied up to byte {}: {error}", at.length),
        }
    }
}

impl Copy {
    /// Opens both stores and lists the rooms. The error is one line.
    async fn new(from: &Location, to: &Location) -> Result<Copy, String> {
        let from = Store::open_to_read(from).await.map_err(|error| format!("FROM {error}"))?;
        let to = Store::open(to).await.map_err(|error| format!("TO {error}"))?;
        if from.is(&to) {
            return Err(format!("FROM and TO are the same store: {from}"));
        }
        let mut rooms = from.rooms().await.map_err(|error| format!("FROM {from}: {error}"))?;
        // The largest first, so that none of them is left to the end.
        rooms.sort_unstable_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        let progress = Progress::new(rooms.len(), rooms.iter().map(|(_, bytes)| bytes).sum());
        Ok(Copy {
            from,
            to,
            rooms: Mutex::new(rooms.into_iter()),
            progress: Arc::new(progress),
            incomplete: AtomicUsize::new(0),
            store_failures: AtomicUsize::new(0),
            usage: Arc::default(),
        })
    }

    /// Copies one room after the other until there is none left.
    async fn work(&self) {
        while self.store_failures.load(Ordering::Relaxed) < STORE_FAILURES_MAX {
            let Some((room, _)) = lock(&self.rooms).next() else { return };
            if let Err(why) = self.room(&room).await {
                self.incomplete.fetch_add(1, Ordering::Relaxed);
                if let Why::Store(..) = why {
                    self.store_failures.fetch_add(1, Ordering::Relaxed);
                }
                self.progress.say(format_args!("room {room}: {why}"));
            }
            self.progress.room_done();
        }
    }

    /// Copies one room.
    async fn room(&self, room: &RoomName) -> Result<(), Why> {
        let fails = |error| Why::Store(Cursor::default(), error);
        // In this order: of one log, this one then cannot be the longer one.
        let there = self.to.snapshot(room, &self.usage).await.map_err(fails)?;
        let here = self.from.snapshot(room, &self.usage).await.map_err(fails)?;
        if !self.begins(&there, &here).await.map_err(fails)? {
            return Err(Why::Different { here: here.cursor, there: there.cursor });
        }
        self.lines(room, &here, there.cursor).await
    }

    /// Whether `there` is how `here` begins, byte for byte.
    async fn begins(&self, there: &Snapshot, here: &Snapshot) -> Result<bool, StoreError> {
        let (length, end) = (there.cursor.length, here.cursor.length);
        if length == 0 {
            return Ok(true);
        }
        let (Some(there_log), Some(here_log)) = (there.log(), here.log()) else { return Ok(false) };
        if length > end || there.cursor.epoch != here.cursor.epoch {
            return Ok(false);
        }
        let mut at = 0;
        // What was read of each and is not compared yet. Where that is nothing, a line
        // of its log begins at `at`.
        let (mut one, mut other) = (Bytes::new(), Bytes::new());
        while at < length {
            let more_of_one = one.is_empty().then(|| there_log.start_lines(at..length));
            let more_of_other = other.is_empty().then(|| here_log.start_lines(at..end));
            if let Some(reading) = more_of_one {
                one = joined(reading).await?;
            }
            if let Some(reading) = more_of_other {
                other = joined(reading).await?;
            }
            let both = one.len().min(other.len());
            if one.split_to(both) != other.split_to(both) {
                return Ok(false);
            }
            at += both as u64;
            self.progress.compared(both as u64);
        }
        Ok(true)
    }

    /// Copies all lines of a room from `at` on.
    async fn lines(&self, room: &RoomName, here: &Snapshot, mut at: Cursor) -> Result<(), Why> {
        let end = here.cursor.length;
        let Some(log) = here.log().filter(|_| end > 0) else { return Ok(()) };
        let read = |from: u64| (from < end).then(|| log.start_lines(from..end));
        let mut to = Appending::new(&self.to, room);
        let mut next = read(at.length);
        while let Some(reading) = next {
            let fails = |error| Why::Store(at, error);
            let lines = joined(reading).await.map_err(fails)?;
            // The next lines are read while these are written.
            next = read(at.length + lines.len() as u64);
            let (again, now) = to.append(at, lines.clone()).await.map_err(fails)?;
            to = again;
            at = now.ok_or(Why::Elsewhere(at))?;
            self.progress.copied(&lines);
        }
        // Also where nothing was missing: who copied that may have been killed before this.
        to.sync().await.map_err(|error| Why::Store(at, error))
    }
}

async fn joined(reading: JoinHandle<Result<Bytes, StoreError>>) -> Result<Bytes, StoreError> {
    let panicked = |_| Err(StoreError::Failed("a task of the store panicked".into()));
    reading.await.unwrap_or_else(panicked)
}
