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
        let usage = &self.shared.usage;
        if usage.files.load(Ordering::Relaxed) > self.open_max
            || usage.bytes.load(Ordering::Relaxed) > MEMORY_BYTES_MAX
            || map.rooms.len() > map.sweep_at
        {
            map.sweep();
        }
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
    /// Closes the quarter of the rooms that was used longest ago, and forgets
    /// those of them that nobody uses.
    fn sweep(&mut self) {
        let mut by_use: Vec<_> = self
            .rooms
            .iter()
            .map(|(name, room)| (room.used.load(Ordering::Relaxed), name.clone()))
            .collect();
        by_use.sort_unstable();
        by_use.truncate(by_use.len().div_ceil(4));
        for (_, name) in by_use {
            if let Entry::Occupied(entry) = self.rooms.entry(name) {
                entry.get().close();
                if Arc::strong_count(entry.get()) == 1 {
                    entry.remove();
                }
            }
        }
        self.sweep_at = IDLE_ROOMS_MAX.max(self.rooms.len() * 2);
    }
}
