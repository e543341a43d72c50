//! A batch: the posts that one write and one sync take to the disk.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Instant;

use hyper::body::Bytes;
use time::UtcDateTime;
use tokio::sync::oneshot;

use crate::cursor::{Cursor, Epoch};
use crate::line::{self, Post};
use crate::store::StoreError;
use crate::store::append::{Locked, Written};

/// How far behind the log's end a post may be that asks to be stored only once.
pub const AFTER_BYTES_MAX: u64 = 1024 * 1024;

/// A line that is on disk.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The line, with its end.
    pub line: Bytes,
    /// The log's state just after it.
    pub cursor: Cursor,
    /// Whether it was there before this post.
    pub before: bool,
}

/// What a post gets.
pub type Answer = Result<Stored, StoreError>;

/// A post that waits to be written.
#[derive(Debug)]
pub struct Waiting {
    /// What is to be written.
    pub post: Post,
    /// Where it is to be written only once: what is known of that.
    pub once: Option<Once>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
    /// Since when it waits.
    pub since: Instant,
}

/// A log that was searched for a post up to some place, without the lock.
#[derive(Clone, Debug)]
pub struct Once {
    /// Where the search began.
    pub after: Cursor,
    /// What was searched: this log, up to its end then.
    pub searched: Cursor,
    /// The line that was found.
    pub found: Option<Stored>,
}

/// Finds the first line that says this in the lines that begin at `start`.
pub fn find(post: &Post, epoch: Epoch, start: u64, lines: &Bytes) -> Option<Stored> {
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        if post.is_said_by(&lines[from..end]) {
            let cursor = Cursor { epoch, length: start + end as u64 + 1 };
            return Some(Stored { line: lines.slice(from..=end), cursor, before: true });
        }
        from = end + 1;
    }
    None
}

/// What came of one post, as far as it is known before the sync.
enum Outcome {
    /// A line of this write.
    New(Range<usize>),
    /// The same as an earlier line of this write.
    Again(Range<usize>),
    /// A line that was there.
    There(Stored),
    Refused(StoreError),
}

/// The posts of one write, written.
pub struct Batch {
    posts: Vec<(oneshot::Sender<Answer>, Outcome)>,
    lines: Bytes,
    /// What the write came to.
    pub written: Written,
}

impl Batch {
    /// Writes a line for each that is not there yet, all with the time of the lock.
    pub fn write(waiting: Vec<Waiting>, locked: &mut Locked<'_>) -> Batch {
        let stamp = line::stamp(UtcDateTime::now());
        let bytes = waiting.iter().map(|waiting| waiting.post.line_bytes()).sum();
        let mut lines = Vec::with_capacity(bytes);
        // Only where a post is to be stored once does it matter what others say.
        let mut said = waiting.iter().any(|waiting| waiting.once.is_some()).then(HashMap::new);
        let mut posts = Vec::with_capacity(waiting.len());
        for Waiting { post, once, answer, .. } in waiting {
            let outcome = once.and_then(|once| already(&post, once, locked, said.as_ref()));
            let outcome = outcome.unwrap_or_else(|| {
                let start = lines.len();
                post.write_to(&stamp, &mut lines);
                let line = start..lines.len();
                if let Some(said) = &mut said {
                    said.entry(post).or_insert(line.clone());
                }
                Outcome::New(line)
            });
            posts.push((answer, outcome));
        }
        let written = locked.write(&lines);
        Batch { posts, lines: lines.into(), written }
    }

    /// Nothing could be written.
    pub fn refused(waiting: Vec<Waiting>, error: io::Error) -> Batch {
        let refusal = StoreError::from(&error);
        let posts =
            waiting.into_iter().map(|waiting| (waiting.answer, Outcome::Refused(refusal.clone())));
        let written = Written { epoch: Epoch::EMPTY, start: 0, bytes: 0, error: Some(error) };
        Batch { posts: posts.collect(), lines: Bytes::new(), written }
    }

    /// Whether anybody is to be told that a line is on disk.
    pub fn needs_sync(&self) -> bool {
        self.written.bytes > 0
            || self.posts.iter().any(|(_, outcome)| matches!(outcome, Outcome::There(_)))
    }

    /// The answer for each: its line, or why it is not there.
    pub fn answers(self, unsynced: Option<&io::Error>) -> Vec<(oneshot::Sender<Answer>, Answer)> {
        let Written { epoch, start, bytes, ref error } = self.written;
        let unwritten = error.as_ref().map_or(StoreError::Busy, StoreError::from);
        let doubtful = unsynced.map(|error| StoreError::Doubtful(error.to_string().into()));
        let line = |range: Range<usize>, before| match range.end as u64 > bytes {
            true => Err(unwritten.clone()),
            false => {
                let cursor = Cursor { epoch, length: start + range.end as u64 };
                Ok(Stored { line: self.lines.slice(range), cursor, before })
            }
        };
        let answer = |outcome| {
            let stored = match outcome {
                Outcome::New(range) => line(range, false)?,
                Outcome::Again(range) => line(range, true)?,
                Outcome::There(stored) => stored,
                Outcome::Refused(error) => return Err(error),
            };
            doubtful.clone().map_or(Ok(stored), Err)
        };
        self.posts.into_iter().map(|(sender, outcome)| (sender, answer(outcome))).collect()
    }
}

/// Under the lock: whether the post stands already, in what was searched, in what
/// came since, or earlier in this write; `None` where it does not.
fn already(
    post: &Post,
    once: Once,
    locked: &Locked<'_>,
    said: Option<&HashMap<Post, Range<usize>>>,
) -> Option<Outcome> {
    let now = locked.cursor();
    let same_log = once.searched.length == 0 || once.searched.epoch == now.epoch;
    if !same_log
        || once.searched.length > now.length
        || now.length - once.after.length > AFTER_BYTES_MAX
    {
        return Some(Outcome::Refused(StoreError::OutOfReach(now)));
    }
    if let Some(found) = once.found {
        return Some(Outcome::There(found));
    }
    let since = match locked.read(once.searched.length) {
        Ok(since) => since,
        Err(error) => return Some(Outcome::Refused((&error).into())),
    };
    let found = find(post, now.epoch, once.searched.length, &since.into()).map(Outcome::There);
    found.or_else(|| said?.get(post).cloned().map(Outcome::Again))
}
