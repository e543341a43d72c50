//! All rooms that are in use, and a limit on what they take together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::name::RoomName;
use crate::room::{Room, Shared};
use crate::store::{Store, lock};
use crate::watcher::Notices;

/// How many rooms that nobody uses are remembered.
const IDLE_ROOMS_MAX: usize = 4096;
/// How many bytes of logs are held in memory.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many rooms have files open, each two at the most, where the limit of
/// descriptors allows it.
pub const OPEN_ROOMS_MAX: usize = 1024;

/// Which part of its limits a sweep leaves, so that the next one is not due at once.
const SWEPT_TO: (u64, u64) = (3, 4);

/// The rooms of a store.
#[derive(Debug)]
pub struct Rooms {
    store: Store,
    /// What the rooms share.
    pub shared: Arc<Shared>,
    open_max: usize,
    /// The kernel's notices of changes, where it gives any.
    notices: Option<Arc<Notices>>,
    /// How many streams there are in all rooms; the watch is set and taken away
    /// under this lock.
    streams: Mutex<usize>,
    /// Wakes who waits for the first stream.
    first_watched: Notify,
    /// Counts requests: the time by which the rooms that were used last are told.
    clock: AtomicU64,
    map: Mutex<Map>,
}

/// Written by every request that names a room, for a moment. An entry leaves
/// only under this lock and only when nobody else has the room, so two requests
/// never have two rooms of one name.
#[derive(Debug)]
struct Map {
    rooms: HashMap<RoomName, Arc<Room>>,
    /// The number of rooms at which some are forgotten.
    sweep_at: usize,
}

impl Rooms {
    /// The rooms in this store, of which `open_max` may have files open.
    /// Without `notices` only the slow check sees what others append.
    pub fn new(store: Store, open_max: usize, notices: Option<Notices>) -> Arc<Rooms> {
        let map = Map { rooms: HashMap::new(), sweep_at: IDLE_ROOMS_MAX };
        Arc::new(Rooms {
            store,
            shared: Arc::default(),
            open_max,
            notices: notices.map(Arc::new),
            streams: Mutex::default(),
            first_watched: Notify::new(),
            clock: AtomicU64::new(0),
            map: Mutex::new(map),
        })
    }

    /// The store that they are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The room of this name. Creates nothing on disk.
    pub fn get(&self, name: &RoomName) -> Arc<Room> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut map = lock(&self.map);
        self.sweep(&mut map);
        let room = match map.rooms.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let place = self.store.place(name);
                entry.insert(Arc::new(Room::new(place, self.shared.clone())))
            }
        };
        room.used.store(now, Ordering::Relaxed);
        room.clone()
    }
}

impl Rooms {
    /// The room of this name, watched for what others append until it is dropped.
    pub fn watch(self: &Arc<Rooms>, name: &RoomName) -> Watched {
        let room = self.get(name);
        room.watch(true);
        let mut streams = lock(&self.streams);
        *streams += 1;
        self.shared.metrics.streams.add(1);
        if *streams == 1 {
            self.first_watched.notify_waiters();
            if let Some(notices) = &self.notices {
                notices.set(true);
            }
        }
        Watched { room, rooms: self.clone() }
    }

    /// The kernel's notices, where it gives any.
    pub fn notices(&self) -> Option<&Arc<Notices>> {
        self.notices.as_ref()
    }

    /// Closes rooms where too much is open.
    pub fn trim(&self) {
        self.sweep(&mut lock(&self.map));
    }

    fn sweep(&self, map: &mut Map) {
        if self.takes_more_than(1, 1) || map.rooms.len() > map.sweep_at {
            map.sweep(|| !self.takes_more_than(SWEPT_TO.0, SWEPT_TO.1));
        }
    }

    /// Whether all rooms together take more than `part` of `whole` of what they may.
    fn takes_more_than(&self, part: u64, whole: u64) -> bool {
        let usage = &self.shared.usage;
        let files = usage.files.load(Ordering::Relaxed) as u64;
        let bytes = usage.bytes.load(Ordering::Relaxed);
        // One to read and one to append.
        let files_max = 2 * self.open_max as u64;
        files > files_max * part / whole || bytes > MEMORY_BYTES_MAX * part / whole
    }

    /// Ready as soon as any room has a stream.
    pub async fn until_watched(&self) {
        let mut first = pin!(self.first_watched.notified());
        first.as_mut().enable();
        if *lock(&self.streams) == 0 {
            first.await;
        }
    }

    /// All rooms that have streams.
    pub fn watched(&self) -> Vec<Arc<Room>> {
        if *lock(&self.streams) == 0 {
            return Vec::new();
        }
        lock(&self.map).rooms.values().filter(|room| room.is_watched()).cloned().collect()
    }

