//! The name of a server, held by a lock of the database (`GET_LOCK`) on a
//! connection of its own; on a Galera cluster, where such a lock is only one
//! node's, by a row with a lease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, MySqlConnection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::host_name;
use crate::cursor::fnv1a;
use crate::report;
use crate::store::mysql::fault::Fault;
use crate::store::mysql::{MySql, Pauses, START_WAIT, STATEMENT_WAIT, connect, within};

/// How often a server says that it is there.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// After how long without that its name is free, in seconds.
const LEASE_SECONDS: u32 = 10;
/// How long a stopping server takes to give its name back.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// A name, held until this is released or the server's connection ends; with a
/// lease, until the lease ends.
#[derive(Debug)]
pub struct Claim {
    name: String,
    keeper: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Claim {
    /// Claims this name; fails with `AlreadyExists` where another server holds it.
    pub async fn of(mysql: &Arc<MySql>, name: &str) -> io::Result<Claim> {
        let deadline = Instant::now() + START_WAIT;
        let mut pauses = Pauses::new();
        let conn = loop {
            match claim(mysql, name).await {
                Ok(Some(conn)) => break conn,
                Ok(None) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(fault) if fault.is_final() || Instant::now() > deadline => {
                    return Err(io::Error::other(fault.into_store_error().to_string()));
                }
                // Servers that start together want the same name: nodes of a
                // cluster refuse all of them but one.
                Err(_) => pauses.wait().await,
            }
        };
        let (stop, stopped) = oneshot::channel();
        let keeper = tokio::spawn(keep(mysql.clone(), name.to_owned(), conn, stopped));
        Ok(Claim { name: name.to_owned(), keeper, stop })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the name back.
    pub async fn release(self) {
        // Where this fails, the name is free when the connection or the lease ends.
        let _ = self.stop.send(());
        let _ = timeout(RELEASE_WAIT, self.keeper).await;
    }
}

/// Renews the claim until it is told to stop; should the connection be lost, the
/// name is claimed again.
async fn keep(
    mysql: Arc<MySql>,
    name: String,
    conn: MySqlConnection,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut held = Some(conn);
    while timeout(RENEW_EVERY, &mut stopped).await.is_err() {
        let renewed = match &mut held {
            Some(conn) => within(STATEMENT_WAIT, renew(&mysql, &name, conn)).await,
            None => Ok(false),
        };
        if matches!(renewed, Ok(true)) {
            continue;
        }
        let before = held.take().is_some();
        match claim(&mysql, &name).await {
            Ok(Some(conn)) => held = Some(conn),
            Ok(None) if before => {
                report::line(format_args!("the name {name} is held by another server now"));
            }
            // The store says itself that it does not answer.
            _ => sleep(RENEW_EVERY / 4).await,
        }
    }
    if let Some(mut conn) = held {
        let gone = sqlx::query("DELETE FROM servers WHERE name = ? AND holder = ?");
        let _ = gone.bind(&name).bind(mysql.holder).execute(&mut conn).await;
        let _ = conn.close().await;
    }
}

/// Claims a name, on a connection of its own; `None` where another server holds it.
async fn claim(mysql: &MySql, name: &str) -> Result<Option<MySqlConnection>, Fault> {
    let mut conn = connect(&mysql.address.options).await?;
    let claimed = within(STATEMENT_WAIT, async {
        Ok((mysql.galera || lock(mysql, name, &mut conn).await?)
            && register(mysql, name, &mut conn).await?)
    });
    let claimed = claimed.await?;
    if claimed {
        return Ok(Some(conn));
    }
    let _ = conn.close().await;
    Ok(None)
}

async fn lock(mysql: &MySql, name: &str, conn: &mut MySqlConnection) -> Result<bool, Fault> {
    // A lock's name has 64 characters at the most, and is one of the whole server.
    let place = format!("{}/{name}", mysql.address.database);
    let lock = format!("catchat-{:016x}", fnv1a(place.as_bytes()));
    let row: (Option<i64>,) =
        sqlx::query_as("SELECT GET_LOCK(?, 0)").bind(lock).fetch_one(conn).await?;
    Ok(row.0 == Some(1))
}

/// Puts this server into the table of servers, in the place of one whose lease has
/// ended; with a lock, whoever was there is gone.
async fn register(mysql: &MySql, name: &str, conn: &mut MySqlConnection) -> Result<bool, Fault> {
    let lease = if mysql.galera { LEASE_SECONDS } else { 0 };
    sqlx::query(
        "INSERT INTO servers (name, host, holder, seen) VALUES (?, ?, ?, NOW(6)) \
         ON DUPLICATE KEY UPDATE \
         holder = IF(seen <= NOW(6) - INTERVAL ? SECOND, VALUES(holder), holder), \
         host = IF(holder = VALUES(holder), VALUES(host), host), \
         seen = IF(holder = VALUES(holder), VALUES(seen), seen)",
    )
    .bind(name)
    .bind(host_name())
    .bind(mysql.holder)
    .bind(lease)
    .execute(&mut *conn)
    .await?;
    renew(mysql, name, conn).await
}

/// Says that this server is there; whether the name is still its own.
async fn renew(mysql: &MySql, name: &str, conn: &mut MySqlConnection) -> Result<bool, Fault> {
    let renew = "UPDATE servers SET seen = NOW(6) WHERE name = ? AND holder = ?";
    let done = sqlx::query(renew).bind(name).bind(mysql.holder).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}
