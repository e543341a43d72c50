//! What a database reaches by itself: the transactions of a commit, one after the
//! other on one connection, without a server around them.
//!
//! `transactions URL LINES SECONDS` stores LINES lines a transaction and prints
//! `lines=… microseconds=…`. The tables are catchat's, made by a server before.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, raw_sql};

const LINE: (&str, &str, &str) = ("2018-02-25 14:00:51", "omri", "hi everybody");
const LINE_BYTES: u64 = 41;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match (runtime, &words[..]) {
        (Ok(runtime), [url, lines, seconds]) => {
            let (Ok(lines), Ok(seconds)) = (lines.parse(), seconds.parse()) else { return usage() };
            runtime.block_on(post(url, lines, Duration::from_secs(seconds)))
        }
        // Run among the other benchmarks, without anything to do.
        (_, []) => return ExitCode::SUCCESS,
        _ => return usage(),
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("transactions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: transactions URL LINES SECONDS");
    ExitCode::from(2)
}

async fn post(url: &str, lines: usize, time: Duration) -> sqlx::Result<String> {
    let mut conn = MySqlConnection::connect(url).await?;
    raw_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut conn).await?;
    sqlx::query("INSERT IGNORE INTO rooms (name) VALUES ('bare')").execute(&mut conn).await?;
    let values = vec!["(?, ?, ?, ?, ?, ?)"; lines].join(", ");
    let insert = format!(
        "INSERT INTO messages (room, place, time, username, message, batch) VALUES {values}"
    );
    let (began, mut stored) = (Instant::now(), 0);
    while began.elapsed() < time {
        raw_sql("START TRANSACTION").execute(&mut conn).await?;
        let lock = "SELECT id, length, epoch FROM rooms WHERE name = 'bare' FOR UPDATE";
        let row: (u64, u64, String) = sqlx::query_as(lock).fetch_one(&mut conn).await?;
        let (room, start, _) = row;
        let mut statement = sqlx::query(AssertSqlSafe(insert.clone()));
        for line in 0..lines as u64 {
            statement = statement.bind(room).bind(start + line * LINE_BYTES);
            statement = statement.bind(LINE.0).bind(LINE.1).bind(LINE.2).bind(None::<u64>);
        }
        statement.execute(&mut conn).await?;
        sqlx::query("UPDATE rooms SET length = ?, epoch = 'x', changed = NOW(6) WHERE id = ?")
            .bind(start + lines as u64 * LINE_BYTES)
            .bind(room)
            .execute(&mut conn)
            .await?;
        raw_sql("COMMIT").execute(&mut conn).await?;
        stored += lines;
    }
    Ok(format!("lines={stored} microseconds={}", began.elapsed().as_micros()))
}