    /// The room of this name, if it has streams.
    pub fn watched_room(&self, name: &RoomName) -> Option<Arc<Room>> {
        lock(&self.map).rooms.get(name).filter(|room| room.is_watched()).cloned()
    }
}

/// A room that has a stream, as long as this lives.
#[derive(Debug)]
pub struct Watched {
    room: Arc<Room>,
    rooms: Arc<Rooms>,
}

impl Watched {
    /// The room.
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.room.watch(false);
        self.rooms.shared.metrics.streams.sub(1);
        let mut streams = lock(&self.rooms.streams);
        *streams -= 1;
        if let (0, Some(notices)) = (*streams, &self.rooms.notices) {
            notices.set(false);
        }
    }
}

impl Map {
    /// Closes rooms, those first that were used longest ago, until it is enough, and
    /// forgets those of them that nobody uses; where there are too many, a quarter of all.
    fn sweep(&mut self, is_enough: impl Fn() -> bool) {
        let mut by_use: Vec<_> = self
            .rooms
            .iter()
            .map(|(name, room)| (room.used.load(Ordering::Relaxed), name.clone()))
            .collect();
        by_use.sort_unstable();
        let too_many = self.rooms.len() > self.sweep_at;
        let mut to_forget = if too_many { by_use.len().div_ceil(4) } else { 0 };
        for (_, name) in by_use {
            let is_enough = is_enough();
            if is_enough && to_forget == 0 {
                break;
            }
            let Entry::Occupied(entry) = self.rooms.entry(name) else { continue };
            let is_used = Arc::strong_count(entry.get()) > 1 || entry.get().has_to_stay();
            if is_enough && is_used {
                continue;
            }
            entry.get().close();
            if !is_used {
                entry.remove();
                to_forget = to_forget.saturating_sub(1);
            }
        }
        // Those that stay are used; of the others there are never more than a third of them.
        self.sweep_at = IDLE_ROOMS_MAX.max(self.rooms.len() * 4 / 3);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::cursor::Cursor;
    use crate::store::file::directory::Directory;
    use crate::testing::Scratch;

    /// Rooms, and the length of their logs: twice what may be in memory.
    const ROOMS: u64 = 40;
    const LENGTH: u64 = 2 * MEMORY_BYTES_MAX / ROOMS;

    /// Watched rooms stay, so they are closed one after the other where all take too
    /// much: it was the same oldest quarter again and again.
    #[test]
    fn what_watched_rooms_take_is_bounded() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(read_all_and_again());
    }

    async fn read_all_and_again() {
        let scratch = Scratch::new();
        let names = (0..ROOMS).map(|number| RoomName::new(&format!("room{number}")).unwrap());
        let names: Vec<_> = names.collect();
        for number in 0..ROOMS {
            let file = File::create(scratch.path(&format!("room{number}.log"))).unwrap();
            file.write_all_at(b"\n", LENGTH - 1).unwrap();
        }
        let directory = Directory::open(&scratch.path("")).unwrap();
        let rooms = Rooms::new(Store::Files(Arc::new(directory)), OPEN_ROOMS_MAX, None);
        let watched: Vec<_> = names.iter().map(|name| rooms.watch(name)).collect();
        for name in names.iter().chain(&names) {
            let now = rooms.get(name).snapshot().await.unwrap();
            now.log().unwrap().load(0, LENGTH).await.unwrap();
            drop(now);
            let held = rooms.shared.usage.bytes.load(Ordering::Relaxed);
            assert!((LENGTH..=MEMORY_BYTES_MAX + LENGTH).contains(&held), "{held} bytes");
        }
        rooms.trim();
        assert!(!rooms.takes_more_than(1, 1));
        // A closed room is one that is as it was, and is not opened for that.
        let first = watched[0].room();
        let end =
            Cursor { epoch: watched[39].room().latest().unwrap().cursor.epoch, length: LENGTH };
        assert!(first.latest().is_none() && first.is_still_at(end));
        assert_eq!(rooms.watched().len(), names.len());
    }

    /// However many rooms are asked for, few of those that nobody uses are known: it
    /// was half as many again after each sweep.
    #[test]
    fn idle_rooms_are_forgotten() {
        let scratch = Scratch::new();
        let directory = Directory::open(&scratch.path("")).unwrap();
        let rooms = Rooms::new(Store::Files(Arc::new(directory)), OPEN_ROOMS_MAX, None);
        for watched in [0, 2 * IDLE_ROOMS_MAX] {
            let name = |number: usize| RoomName::new(&format!("{watched}-{number}")).unwrap();
            let _watched: Vec<_> = (0..watched).map(|number| rooms.watch(&name(number))).collect();
            for number in watched..watched + 40_000 {
                rooms.get(&name(number));
                let known = lock(&rooms.map).rooms.len();
                assert!(known <= 1 + IDLE_ROOMS_MAX.max(watched * 3 / 2), "{known} rooms");
            }
        }
    }
}
