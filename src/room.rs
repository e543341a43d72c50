//! A room: one log, the posts that wait to be appended to it, and what is known
//! of its state. Holds positions, never queues of lines.

mod commit;
#[cfg(feature = "mysql")]
pub mod rows;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::cursor::Cursor;
use crate::live::frame::{Frame, Kind};
use crate::metrics::Metrics;
use crate::room::commit::Commits;
use crate::store::file::look::{self, Glance, Look};
use crate::store::place::Place;
use crate::store::snapshot::{Snapshot, Source};
use crate::store::window::Usage;
use crate::store::{StoreError, blocking, lock};

/// How many threads commit and read files at the most.
pub const BLOCKING_THREADS: usize = 64;
/// How many frames are kept for other streams at the same place. Few: a stream that
/// is behind would find old ones of one line, and go on line by line.
const FRAMES_MAX: usize = 2;

/// One room.
#[derive(Debug)]
pub struct Room {
    place: Place,
    shared: Arc<Shared>,
    /// The last look at the log. Written by readers, under this lock, so that one
    /// of them reads what is new and the others find it.
    seen: Mutex<Seen>,
    /// Wakes the streams when the log has changed.
    news: Notify,
    /// How many streams there are.
    streams: AtomicUsize,
    /// The last frames that were sent, for the other streams at the same place.
    frames: Mutex<VecDeque<Arc<Frame>>>,
    /// One thread opens the file; the others wait for it, so that none of them
    /// puts an older state in the place of a newer one.
    opening: Mutex<()>,
    /// Posts that wait to be written.
    commits: Commits,
    /// When the room was last asked for, on the clock of [`crate::rooms::Rooms`].
    pub used: AtomicU64,
}

/// What all rooms share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Open files and memory.
    pub usage: Arc<Usage>,
    /// The server's counters.
    pub metrics: Metrics,
    /// How many rooms are being committed now.
    pub committing: AtomicUsize,
}

/// What the last look at the log saw.
#[derive(Debug, Default)]
struct Seen {
    /// `None` where the file was closed since.
    snapshot: Option<Arc<Snapshot>>,
    /// Its cursor, and what `stat(2)` said of the path then.
    cursor: Option<Cursor>,
    glance: Option<Glance>,
}

impl Room {
    /// The room whose log is, or will be, at this place.
    pub fn new(place: Place, shared: Arc<Shared>) -> Room {
        Room {
            place,
            shared,
            seen: Mutex::default(),
            news: Notify::new(),
            streams: AtomicUsize::new(0),
            frames: Mutex::default(),
            opening: Mutex::default(),
            commits: Commits::default(),
            used: AtomicU64::default(),
        }
    }

    /// The log's state now, whoever wrote to it.
    pub async fn snapshot(self: &Arc<Room>) -> Result<Arc<Snapshot>, StoreError> {
        match &self.place {
            Place::File(path) => {
                if let Some(now) = self.look(path)? {
                    return Ok(now);
                }
                let (room, path) = (self.clone(), path.clone());
                blocking(move || room.open(&path)).await
            }
            #[cfg(feature = "mysql")]
            Place::Rows(rows) => self.ask(rows, None).await,
        }
    }

    /// The log's state now; where a client has seen more of this log than that, what
    /// a database that lags behind can tell once it has caught up.
    pub async fn snapshot_reaching(
        self: &Arc<Room>,
        seen: Cursor,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let now = self.snapshot().await?;
        let other = now.cursor.length > 0 && now.cursor.epoch != seen.epoch;
        if other || now.cursor.length >= seen.length {
            return Ok(now);
        }
        match &self.place {
            // All readers of one directory see the same.
            Place::File(_) => Ok(now),
            #[cfg(feature = "mysql")]
            Place::Rows(rows) => self.ask(rows, Some(seen)).await,
        }
    }

    /// Looks at the log without opening its file; `None` where that is needed.
    fn look(&self, path: &Path) -> io::Result<Option<Arc<Snapshot>>> {
        let mut seen = lock(&self.seen);
        match look::look(path, seen.snapshot.as_ref())? {
            Look::Now(now) => {
                self.see(&mut seen, &now);
                Ok(Some(now))
            }
            Look::Open => Ok(None),
        }
    }

