//! What a database reaches by itself: the transactions of a commit, one after the
//! other on one connection, without a server around them; and what a tick costs it.
//!
//! `transactions URL post LINES SECONDS` stores LINES lines a transaction and prints
//! `lines=… microseconds=…`; `transactions URL tick ROOMS ROUNDS` makes so many rooms
//! and prints the median time of the question which of them have changed, when few
//! and when all of them have. The tables are catchat's, made by a server before.

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
        (Ok(runtime), [url, verb, count, rounds]) => {
            let (Ok(count), Ok(rounds)) = (count.parse(), rounds.parse()) else { return usage() };
            runtime.block_on(run(url, verb, count, rounds))
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
    eprintln!("usage: transactions URL post LINES SECONDS | tick ROOMS ROUNDS");
    ExitCode::from(2)
}

async fn run(url: &str, verb: &str, count: usize, rounds: u64) -> sqlx::Result<String> {
    let mut conn = MySqlConnection::connect(url).await?;
    raw_sql("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut conn).await?;
    match verb {
        "post" => post(&mut conn, count, Duration::from_secs(rounds)).await,
        _ => tick(&mut conn, count, rounds).await,
    }
}

async fn post(conn: &mut MySqlConnection, lines: usize, time: Duration) -> sqlx::Result<String> {
    sqlx::query("INSERT IGNORE INTO rooms (name) VALUES ('bare')").execute(&mut *conn).await?;
    let values = vec!["(?, ?, ?, ?, ?, ?)"; lines].join(", ");
    let insert = format!(
        "INSERT INTO messages (room, place, time, username, message, batch) VALUES {values}"
    );
    let (began, mut stored) = (Instant::now(), 0);
    while began.elapsed() < time {
        raw_sql("BEGIN").execute(&mut *conn).await?;
        let lock = "SELECT id, length, epoch FROM rooms WHERE name = 'bare' FOR UPDATE";
        let row: (u64, u64, String) = sqlx::query_as(lock).fetch_one(&mut *conn).await?;
        let (room, start, _) = row;
        let mut statement = sqlx::query(AssertSqlSafe(insert.clone()));
        for line in 0..lines as u64 {
            statement = statement.bind(room).bind(start + line * LINE_BYTES);
            statement = statement.bind(LINE.0).bind(LINE.1).bind(LINE.2).bind(None::<u64>);
        }
        statement.execute(&mut *conn).await?;
        sqlx::query("UPDATE rooms SET length = ?, epoch = 'x', changed = NOW(6) WHERE id = ?")
            .bind(start + lines as u64 * LINE_BYTES)
            .bind(room)
            .execute(&mut *conn)
            .await?;
        raw_sql("COMMIT").execute(&mut *conn).await?;
        stored += lines;
    }
    Ok(format!("lines={stored} microseconds={}", began.elapsed().as_micros()))
}

async fn tick(conn: &mut MySqlConnection, rooms: usize, rounds: u64) -> sqlx::Result<String> {
    let names: Vec<String> = (0..rooms).map(|room| format!("('tick{room}')")).collect();
    for names in names.chunks(1_000) {
        let insert = format!("INSERT IGNORE INTO rooms (name) VALUES {}", names.join(", "));
        raw_sql(AssertSqlSafe(insert)).execute(&mut *conn).await?;
    }
    let mut medians = Vec::new();
    for changed in ["name = 'tick0'", "name LIKE 'tick%'"] {
        let old = "UPDATE rooms SET changed = NOW(6) - INTERVAL 1 HOUR";
        raw_sql(old).execute(&mut *conn).await?;
        let new = format!("UPDATE rooms SET changed = NOW(6) + INTERVAL 1 HOUR WHERE {changed}");
        raw_sql(AssertSqlSafe(new)).execute(&mut *conn).await?;
        let mut took = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            let question = "SELECT name, id, length, epoch FROM rooms \
                 WHERE changed > NOW(6) - INTERVAL ? SECOND";
            sqlx::query(question).bind(5u32).fetch_all(&mut *conn).await?;
            took.push(began.elapsed().as_micros());
        }
        took.sort_unstable();
        medians.push(took[took.len() / 2]);
    }
    Ok(format!("few={} all={}", medians[0], medians[1]))
}
