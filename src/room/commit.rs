//! Group commit: one write and one sync serve every post that waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::cursor::Cursor;
use crate::line::Post;
use crate::report;
use crate::room::{BLOCKING_THREADS, Room};
use crate::store::batch::{AFTER_BYTES_MAX, Answer, Batch, Once, Waiting, Written, find};
use crate::store::file::append::{self, Appender, Locked};
use crate::store::place::Place;
use crate::store::{StoreError, lock};

/// How long a post waits for a room that another program has locked.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often a thread tries a lock that another process holds, and how long it
/// pauses between: longer than a write takes, so that servers that post to one
/// room take turns.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// How long the room then waits without a thread, so that locked rooms hold up
/// no other one.
const LOCKED_PAUSE: Duration = Duration::from_millis(5);
/// A batch of so many posts says that many clients post at once.
const CROWD: usize = 8;
/// How long such a room waits at the most until as many posts are there again,
/// and between two looks: much less than the many small syncs would take else.
const GATHER_TIME: Duration = Duration::from_micros(1_500);
const GATHER_PAUSE: Duration = Duration::from_micros(50);
/// How much one write takes at the most, in bytes, but for one line that always fits.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The posts of a room on their way to the disk.
#[derive(Debug, Default)]
pub struct Commits {
    /// Posts that nobody has begun to write. Written by request handlers and by
    /// the committing thread; held for moments, never across a file call.
    queue: Mutex<Queue>,
    /// The file as the committing thread has it open: held during a commit.
    appender: Mutex<Option<Appender>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a thread is on its way to take what waits.
    committing: bool,
    /// How many posts the last commit took, and when it ended.
    last: Option<(usize, Instant)>,
}

impl Commits {
    /// Whether the file is in use, or has bytes to be written again.
    pub fn have_to_stay(&self) -> bool {
        match self.appender.try_lock() {
            Ok(appender) => appender.as_ref().is_some_and(Appender::is_in_doubt),
            Err(_) => true,
        }
    }

    /// Closes the file, unless it is in use or has bytes to be written again.
    pub fn close(&self) {
        if let Ok(mut appender) = self.appender.try_lock()
            && !appender.as_ref().is_some_and(Appender::is_in_doubt)
        {
            *appender = None;
        }
    }
}

impl Room {
    /// Appends one line, and comes back when it is on disk.
    ///
    /// With `after`, only where no line after that cursor says the same; else the
    /// answer is that line, once it is on disk too.
    pub async fn append(self: &Arc<Room>, post: Post, after: Option<Cursor>) -> Answer {
        let once = match after {
            Some(after) => Some(Box::pin(self.search(&post, after)).await?),
            None => None,
        };
        let (answer, stored) = oneshot::channel();
        self.enqueue(Waiting { post, once, answer, since: Instant::now() });
        // Only a commit that panicked gives no answer.
        stored.await.unwrap_or_else(|_| Err(StoreError::Doubtful("the commit was lost".into())))
    }

    /// Searches the log for the post, without the lock, as far as it goes now.
    async fn search(self: &Arc<Room>, post: &Post, after: Cursor) -> Result<Once, StoreError> {
        let now = self.snapshot_reaching(after).await?;
        let searched = now.cursor;
        let same_log = after.length == 0 || after.epoch == searched.epoch;
        if !same_log
            || !now.is_line_end(after.length).await?
            || searched.length - after.length > AFTER_BYTES_MAX
        {
            return Err(StoreError::OutOfReach(searched));
        }
        let lines = match now.log() {
            Some(log) if after.length < searched.length => {
                let range = after.length..searched.length;
                match log.piece(range.clone()) {
                    Some(lines) if lines.len() as u64 == range.end - range.start => lines,
                    _ => log.read_all(range).await?,
                }
            }
            _ => Default::default(),
        };
        Ok(Once { after, searched, found: find(post, searched.epoch, after.length, &lines) })
    }

    /// Puts a post where the next commit takes it, and sees that there is one.
    fn enqueue(self: &Arc<Room>, waiting: Waiting) {
        let mut queue = lock(&self.commits.queue);
        queue.waiting.push(waiting);
        if !std::mem::replace(&mut queue.committing, true) {
            self.start_commits();
        }
    }

    /// Sees that what waits is committed; the queue says already that it is.
    fn start_commits(self: &Arc<Room>) {
        self.shared.committing.fetch_add(1, Ordering::Relaxed);
        let room = self.clone();
        match &self.place {
            Place::File(path) => {
                let path = path.clone();
                drop(tokio::task::spawn_blocking(move || room.commit_all(path)));
            }
            #[cfg(feature = "mysql")]
            Place::Rows(rows) => {
                let rows = rows.clone();
                drop(tokio::spawn(async move { room.commit_rows(&rows).await }));
            }
        }
    }

    /// Commits until nobody waits; on a thread that may block. Where more rooms
    /// commit than there are threads, the next batch goes to the end of the line.
    fn commit_all(self: Arc<Room>, path: PathBuf) {
        let _unwinding = Restart(self.clone());
        loop {
            self.gather();
            let Some(posts) = self.commit(&path) else {
                self.shared.committing.fetch_sub(1, Ordering::Relaxed);
                self.commit_later();
                return;
            };
            if !self.goes_on(posts) {
                return;
            }
            if self.shared.committing.load(Ordering::Relaxed) > BLOCKING_THREADS {
                let room = self.clone();
                tokio::task::spawn_blocking(move || room.commit_all(path));
                return;
            }
        }
    }

