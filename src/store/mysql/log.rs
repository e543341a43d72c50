//! An open log of the database: which room it is, and the end of it in memory.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use tokio::sync::Mutex as AsyncMutex;

use crate::store::mysql::fault::Fault;
use crate::store::mysql::{MySql, Session, rows};
use crate::store::window::{LINES_BYTES, PIECE_BYTES, Usage, Window, next_number};
use crate::store::{StoreError, lock};

/// How much is read from the database at once, in bytes.
const READ_BYTES: u64 = 512 * 1024;
/// How many lines one statement counts at the most.
const TAIL_LINES: u64 = 4096;
/// How much may have come since the last look for it to be brought into memory.
const GROWTH_BYTES_MAX: u64 = 1024 * 1024;

/// An open log: what all its snapshots share.
#[derive(Debug)]
pub struct Log {
    mysql: Arc<MySql>,
    /// The room's number in the table of rooms.
    pub room: u64,
    /// Tells it from every other log that this process opens, also of the same room:
    /// the database may have lost the end of it, and another one may follow.
    pub number: u64,
    window: Mutex<Window>,
    /// Held by whoever brings to memory what is new, so that it comes in order.
    growing: AsyncMutex<()>,
}

impl Log {
    /// The log of this room and length, its last piece in memory.
    pub async fn open(
        mysql: &Arc<MySql>,
        room: u64,
        length: u64,
        usage: &Arc<Usage>,
    ) -> Result<Log, StoreError> {
        let window = Mutex::new(Window::new(length, usage));
        let number = next_number();
        let growing = AsyncMutex::default();
        let log = Log { mysql: mysql.clone(), room, number, window, growing };
        log.load(length.saturating_sub(1), length).await?;
        Ok(log)
    }

    /// The bytes of this range that lie in its first piece, where they are in memory.
    pub fn piece(&self, range: Range<u64>) -> Option<Bytes> {
        lock(&self.window).piece(range)
    }

    /// Reads the bytes of this range that lie in its first piece.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let end = range.end.min((range.start / PIECE_BYTES + 1) * PIECE_BYTES);
        self.read_all(range.start..end).await
    }

    /// The bytes of this range, which must be short enough for memory.
    pub async fn read_all(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut all = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let part = at..range.end.min(at + READ_BYTES);
            at = part.end;
            let ask = |mut session: Session| async {
                let bytes = rows::read(&mut session, self.room, part.clone()).await?;
                Ok(session.gives(bytes))
            };
            all.extend(self.mysql.asking(ask).await?);
        }
        Ok(all.into())
    }

    /// Whole lines of this range, which begins and ends where lines do: those that
    /// begin in its first [`LINES_BYTES`].
    pub async fn lines(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let ask = |mut session: Session| async {
            let begin_before = range.end.min(range.start + LINES_BYTES);
            let begin = range.start..begin_before;
            let lines = rows::lines(&mut session, self.room, begin).await?;
            Ok(session.gives(lines))
        };
        Ok(self.mysql.copying(ask).await?.into())
    }

    /// Where the last `lines` lines before `length` begin. Counts back in short steps, so
    /// that whoever asks for very many lines holds up nobody else.
    pub async fn tail(&self, lines: u64, length: u64) -> Result<u64, StoreError> {
        // A line has at least one byte.
        if lines >= length {
            return Ok(0);
        }
        let (mut start, mut left) = (length, lines);
        while left > 0 && start > 0 {
            let step = left.min(TAIL_LINES);
            start = self.step_back(step, start).await?;
            left -= step;
        }
        Ok(start)
    }

    /// Where the last of so many lines before `end` begins; 0 where there are fewer.
    async fn step_back(&self, lines: u64, end: u64) -> Result<u64, StoreError> {
        let statement = "SELECT place FROM messages WHERE room = ? AND place < ? \
             ORDER BY place DESC LIMIT 1 OFFSET ?";
        let ask = |mut session: Session| async move {
            let place = sqlx::query_as(statement).bind(self.room).bind(end).bind(lines - 1);
            let place = place.fetch_optional(&mut *session).await?;
            Ok(session.gives(place))
        };
        let place: Option<(u64,)> = self.mysql.asking(ask).await?;
        Ok(place.map_or(0, |(place,)| place))
    }

    /// Lets go of what is in memory, unless it grows just now.
    pub fn close(&self) {
        if let Ok(_in_order) = self.growing.try_lock() {
            lock(&self.window).clear();
        }
    }

    /// Whether everything from `start` to the end is in memory, or too large for it.
    pub fn is_loaded(&self, start: u64, length: u64) -> bool {
        lock(&self.window).is_loaded(start, length)
    }

    /// Brings everything from `start` to the end into memory.
    pub async fn load(&self, start: u64, length: u64) -> Result<(), StoreError> {
        let missing = lock(&self.window).missing(start, length);
        if !missing.is_empty() {
            let bytes = self.read_all(missing.clone()).await?;
            lock(&self.window).prepend(missing, &bytes);
        }
        Ok(())
    }

    /// Brings what came up to `length` into memory, or of much the last piece.
    /// Whether this is the log that it was: its last known line is read again, as
    /// the database may have lost lines and have got others in their place.
    pub async fn grow(&self, length: u64) -> Result<bool, StoreError> {
        let _in_order = self.growing.lock().await;
        let (last_line, nothing) = {
            let window = lock(&self.window);
            (window.last_line(), window.is_empty())
        };
        let (last_line, known) = (last_line.start, last_line.end);
        if length <= known {
            return Ok(true);
        }
        let anew = nothing || length - known > GROWTH_BYTES_MAX;
        let end = if anew { known } else { length };
        let ask = |mut session: Session| async {
            match rows::read(&mut session, self.room, last_line..end).await {
                // No line ends there, or there is none: the database is well.
                Err(Fault::Gap(_)) => Ok(None),
                read => Ok(Some(session.gives(read?))),
            }
        };
        let Some(read) = self.mysql.asking(ask).await? else { return Ok(false) };
        let (again, new) = read.split_at((known - last_line) as usize);
        if !lock(&self.window).agrees(last_line, again) {
            return Ok(false);
        }
        match anew {
            true => self.restart(length).await?,
            false => lock(&self.window).append(new),
        }
        Ok(true)
    }

    /// Begins anew with the last piece of what has this length by now.
    async fn restart(&self, length: u64) -> Result<(), StoreError> {
        lock(&self.window).restart(length);
        self.load(length.saturating_sub(1), length).await
    }

    /// Takes over lines that were just stored, where they follow on what is in memory.
    /// Whether what is in memory agrees with them.
    pub async fn take(&self, start: u64, lines: &[u8]) -> bool {
        let _in_order = self.growing.lock().await;
        let mut window = lock(&self.window);
        let (known, end) = (window.last_line().end, start + lines.len() as u64);
        if window.is_empty() {
            // Whoever reads next brings it to memory, and compares.
            return known <= start || known >= end;
        }
        if known == start {
            window.append(lines);
            return true;
        }
        // All lines of one commit are seen at once.
        (known < start || known >= end) && window.agrees(start, lines)
    }
}
