//! A room: one log, the posts that wait to be appended to it, and what is known
//! of its state. Holds positions, never queues of lines.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use time::UtcDateTime;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::cursor::{Cursor, Epoch};
use crate::line::{self, Post};
use crate::live::frame::{Frame, Kind};
use crate::metrics::Metrics;
use crate::report;
use crate::store::append::{self, Appender, Locked, Written};
use crate::store::log::Usage;
use crate::store::snapshot::{self, Glance, Look, Snapshot};
use crate::store::{StoreError, blocking, lock};

/// How many threads commit and read files at the most.
pub const BLOCKING_THREADS: usize = 64;
/// How long a post waits for the room's lock, and then for the device, each.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// How much one write takes at the most, in bytes, but for one line that always fits.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// How many frames are kept for other streams at the same place.
const FRAMES_MAX: usize = 2;

/// A line that is on disk.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The line, with its end.
    pub line: Bytes,
    /// The log's state just after it.
    pub cursor: Cursor,
}

/// One room.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
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
    /// One task opens the file; the others wait for it.
    opening: tokio::sync::Mutex<()>,
    /// Posts that nobody has begun to write. Written by request handlers and by
    /// the committing thread; held for moments, never across a file call.
    queue: Mutex<Queue>,
    /// The file as the committing thread has it open: held during a commit.
    appender: Mutex<Option<Appender>>,
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
    committing: AtomicUsize,
}

/// What the last look at the log saw.
#[derive(Debug, Default)]
struct Seen {
    /// `None` where the file was closed since.
    snapshot: Option<Arc<Snapshot>>,
    /// What `stat(2)` said of the path then.
    glance: Option<Glance>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a thread is on its way to take what waits.
    committing: bool,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    post: Post,
    answer: oneshot::Sender<Result<Stored, StoreError>>,
}

impl Room {
    /// The room whose log is, or will be, at this path.
    pub fn new(path: PathBuf, shared: Arc<Shared>) -> Room {
        Room {
            path,
            shared,
            seen: Mutex::default(),
            news: Notify::new(),
            streams: AtomicUsize::new(0),
            frames: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            queue: Mutex::default(),
            appender: Mutex::default(),
            used: AtomicU64::default(),
        }
    }

