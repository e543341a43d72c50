//! Lines as rows: how a line is taken apart, stored, and put together again.

use std::ops::Range;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};
use time::{Date, Month};

use crate::line::{self, Line, USERNAME_CHARS_MAX};
use crate::store::mysql::fault::Fault;
use crate::store::window::PIECE_BYTES;

/// How many lines one statement stores: few sizes, so that the database knows each.
const SIZES: [usize; 14] = [1024, 256, 128, 96, 64, 48, 32, 24, 16, 12, 8, 4, 2, 1];

/// How much one statement stores, in bytes, but for one line: databases take that much.
const STATEMENT_BYTES: usize = 512 * 1024;
/// What a column for messages takes, in bytes: less than this (`MEDIUMTEXT`).
const MESSAGE_BYTES: usize = 1 << 24;
/// The first year that a column for times takes (`DATETIME`).
const FIRST_YEAR: u16 = 1000;

/// A line as a row. Its place in the log is where the row before it ends.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Where the line begins, in bytes.
    pub place: u64,
    /// The parts; `None` where the line is not what these parts make.
    pub parts: Option<Line<'a>>,
    /// The line without its end.
    pub raw: &'a [u8],
}

impl<'a> Row<'a> {
    /// Takes apart a line of any origin, given without its end.
    pub fn of(place: u64, raw: &'a [u8]) -> Row<'a> {
        let parts = str::from_utf8(raw).ok().and_then(line::parse).filter(|parts| {
            is_time(parts.time)
                && parts.username.chars().count() <= USERNAME_CHARS_MAX
                && parts.message.len() < MESSAGE_BYTES
        });
        Row { place, parts, raw }
    }

    /// How many bytes a statement has of it, with some for what is not the line.
    fn bytes(&self) -> usize {
        let text = |parts: Line| parts.username.len() + parts.message.len();
        64 + self.parts.map_or(self.raw.len(), text)
    }
}

/// Whether this text of digits is a time that a column for times takes.
fn is_time(text: &str) -> bool {
    let number = |range: Range<usize>| text.get(range)?.parse::<u16>().ok();
    let date = || {
        let month = Month::try_from(u8::try_from(number(5..7)?).ok()?).ok()?;
        let (year, day) = (number(0..4)?, u8::try_from(number(8..10)?).ok()?);
        (year >= FIRST_YEAR).then_some(())?;
        Date::from_calendar_date(year.into(), month, day).ok()
    };
    let below = |range, most| number(range).is_some_and(|number| number < most);
    date().is_some() && below(11..13, 24) && below(14..16, 60) && below(17..19, 60)
}

/// Stores rows of one room; `batch` goes with the first.
pub async fn insert(
    conn: &mut MySqlConnection,
    room: u64,
    rows: &[Row<'_>],
    batch: Option<u64>,
) -> Result<(), Fault> {
    let Some(first) = rows.first() else { return Ok(()) };
    let mark = |row: &Row<'_>| batch.filter(|_| row.place == first.place);
    let (whole, raw): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.parts.is_some());
    for rows in statements(&whole) {
        let values = vec!["(?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
        let statement = format!(
            "INSERT INTO messages (room, place, time, username, message, batch) VALUES {values}"
        );
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for row in rows {
            let Some(Line { time, username, message }) = row.parts else { continue };
            insert = insert.bind(room).bind(row.place).bind(time).bind(username).bind(message);
            insert = insert.bind(mark(row));
        }
        insert.execute(&mut *conn).await?;
    }
    for rows in statements(&raw) {
        let values = vec!["(?, ?, ?, ?)"; rows.len()].join(", ");
        let statement = format!("INSERT INTO messages (room, place, raw, batch) VALUES {values}");
        let mut insert = sqlx::query(AssertSqlSafe(statement));
        for row in rows {
            insert = insert.bind(room).bind(row.place).bind(row.raw).bind(mark(row));
        }
        insert.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Shares rows out to statements: of few sizes, and none too large but for one row.
fn statements<'a, 'r>(mut rows: &'a [&'r Row<'r>]) -> impl Iterator<Item = &'a [&'r Row<'r>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rows.iter().take(SIZES[0]).take_while(|row| {
            bytes += row.bytes();
            bytes <= STATEMENT_BYTES
        });
        let fits = fits.count();
        let size = SIZES.into_iter().find(|&size| size <= fits).unwrap_or(1).min(rows.len());
        let (now, rest) = rows.split_at(size);
        rows = rest;
        (!now.is_empty()).then_some(now)
    })
}

/// The whole lines that begin in this range, which begins where one does.
pub async fn lines(
    conn: &mut MySqlConnection,
    room: u64,
    begin: Range<u64>,
) -> Result<Vec<u8>, Fault> {
    let statement = "SELECT place, COALESCE(raw, CONCAT('[', time, '] ', username, ': ', message)) \
         FROM messages WHERE room = ? AND place >= ? AND place < ? ORDER BY place";
    let rows = sqlx::query(statement).bind(room).bind(begin.start).bind(begin.end);
    let rows: Vec<MySqlRow> = rows.fetch_all(conn).await?;
    let mut out = Vec::with_capacity((begin.end - begin.start) as usize + PIECE_BYTES as usize);
    for row in rows {
        let at = begin.start + out.len() as u64;
        if row.try_get::<u64, _>(0)? != at {
            return Err(Fault::Gap(at));
        }
        out.extend_from_slice(row.try_get(1)?);
        out.push(b'\n');
    }
    match begin.start + (out.len() as u64) < begin.end {
        true => Err(Fault::Gap(begin.start + out.len() as u64)),
        false => Ok(out),
    }
}

/// The bytes of this range of a room's log.
pub async fn read(
    conn: &mut MySqlConnection,
    room: u64,
    range: Range<u64>,
) -> Result<Vec<u8>, Fault> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(u64, Vec<u8>)> = sqlx::query_as(
        "SELECT place, COALESCE(raw, CONCAT('[', time, '] ', username, ': ', message)) \
         FROM messages WHERE room = ? AND place < ? AND place >= \
         (SELECT MAX(place) FROM messages WHERE room = ? AND place <= ?) ORDER BY place",
    )
    .bind(room)
    .bind(range.end)
    .bind(room)
    .bind(range.start)
    .fetch_all(conn)
    .await?;
    let mut out = Vec::with_capacity((range.end - range.start) as usize);
    let Some(&(mut at, _)) = rows.first() else { return Err(Fault::Gap(range.start)) };
    for (place, mut line) in rows {
        if place != at {
            return Err(Fault::Gap(at));
        }
        line.push(b'\n');
        let skip = range.start.saturating_sub(at).min(line.len() as u64) as usize;
        let take = (range.end - at).min(line.len() as u64) as usize;
        out.extend_from_slice(&line[skip..take]);
        at += line.len() as u64;
    }
    match at < range.end {
        true => Err(Fault::Gap(at)),
        false => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_its_parts_do_not_make_stays_as_it_is() {
        let parts = |raw: &str| Row::of(0, raw.as_bytes()).parts.is_some();
        assert!(parts("[2018-02-25 14:00:51] omri: hi everybody!"));
        assert!(parts("[2018-02-25 14:00:51] omri: "));
        for raw in [
            "",
            "hello",
            "[2018-02-30 14:00:51] omri: no such day",
            "[0999-02-25 14:00:51] omri: before what a database knows",
            "[2018-02-25 24:00:51] omri: no such hour",
            "[2018-02-25 14:00:51] no name",
        ] {
            assert!(!parts(raw), "{raw}");
        }
        assert!(!parts(&format!("[2018-02-25 14:00:51] {}: long name", "x".repeat(65))));
        assert!(Row::of(0, b"[2018-02-25 14:00:51] omri: \xff").parts.is_none());
    }

    proptest! {
        #[test]
        fn statements_take_every_row_once(lengths in prop::collection::vec(0usize..90_000, 0..2_000), short: bool) {
            let most = if short { 200 } else { 90_000 };
            let text = vec![b'x'; 90_000];
            let rows = lengths.iter().enumerate();
            let rows: Vec<_> =
                rows.map(|(at, &length)| Row::of(at as u64, &text[..length.min(most)])).collect();
            let rows: Vec<_> = rows.iter().collect();
            let mut all = Vec::new();
            for statement in statements(&rows) {
                prop_assert!(SIZES.contains(&statement.len()));
                let bytes: usize = statement.iter().map(|row| row.bytes()).sum();
                prop_assert!(statement.len() == 1 || bytes <= STATEMENT_BYTES);
                all.extend(statement.iter().map(|row| row.place));
            }
            prop_assert!(all.into_iter().eq(0..rows.len() as u64));
        }

        #[test]
        fn parts_make_the_line(raw in "\\[2018-0[1-3]-[0-3]\\d 1\\d:00:51\\] .{0,9}(: )?.{0,9}") {
            if let Some(Line { time, username, message }) = Row::of(0, raw.as_bytes()).parts {
                prop_assert_eq!(format!("[{time}] {username}: {message}"), raw);
            }
        }
    }
}
