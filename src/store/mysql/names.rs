//! The name of a server, held by a lock of the database (`GET_LOCK`) on a
//! connection of its own; on a Galera cluster, where such a lock is only one
//! node's, by a row with a lease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, MySqlConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::host_name;
use crate::cursor::fnv1a;
use crate::report;
use crate::store::mysql::fault::Fault;
use crate::store::mysql::{MySql, Pauses, START_WAIT, STATEMENT_WAIT, Session, connect, within};
use crate::store::names;

/// How often a server says that it is there.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// After how long without that its name is free, in seconds.
const LEASE_SECONDS: u32 = 10;
/// How long a stopping server takes to give its name back.
const RELEASE_WAIT: Duration = Duration::from_secs(1);

/// A name, held until this is released or the server's connection ends; with a
/// lease, until the lease ends. Where another server has it then, another name.
#[derive(Debug)]
pub struct Claim {
    names: watch::Receiver<String>,
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
        let (now, names) = watch::channel(name.to_owned());
        let keeper = tokio::spawn(keep(mysql.clone(), now, conn, stopped));
        Ok(Claim { names, keeper, stop })
    }

    /// The name, and each that takes its place.
    pub fn names(&self) -> watch::Receiver<String> {
        self.names.clone()
    }

    /// Gives the name back.
    pub async fn release(self) {
        // Where this fails, the name is free when the connection or the lease ends.
        let _ = self.stop.send(());
        let _ = timeout(RELEASE_WAIT, self.keeper).await;
    }
}

/// Renews the claim until it is told to stop; should the connection be lost, the
/// name is claimed again, or another one where it is taken by now.
async fn keep(
    mysql: Arc<MySql>,
    now: watch::Sender<String>,
    conn: MySqlConnection,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut held = Some(conn);
    while timeout(RENEW_EVERY, &mut stopped).await.is_err() {
        let name = now.borrow().clone();
        let renewed = match &mut held {
            Some(conn) => within(STATEMENT_WAIT, renew(&mysql, &name, conn)).await,
            None => Ok(false),
        };
        if matches!(renewed, Ok(true)) {
            continue;
        }
        held = None;
        match claim_again(&mysql, &name).await {
            Ok(Some((conn, name))) => {
                held = Some(conn);
                take_up(&now, name);
            }
            // The store says itself that it does not answer.
            _ => sleep(RENEW_EVERY / 4).await,
        }
    }
    if let Some(mut conn) = held {
        // All its rows, should an attempt that failed have left one more.
        let gone = sqlx::query("DELETE FROM servers WHERE holder = ?");
        let _ = gone.bind(mysql.holder).execute(&mut conn).await;
        let _ = conn.close().await;
    }
}

/// Goes on under this name.
fn take_up(now: &watch::Sender<String>, name: String) {
    let before = now.send_replace(name);
    let name = now.borrow();
    if *name != before {
        report::line(format_args!(
            "the name {before} is held by another server now; this one goes on as {}",
            *name
        ));
    }
}

/// Claims the name again or, where another server holds it by now, the first that
/// is free; `None` where it is too early to tell.
async fn claim_again(
    mysql: &MySql,
    name: &str,
) -> Result<Option<(MySqlConnection, String)>, Fault> {
    if let Some(conn) = claim(mysql, name).await? {
        return Ok(Some((conn, name.to_owned())));
    }
    // The lock may be held by this server's own lost connection, until the database
    // finds that it is gone: another server would have its row there.
    if !is_anothers(mysql, name).await? {
        return Ok(None);
    }
    for name in names::all() {
        if let Some(conn) = claim(mysql, &name).await? {
            return Ok(Some((conn, name)));
        }
    }
    Ok(None)
}

/// Whether another server is registered under this name.
async fn is_anothers(mysql: &MySql, name: &str) -> Result<bool, Fault> {
    let registered = "SELECT holder FROM servers WHERE name = ?";
    let ask = |mut session: Session| async move {
        let row = sqlx::query_as(registered).bind(name).fetch_optional(&mut *session).await?;
        Ok(session.gives(row))
    };
    let row: Option<(u64,)> = mysql.asking(ask).await?;
    Ok(row.is_some_and(|(holder,)| holder != mysql.holder))
}

/// Claims a name, on a connection of its own; `None` where another server holds it.
async fn claim(mysql: &MySql, name: &str) -> Result<Option<MySqlConnection>, Fault> {
    let mut conn = connect(&mysql.address.options).await?;
    let claimed = within(STATEMENT_WAIT, async {
        Ok((mysql.galera || lock(name, &mut conn).await?)
            && register(mysql, name, &mut conn).await?)
    });
    let claimed = claimed.await?;
    if claimed {
        return Ok(Some(conn));
    }
    let _ = conn.close().await;
    Ok(None)
}

async fn lock(name: &str, conn: &mut MySqlConnection) -> Result<bool, Fault> {
    // A lock's name has 64 characters at the most, and is one of the whole server.
    // A database may go by its name in any case.
    let database = "SELECT IF(@@lower_case_table_names = 0, DATABASE(), LOWER(DATABASE()))";
    let (database,): (String,) = sqlx::query_as(database).fetch_one(&mut *conn).await?;
    let place = format!("{database}/{name}");
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