    /// Opens the log's file. Blocks.
    fn open(&self, path: &Path) -> io::Result<Arc<Snapshot>> {
        let _one_at_a_time = lock(&self.opening);
        if let Some(now) = self.look(path)? {
            return Ok(now);
        }
        let before = self.latest();
        let opened = look::open(path, &self.shared.usage)?;
        let mut seen = lock(&self.seen);
        // Another look may have seen more of the same log meanwhile: the state of a
        // room never goes backwards.
        if let Some(now) = &seen.snapshot
            && !before.is_some_and(|before| Arc::ptr_eq(&before, now))
            && now.cursor.epoch == opened.cursor.epoch
            && now.cursor.length > opened.cursor.length
        {
            return Ok(now.clone());
        }
        self.see(&mut seen, &opened);
        Ok(opened)
    }

    /// Keeps what was seen, and wakes the streams when it is news.
    fn see(&self, seen: &mut Seen, now: &Arc<Snapshot>) {
        if seen.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, now)) {
            return;
        }
        let news = seen.snapshot.as_ref().is_none_or(|known| known.cursor != now.cursor);
        let cursor = Some(now.cursor);
        *seen = Seen { snapshot: Some(now.clone()), cursor, glance: now.glance() };
        if news && self.is_watched() {
            self.news.notify_waiters();
        }
    }

    /// Whether the file's path shows something else than at the last look. Opens nothing.
    pub fn has_changed(&self) -> bool {
        match &self.place {
            Place::File(path) => look::glance(path) != lock(&self.seen).glance,
            #[cfg(feature = "mysql")]
            Place::Rows(_) => false,
        }
    }

    /// Looks at the log's file, as it may have changed. Blocks.
    pub fn refresh(&self) {
        match &self.place {
            // Where it fails, whoever needs it comes to know.
            Place::File(path) => {
                if let Ok(None) = self.look(path) {
                    let _ = self.open(path);
                }
            }
            #[cfg(feature = "mysql")]
            Place::Rows(_) => {}
        }
    }

    /// Whether this is where the log ended at the last look, and its file's path shows
    /// the same as then. Opens nothing.
    pub fn is_still_at(&self, at: Cursor) -> bool {
        lock(&self.seen).cursor == Some(at) && !self.has_changed()
    }

    /// Lets go of what can be had again: the open files and what is in memory. Of a
    /// log in a database it stays known which one it is and how far it went: another
    /// node may lag behind.
    pub fn close(&self) {
        let mut seen = lock(&self.seen);
        match seen.snapshot.as_ref().map(|known| &known.source) {
            #[cfg(feature = "mysql")]
            Some(Source::Rows(log)) => log.close(),
            Some(Source::File(open)) => {
                open.log.close();
                seen.snapshot = None;
            }
            _ => seen.snapshot = None,
        }
        drop(seen);
        let frames = std::mem::take(&mut *lock(&self.frames));
        let bytes: usize = frames.iter().map(|frame| frame.size()).sum();
        self.shared.usage.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.commits.close();
    }

    /// Whether it knows what no other room of its name would: what a failed sync left.
    pub fn has_to_stay(&self) -> bool {
        self.commits.have_to_stay()
    }

    /// Counts a stream more, or one less.
    pub fn watch(&self, more: bool) {
        if more {
            self.streams.fetch_add(1, Ordering::SeqCst)
        } else {
            self.streams.fetch_sub(1, Ordering::SeqCst)
        };
    }

    /// Whether streams wait for news.
    pub fn is_watched(&self) -> bool {
        self.streams.load(Ordering::SeqCst) > 0
    }

    /// Ready when the log has changed after this call.
    pub fn grown(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// The last look at the log, which is as good as a new one for who waits for
    /// news; `None` where the file was closed since.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        lock(&self.seen).snapshot.clone()
    }

    /// The frame that begins where this range does, if it was made lately; where
    /// it must be exact, one that ends there too.
    pub fn shared_frame(
        &self,
        kind: Kind,
        log: u64,
        range: Range<u64>,
        exact: bool,
    ) -> Option<Arc<Frame>> {
        let frames = lock(&self.frames);
        let fits = |frame: &&Arc<Frame>| {
            (frame.kind, frame.log, frame.range.start) == (kind, log, range.start)
                && if exact { frame.range.end == range.end } else { frame.range.end <= range.end }
        };
        frames.iter().find(fits).cloned()
    }

    /// Keeps a frame for the others.
    pub fn share_frame(&self, frame: Arc<Frame>) {
        let bytes = &self.shared.usage.bytes;
        bytes.fetch_add(frame.size() as u64, Ordering::Relaxed);
        let mut frames = lock(&self.frames);
        frames.push_front(frame);
        if let Some(oldest) = frames.get(FRAMES_MAX) {
            bytes.fetch_sub(oldest.size() as u64, Ordering::Relaxed);
            frames.truncate(FRAMES_MAX);
        }
    }
}
