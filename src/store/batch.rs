//! A batch: the posts that one write, or one transaction, takes to the store.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use hyper::body::Bytes;
use time::UtcDateTime;
use tokio::sync::oneshot;

use crate::cursor::{Cursor, Epoch};
use crate::line::{self, Post};
use crate::store::StoreError;

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

/// What came of a write.
#[derive(Debug)]
pub struct Written {
    /// Which log it was written to.
    pub epoch: Epoch,
    /// Where in the log the first line begins.
    pub start: u64,
    /// How many bytes of whole lines are there now.
    pub bytes: u64,
    /// Why it is not all of them.
    pub error: Option<StoreError>,
}

impl Written {
    /// Nothing was written.
    pub fn nothing(error: StoreError) -> Written {
        Written { epoch: Epoch::EMPTY, start: 0, bytes: 0, error: Some(error) }
    }
}

/// What comes of one post, as far as it is known before the write.
#[derive(Debug)]
enum Outcome {
    /// A line of this write.
    New(Range<usize>),
    /// The same as an earlier line of this write.
    Again(Range<usize>),
    /// A line that was there.
    There(Stored),
    Refused(StoreError),
}

/// The posts of one write, as they are to be written.
#[derive(Debug, Default)]
pub struct Batch {
    outcomes: Vec<Outcome>,
    /// The time of its lines, as [`line::stamp`] writes it.
    pub stamp: String,
    /// Its lines, one after the other.
    pub lines: Bytes,
}

impl Batch {
    /// From where on the log has to be read, under the lock, for the posts that
    /// are to be stored only once: its end, where nothing has to be.
    pub fn unread_from(waiting: &[Waiting], now: Cursor) -> u64 {
        let searched = waiting.iter().filter_map(|waiting| waiting.once.as_ref());
        let reached = searched.filter(|once| once.found.is_none() && once.reaches(now));
        reached.map(|once| once.searched.length).min().unwrap_or(now.length)
    }

    /// A line for each that is not there yet, all with the time of the lock.
    /// `since` is the log from [`Batch::unread_from`] to its end.
    pub fn new(waiting: &[Waiting], now: Cursor, since: &Bytes) -> Batch {
        let stamp = line::stamp(UtcDateTime::now());
        let bytes = waiting.iter().map(|waiting| waiting.post.line_bytes()).sum();
        let mut lines = Vec::with_capacity(bytes);
        // Only where a post is to be stored once does it matter what others say.
        let mut said = waiting.iter().any(|waiting| waiting.once.is_some()).then(HashMap::new);
        let mut outcomes = Vec::with_capacity(waiting.len());
        for Waiting { post, once, .. } in waiting {
            let outcome = once.as_ref().and_then(|once| {
                once.already(post, now, since)
                    .or_else(|| said.as_ref()?.get(post).cloned().map(Outcome::Again))
            });
            let outcome = outcome.unwrap_or_else(|| {
                let start = lines.len();
                post.write_to(&stamp, &mut lines);
                let line = start..lines.len();
                if let Some(said) = &mut said {
                    said.entry(post).or_insert(line.clone());
                }
                Outcome::New(line)
            });
            outcomes.push(outcome);
        }
        Batch { outcomes, stamp, lines: lines.into() }
    }

    /// The posts that are written, each with where its line begins in the write.
    pub fn new_posts<'a>(
        &'a self,
        waiting: &'a [Waiting],
    ) -> impl Iterator<Item = (usize, &'a Post)> {
        waiting.iter().zip(&self.outcomes).filter_map(|(waiting, outcome)| match outcome {
            Outcome::New(range) => Some((range.start, &waiting.post)),
            _ => None,
        })
    }

    /// Where the first line begins that was there before and that somebody is to be
    /// told of; `None` where there is none.
    pub fn confirmed_from(&self) -> Option<u64> {
        let start = |outcome: &Outcome| match outcome {
            Outcome::There(stored) => Some(stored.cursor.length - stored.line.len() as u64),
            _ => None,
        };
        self.outcomes.iter().filter_map(start).min()
    }

    /// The answer for each: its line, or why it is not there.
    pub fn answers(self, written: &Written, unsynced: Option<&StoreError>) -> Vec<Answer> {
        let Written { epoch, start, bytes, ref error } = *written;
        let unwritten = error.clone().unwrap_or(StoreError::Busy);
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
        self.outcomes.into_iter().map(answer).collect()
    }
}

impl Once {
    /// Whether what was searched is the beginning of the log as it is now, and the
    /// post not too far behind its end.
    fn reaches(&self, now: Cursor) -> bool {
        (self.searched.length == 0 || self.searched.epoch == now.epoch)
            && self.searched.length <= now.length
            && now.length - self.after.length <= AFTER_BYTES_MAX
    }

    /// Under the lock: whether the post stands already, in what was searched or in
    /// what came since; `None` where it does not.
    fn already(&self, post: &Post, now: Cursor, since: &Bytes) -> Option<Outcome> {
        if !self.reaches(now) {
            return Some(Outcome::Refused(StoreError::OutOfReach(now)));
        }
        if let Some(found) = &self.found {
            return Some(Outcome::There(found.clone()));
        }
        let unsearched = (now.length - self.searched.length) as usize;
        let unsearched = since.slice(since.len() - unsearched..);
        find(post, now.epoch, self.searched.length, &unsearched).map(Outcome::There)
    }
}
