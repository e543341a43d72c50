//! Appending whole lines of any origin to a room's rows, as a copy does.

use crate::cursor::{Cursor, Epoch};
use crate::store::StoreError;
use crate::store::mysql::append::{end_with, set_state};
use crate::store::mysql::fault::Fault;
use crate::store::mysql::room::{Rows, State};
use crate::store::mysql::rows::{self, Row};
use crate::store::mysql::{MySql, Session};

/// Every database takes a line of this length at once, in bytes.
const LINE_BYTES_TAKEN: usize = 512 * 1024;
/// What a statement has beside its line, in bytes.
const STATEMENT_SPARE: u64 = 1024;

impl MySql {
    /// Stores whole lines at the end of a room's log, in one transaction, if it is at
    /// `at`; where it is then, and `None` where it was elsewhere. A line that is too
    /// long for the database is an error; those before it are stored then.
    pub async fn append_lines(
        &self,
        rows: &Rows,
        at: Cursor,
        lines: &[u8],
    ) -> Result<Option<Cursor>, StoreError> {
        let too_long = self.too_long(lines).await?;
        let taken = &lines[..too_long.as_ref().map_or(lines.len(), |line| line.start)];
        let append = |session| append_once(session, rows, at, taken);
        let end = self.copying(append).await?;
        let Some(TooLong { start, bytes, most }) = too_long.filter(|_| end.is_some()) else {
            return Ok(end);
        };
        let start = at.length + start as u64;
        Err(StoreError::Failed(
            format!("the line at byte {start} has {bytes} bytes, and the database takes {most} at once (max_allowed_packet)")
                .into(),
        ))
    }

    /// The first of these lines that is longer than what the database takes at once.
    async fn too_long(&self, lines: &[u8]) -> Result<Option<TooLong>, StoreError> {
        let split = || lines.split_inclusive(|&byte| byte == b'\n');
        if split().all(|line| line.len() <= LINE_BYTES_TAKEN) {
            return Ok(None);
        }
        let ask = |mut session: Session| async {
            let most = sqlx::query_as("SELECT CAST(@@max_allowed_packet AS UNSIGNED)");
            let most: (u64,) = most.fetch_one(&mut *session).await?;
            Ok(session.gives(most))
        };
        let (most,) = self.asking(ask).await?;
        let most = most.saturating_sub(STATEMENT_SPARE);
        let mut start = 0;
        for line in split() {
            if line.len() as u64 > most {
                return Ok(Some(TooLong { start, bytes: line.len(), most }));
            }
            start += line.len();
        }
        Ok(None)
    }
}

/// A line that the database does not take.
struct TooLong {
    /// Where it begins in the lines.
    start: usize,
    bytes: usize,
    most: u64,
}

async fn append_once(
    mut session: Session,
    to: &Rows,
    at: Cursor,
    lines: &[u8],
) -> Result<Option<Cursor>, Fault> {
    let conn = &mut *session;
    let State { room, cursor: now } = to.lock(conn).await?;
    let epoch = if at.length == 0 { Epoch::of(lines) } else { at.epoch };
    let end = Cursor { epoch, length: at.length + lines.len() as u64 };
    // By an attempt whose answer was lost, if they are these lines.
    let there = now == end && rows::read(conn, room, at.length..end.length).await? == lines;
    if now.length != at.length || (at.length > 0 && now.epoch != at.epoch) {
        end_with(conn, "ROLLBACK").await?;
        return Ok(session.gives(there.then_some(end)));
    }
    let mut place = at.length;
    let split = lines.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let row = Row::of(place, line.strip_suffix(b"\n").unwrap_or(line));
        place += line.len() as u64;
        row
    });
    let split: Vec<_> = split.collect();
    rows::insert(conn, room, &split, None).await?;
    set_state(conn, room, end).await?;
    end_with(conn, "COMMIT").await?;
    Ok(session.gives(Some(end)))
}
