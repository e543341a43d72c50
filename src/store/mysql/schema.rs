//! The tables, made at the first start. They are for people to query as well:
//!
//! ```sql
//! SELECT time, username, message FROM chat WHERE room = 'tea' ORDER BY place;
//! ```

use std::time::Duration;

use sqlx::{AssertSqlSafe, MySqlConnection, raw_sql};
use tokio::time::Instant;

use crate::store::StoreError;
use crate::store::mysql::Pauses;
use crate::store::mysql::fault::Fault;

/// The version of the tables that this program reads and writes.
const VERSION: u32 = 1;
/// The version while they are being made.
const UNMADE: u32 = 0;
/// How long another server may take to make them, before this one goes on with it.
const MAKING_WAIT: Duration = Duration::from_secs(3);

/// Compares text byte by byte, trailing blanks too: what MySQL has for that, and MariaDB.
const COLLATIONS: [&str; 2] = ["utf8mb4_0900_bin", "utf8mb4_nopad_bin"];

/// A room's log. `length` and `epoch` are its cursor; the row is locked by
/// whoever appends. `changed` tells other servers which rooms to look at.
const ROOMS: &str = "CREATE TABLE IF NOT EXISTS rooms (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(80) NOT NULL UNIQUE,
    length BIGINT UNSIGNED NOT NULL DEFAULT 0,
    epoch VARCHAR(8) NOT NULL DEFAULT '0',
    changed DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY changed (changed)
)";
/// One line each. `place` is where the line begins in the room's log, in bytes.
/// A line that is not made of time, name and message is in `raw`, as it stands.
/// `batch` marks the first line of a transaction, to find it again should the
/// answer to its commit be lost.
const MESSAGES: &str = "CREATE TABLE IF NOT EXISTS messages (
    room BIGINT UNSIGNED NOT NULL,
    place BIGINT UNSIGNED NOT NULL,
    time DATETIME NULL,
    username VARCHAR(64) NULL,
    message MEDIUMTEXT NULL,
    raw LONGBLOB NULL,
    batch BIGINT UNSIGNED NULL,
    PRIMARY KEY (room, place)
)";
/// The running servers, each with its name, as long as it says so again and again.
const SERVERS: &str = "CREATE TABLE IF NOT EXISTS servers (
    name VARCHAR(80) NOT NULL PRIMARY KEY,
    host VARCHAR(255) NOT NULL,
    holder BIGINT UNSIGNED NOT NULL,
    seen DATETIME(6) NOT NULL,
    KEY holder (holder)
)";
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS catchat_schema (
    id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
    version INT UNSIGNED NOT NULL
)";
/// The chat, as one would ask for it.
const CHAT: &str = "CREATE OR REPLACE VIEW chat AS
    SELECT rooms.name AS room, messages.place, messages.time, messages.username, messages.message
    FROM messages JOIN rooms ON rooms.id = messages.room";

/// Makes the tables where there are none and `make` says so, and checks their version.
pub async fn prepare(conn: &mut MySqlConnection, make: bool) -> Result<(), Fault> {
    if let Some(version) = version(conn).await? {
        return check(version);
    }
    if !make {
        let text = "there are no rooms: no catchat was started on this database";
        return Err(Fault::Final(StoreError::Failed(text.into())));
    }
    let known: Vec<(String,)> = sqlx::query_as(
        "SELECT CONVERT(collation_name USING utf8mb4) FROM information_schema.collations \
         WHERE collation_name IN (?, ?)",
    )
    .bind(COLLATIONS[0])
    .bind(COLLATIONS[1])
    .fetch_all(&mut *conn)
    .await?;
    let collation = COLLATIONS.iter().find(|name| known.iter().any(|(known,)| known == *name));
    let collation = collation.ok_or_else(|| {
        StoreError::Failed("the database knows no binary utf8mb4 collation".into())
    })?;
    let table = |table| {
        let rest = format!("ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE {collation}");
        raw_sql(AssertSqlSafe(format!("{table} {rest}")))
    };
    table(SCHEMA).execute(&mut *conn).await?;
    if let Some(version) = others_version(conn).await? {
        return check(version);
    }
    for other in [ROOMS, MESSAGES, SERVERS] {
        table(other).execute(&mut *conn).await?;
    }
    raw_sql(CHAT).execute(&mut *conn).await?;
    // Last, so that a start that was cut off begins again.
    sqlx::query("UPDATE catchat_schema SET version = ? WHERE id = 1 AND version = ?")
        .bind(VERSION)
        .bind(UNMADE)
        .execute(&mut *conn)
        .await?;
    version(conn).await?.map_or(Ok(()), check)
}

/// What another server has made, or `None` where that is for this one to do. Servers
/// that start together on nodes of a Galera cluster must not all do it: the node on
/// which the view is made twice at once may hang for good (MariaDB 10.11).
async fn others_version(conn: &mut MySqlConnection) -> Result<Option<u32>, Fault> {
    let first = sqlx::query("INSERT IGNORE INTO catchat_schema (id, version) VALUES (1, ?)");
    if first.bind(UNMADE).execute(&mut *conn).await?.rows_affected() > 0 {
        return Ok(None);
    }
    let deadline = Instant::now() + MAKING_WAIT;
    let mut pauses = Pauses::new();
    loop {
        let version = version(conn).await?;
        if version.is_some() || Instant::now() > deadline {
            return Ok(version);
        }
        pauses.wait().await;
    }
}

/// The version of the tables, once all of them are made.
async fn version(conn: &mut MySqlConnection) -> Result<Option<u32>, Fault> {
    let found: Option<(i64,)> = sqlx::query_as(
        "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'catchat_schema'",
    )
    .fetch_optional(&mut *conn)
    .await?;
    if found.is_none_or(|(tables,)| tables == 0) {
        return Ok(None);
    }
    let version = sqlx::query_as("SELECT version FROM catchat_schema WHERE id = 1");
    let version = version.fetch_optional(&mut *conn).await?.map(|(version,)| version);
    Ok(version.filter(|&version| version != UNMADE))
}

fn check(version: u32) -> Result<(), Fault> {
    match version {
        VERSION => Ok(()),
        other => Err(Fault::Final(StoreError::Failed(
            format!("its tables are of version {other}, and this catchat knows {VERSION}: start the catchat that made them")
                .into(),
        ))),
    }
}