    /// The log's state now, whoever wrote to it.
    pub async fn snapshot(self: &Arc<Room>) -> Result<Arc<Snapshot>, StoreError> {
        if let Some(now) = self.look()? {
            return Ok(now);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(now) = self.look()? {
            return Ok(now);
        }
        let room = self.clone();
        blocking(move || room.open()).await
    }

    /// Looks at the log without opening its file; `None` where that is needed.
    pub fn look(&self) -> io::Result<Option<Arc<Snapshot>>> {
        let mut seen = lock(&self.seen);
        match snapshot::look(&self.path, seen.snapshot.as_ref())? {
            Look::Now(now) => {
                self.see(&mut seen, &now);
                Ok(Some(now))
            }
            Look::Open => Ok(None),
        }
    }

    /// Opens the log's file. Blocks.
    fn open(&self) -> io::Result<Arc<Snapshot>> {
        let now = snapshot::open(&self.path, &self.shared.usage)?;
        self.see(&mut lock(&self.seen), &now);
        Ok(now)
    }

    /// Keeps what was seen, and wakes the streams when it is news.
    fn see(&self, seen: &mut Seen, now: &Arc<Snapshot>) {
        if seen.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, now)) {
            return;
        }
        let news = seen.snapshot.as_ref().is_none_or(|known| known.cursor != now.cursor);
        *seen = Seen { snapshot: Some(now.clone()), glance: now.glance() };
        if news && self.is_watched() {
            self.news.notify_waiters();
        }
    }

    /// Whether the path shows something else than at the last look. Opens nothing.
    pub fn has_changed(&self) -> bool {
        snapshot::glance(&self.path) != lock(&self.seen).glance
    }

    /// Looks at the log, as it may have changed. Blocks.
    pub fn refresh(&self) {
        // Where it fails, whoever needs it comes to know.
        if let Ok(None) = self.look() {
            let _ = self.open();
        }
    }

    /// Forgets what can be learnt again: the open files and what is in memory.
    pub fn close(&self) {
        lock(&self.seen).snapshot = None;
        let frames = std::mem::take(&mut *lock(&self.frames));
        let bytes: usize = frames.iter().map(|frame| frame.size()).sum();
        self.shared.usage.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        if let Ok(mut appender) = self.appender.try_lock() {
            *appender = None;
        }
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
        epoch: Epoch,
        range: Range<u64>,
        exact: bool,
    ) -> Option<Arc<Frame>> {
        let frames = lock(&self.frames);
        let fits = |frame: &&Arc<Frame>| {
            (frame.kind, frame.epoch, frame.range.start) == (kind, epoch, range.start)
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

    /// Appends one line, and comes back when it is on disk.
    pub async fn append(self: &Arc<Room>, post: Post) -> Result<Stored, StoreError> {
        let (answer, mut stored) = oneshot::channel();
        let (ticket, start) = {
            let mut queue = lock(&self.queue);
            let ticket = queue.next_ticket;
            queue.next_ticket += 1;
            queue.waiting.push(Waiting { ticket, post, answer });
            (ticket, !std::mem::replace(&mut queue.committing, true))
        };
        if start {
            self.shared.committing.fetch_add(1, Ordering::Relaxed);
            let room = self.clone();
            tokio::task::spawn_blocking(move || room.commit_all());
        }
        let lost = |_| Err(StoreError::Doubtful("the commit was lost".into()));
        if let Ok(answer) = timeout(STORE_WAIT, &mut stored).await {
            return answer.unwrap_or_else(lost);
        }
        let taken_back = {
            let waiting = &mut lock(&self.queue).waiting;
            let at = waiting.iter().position(|waiting| waiting.ticket == ticket);
            at.map(|at| waiting.remove(at)).is_some()
        };
        if taken_back {
            return Err(StoreError::Busy);
        }
        match timeout(STORE_WAIT, stored).await {
            Ok(answer) => answer.unwrap_or_else(lost),
            Err(_) => Err(StoreError::Doubtful("no answer in time".into())),
        }
    }

    /// Commits until nobody waits; on a thread that may block. Where more rooms
    /// commit than there are threads, the next batch goes to the end of the line.
    fn commit_all(self: Arc<Room>) {
        let _unwinding = Restart(&self);
        loop {
            self.commit();
            let mut queue = lock(&self.queue);
            if queue.waiting.is_empty() {
                queue.committing = false;
                self.shared.committing.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            drop(queue);
            if self.shared.committing.load(Ordering::Relaxed) > BLOCKING_THREADS {
                let room = self.clone();
                tokio::task::spawn_blocking(move || room.commit_all());
                return;
            }
        }
    }

    /// One commit: lock, write all that wait, unlock, sync, answer.
    fn commit(&self) {
        let began = Instant::now();
        let mut slot = lock(&self.appender);
        let mut batch = match append::lock(&self.path, &mut slot) {
            Ok(mut locked) => Batch::write(self.take_waiting(), &mut locked),
            Err(error) => Batch::refused(self.take_waiting(), error),
        };
        // Streams see a line as readers do: once it is written.
        if batch.written.bytes > 0 && self.is_watched() {
            self.refresh();
        }
        let synced = match slot.as_mut() {
            Some(appender) if batch.written.bytes > 0 => {
                appender.sync(&self.path, batch.written.start)
            }
            _ => Ok(()),
        };
        let failure = synced.as_ref().err().or(batch.written.error.as_ref());
        if let Some(error) = failure {
            self.shared.metrics.store_errors.add(1);
            report::store_error(&self.path, error);
        }
        let answers = batch.answers(synced.err());
        let stored = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
        self.shared.metrics.commit(stored, batch.written.bytes, began.elapsed());
        drop(slot);
        answer_all(answers);
    }

    /// Takes what waits, as much as one write takes.
    fn take_waiting(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let fits = queue.waiting.iter().take_while(|waiting| {
            bytes += waiting.post.line_bytes();
            bytes <= BATCH_BYTES_MAX
        });
        let count = fits.count().max(1).min(queue.waiting.len());
        if count == queue.waiting.len() {
            return std::mem::take(&mut queue.waiting);
        }
        queue.waiting.drain(..count).collect()
    }
}

/// Should a commit panic, the room goes on: whoever waits is told, and the next
/// post starts a new thread.
struct Restart<'a>(&'a Room);

impl Drop for Restart<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.committing = false;
            queue.waiting.clear();
            self.0.shared.committing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

type Answer = (oneshot::Sender<Result<Stored, StoreError>>, Result<Stored, StoreError>);

/// The posts of one write.
struct Batch {
    waiting: Vec<Waiting>,
    lines: Bytes,
    written: Written,
}

impl Batch {
    /// Writes a line for each, all with the time of the lock.
    fn write(waiting: Vec<Waiting>, locked: &mut Locked<'_>) -> Batch {
        let stamp = line::stamp(UtcDateTime::now());
        let bytes = waiting.iter().map(|waiting| waiting.post.line_bytes()).sum();
        let mut lines = Vec::with_capacity(bytes);
        for waiting in &waiting {
            waiting.post.write_to(&stamp, &mut lines);
        }
        let written = locked.write(&lines);
        Batch { waiting, lines: lines.into(), written }
    }

    /// Nothing could be written.
    fn refused(waiting: Vec<Waiting>, error: io::Error) -> Batch {
        let Cursor { epoch, length } = Cursor::default();
        let written = Written { epoch, start: length, bytes: 0, error: Some(error) };
        Batch { waiting, lines: Bytes::new(), written }
    }

    /// The answer for each: its line, or why it is not there.
    fn answers(&mut self, unsynced: Option<io::Error>) -> Vec<Answer> {
        let Written { epoch, start, bytes, ref error } = self.written;
        let refused = error
            .as_ref()
            .map(|error| StoreError::from(io::Error::new(error.kind(), error.to_string())));
        let refused = refused.unwrap_or(StoreError::Busy);
        let doubtful = unsynced.map(|error| StoreError::Doubtful(error.to_string().into()));
        let mut end = 0;
        let answer = |waiting: Waiting| {
            let from = end;
            end += waiting.post.line_bytes();
            let stored = match &doubtful {
                _ if end as u64 > bytes => Err(refused.clone()),
                Some(doubtful) => Err(doubtful.clone()),
                None => Ok(Stored {
                    line: self.lines.slice(from..end),
                    cursor: Cursor { epoch, length: start + end as u64 },
                }),
            };
            (waiting.answer, stored)
        };
        std::mem::take(&mut self.waiting).into_iter().map(answer).collect()
    }
}

/// Wakes everyone who waits. Many are woken by one task, on the threads that
/// they run on, which is cheaper than waking each across threads.
fn answer_all(answers: Vec<Answer>) {
    let answer = move || {
        for (waiting, answer) in answers {
            // Who has gone away does not want an answer.
            let _ = waiting.send(answer);
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move { answer() })),
        Err(_) => answer(),
    }
}