    /// A commit of so many posts is done: whether others wait meanwhile.
    pub(super) fn goes_on(&self, posts: usize) -> bool {
        let mut queue = lock(&self.commits.queue);
        queue.last = Some((posts, Instant::now()));
        if queue.waiting.is_empty() {
            queue.committing = false;
            self.shared.committing.fetch_sub(1, Ordering::Relaxed);
        }
        queue.committing
    }

    /// Where many posted just now, waits a little until as many posts wait: their
    /// clients are about to post again, and one sync serves all of them. Who posts
    /// alone never waits.
    fn gather(&self) {
        let Some((crowd, committed)) = lock(&self.commits.queue).last else { return };
        while crowd >= CROWD && committed.elapsed() < GATHER_TIME {
            if lock(&self.commits.queue).waiting.len() >= crowd {
                return;
            }
            thread::sleep(GATHER_PAUSE);
        }
    }

    /// The lock is held elsewhere, and for long: comes back in a while.
    fn commit_later(self: Arc<Room>) {
        tokio::spawn(async move {
            sleep(LOCKED_PAUSE).await;
            if self.is_waited_for() {
                self.start_commits();
            }
        });
    }

    /// Tells who has waited for too long that the room is locked. Whether anybody
    /// still waits; where nobody does, the next post starts the commits.
    fn is_waited_for(&self) -> bool {
        let mut queue = lock(&self.commits.queue);
        let late = queue.waiting.iter().take_while(|waiting| waiting.since.elapsed() > LOCK_WAIT);
        let late = late.count();
        for waiting in queue.waiting.drain(..late) {
            // Who has gone away does not want an answer.
            let _ = waiting.answer.send(Err(StoreError::Busy));
        }
        queue.committing = !queue.waiting.is_empty();
        queue.committing
    }

    /// One commit: lock, write all that wait, unlock, sync, answer; how many posts
    /// that were. `None` where another process holds the lock: nothing was done.
    fn commit(&self, path: &Path) -> Option<usize> {
        let began = Instant::now();
        let mut slot = lock(&self.commits.appender);
        let mut tries = 0;
        let (waiting, batch, written) = loop {
            match append::lock(path, &mut slot) {
                Ok(Some(mut locked)) => {
                    let waiting = self.take_waiting();
                    break match write(&waiting, &mut locked) {
                        Ok((batch, written)) => (waiting, batch, written),
                        Err(error) => (waiting, Batch::default(), Written::nothing(error.into())),
                    };
                }
                Ok(None) if tries < LOCK_TRIES => {
                    tries += 1;
                    thread::sleep(LOCK_PAUSE);
                }
                Ok(None) => return None,
                Err(error) => {
                    let written = Written::nothing(error.into());
                    break (self.take_waiting(), Batch::default(), written);
                }
            }
        };
        // Streams see a line as readers do: once it is written.
        if written.bytes > 0 && self.is_watched() {
            self.refresh();
        }
        if let Some(appender) = slot.as_mut() {
            appender.count_in(&self.shared.usage);
        }
        // Also what others have written is synced before anybody is told of it.
        let own = (written.bytes > 0).then_some(written.start);
        let unsynced = [own, batch.confirmed_from()].into_iter().flatten().min();
        let synced = match (slot.as_mut(), unsynced) {
            (Some(appender), Some(from)) => appender.sync(path, from).map_err(StoreError::from),
            _ => Ok(()),
        };
        drop(slot);
        let posts = waiting.len();
        self.settle(waiting, batch, &written, synced.err().as_ref(), began);
        Some(posts)
    }

    /// Counts what came of a commit, and answers everyone who waited for it.
    pub(super) fn settle(
        &self,
        waiting: Vec<Waiting>,
        batch: Batch,
        written: &Written,
        unsynced: Option<&StoreError>,
        began: Instant,
    ) {
        if let Some(error) = unsynced.or(written.error.as_ref()) {
            self.shared.metrics.store_errors.add(1);
            report::store_error(&self.place, error);
        }
        let mut answers = batch.answers(written, unsynced);
        // Where nothing could be made of the posts, all have the same answer.
        let refusal = written.error.clone().unwrap_or(StoreError::Busy);
        answers.resize(waiting.len(), Err(refusal));
        let new = |answer: &&Answer| answer.as_ref().is_ok_and(|stored| !stored.before);
        let stored = answers.iter().filter(new).count();
        self.shared.metrics.commit(stored, written.bytes, began.elapsed());
        let senders = waiting.into_iter().map(|waiting| waiting.answer);
        answer_all(senders.zip(answers).collect());
    }

    /// Takes what waits, as much as one write takes.
    pub(super) fn take_waiting(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.commits.queue);
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

/// Under the lock: writes a line for each post that is not there yet.
fn write(waiting: &[Waiting], locked: &mut Locked<'_>) -> io::Result<(Batch, Written)> {
    let now = locked.cursor();
    let since = match Batch::unread_from(waiting, now) {
        from if from < now.length => locked.read(from)?.into(),
        _ => Bytes::new(),
    };
    let batch = Batch::new(waiting, now, &since);
    let written = locked.write(&batch.lines);
    Ok((batch, written))
}

/// Should a commit panic, the room goes on: whoever waits is told, and the next
/// post starts a new thread.
pub(super) struct Restart(pub(super) Arc<Room>);

impl Drop for Restart {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.commits.queue);
            queue.committing = false;
            queue.waiting.clear();
            self.0.shared.committing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Wakes everyone who waits. Many are woken by one task, on the threads that
/// they run on, which is cheaper than waking each across threads.
fn answer_all(answers: Vec<(oneshot::Sender<Answer>, Answer)>) {
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
