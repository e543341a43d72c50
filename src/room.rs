//! A room: one log, the posts that wait to be appended to it, and what is known
//! of its state. Holds positions, never queues of lines.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use time::UtcDateTime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cursor::Cursor;
use crate::line::{self, Post};
use crate::metrics::Metrics;
use crate::report;
use crate::store::append::{self, Appender, Locked, Written};
use crate::store::read::{self, Look, Snapshot, Usage};
use crate::store::{StoreError, blocking, lock};

/// How many threads commit and read files at the most.
pub const BLOCKING_THREADS: usize = 64;
/// How long a post waits for the room's lock, and then for the device, each.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// How much one write takes at the most, in bytes, but for one line that always fits.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

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
    seen: Mutex<Option<Arc<Snapshot>>>,
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
        blocking(move || {
            let opened = read::open(&room.path, &room.shared.usage)?;
            *lock(&room.seen) = Some(opened.clone());
            Ok(opened)
        })
        .await
    }

    fn look(&self) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let mut seen = lock(&self.seen);
        match read::look(&self.path, seen.as_ref())? {
            Look::Now(now) => {
                if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &now)) {
                    *seen = Some(now.clone());
                }
                Ok(Some(now))
            }
            Look::Open => Ok(None),
        }
    }

    /// Forgets what can be learnt again: the open files and what is in memory.
    pub fn close(&self) {
        *lock(&self.seen) = None;
        if let Ok(mut appender) = self.appender.try_lock() {
            *appender = None;
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
