//! What a database says when it refuses something, and what a poster is told then.

mod common;

use common::check::{created, refused};
use common::database::{Database, DatabaseServer, tested_server};
use common::eventually;
use common::faults::one_server;
use common::server::{Server, form};
use common::servers::LOG;
use std::io::{self, Write};
use std::thread;

/// The errors of a transaction that was given up, and of a lock that did not come free in time.
const DEADLOCK: u16 = 1213;
const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// How many rows another client has changed, so that a database that has to choose lets it go on.
const CHANGED_ROWS: usize = 500;

/// A full disk as the engine of each database tells it, with the number of another error: ask the
/// operator for space, rather than try again.
#[test]
fn full_disk() {
    let database = Database::new(&tested_server());
    let server = Server::on(database.url());
    let first = server.say("room", "omri", "first");
    for (number, text, status) in [
        (1030, "Got error 28 - 'No space left on device' from storage engine", 507),
        (1030, "Got error 28 \"No space left on device\" from storage engine InnoDB", 507),
        (1114, "The table 'messages' is full", 507),
        (1030, "Got error 168 - 'Unknown error' from storage engine", 503),
    ] {
        let text = text.replace('\'', "''");
        database.query(&format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW \
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{text}'"
        ));
        let answer = server.post("room", "omri", "refused");
        let says = if status == 507 { "no room left" } else { "try again" };
        refused(&answer, status, &[says]);
        database.query("DROP TRIGGER refuse");
    }
    let second = server.say("room", "omri", "second");
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}

/// An account that may have fewer connections than a server takes: posts wait for their turn. They
/// were refused at once.
#[test]
fn few_connections() {
    let database = Database::new(&tested_server());
    let url = database.account("of-few", "BY");
    database.query(&format!("ALTER USER {} WITH MAX_USER_CONNECTIONS 4", database.name()));
    let server = Server::on(&url);
    thread::scope(|scope| {
        for number in 0..12 {
            let room = format!("room-{number}");
            let server = &server;
            scope.spawn(move || {
                for turn in 0..5 {
                    server.say(&room, "omri", &format!("turn {turn}"));
                }
            });
        }
    });
    assert_eq!(database.rooms().len(), 12);
}

/// An account whose statements may take less time than a lock is waited for (MariaDB's
/// `max_statement_time`): the post is tried again, and taken.
#[test]
fn short_statements() {
    let kind = DatabaseServer::at(&tested_server()).kind();
    if kind != "mariadb" {
        // Past what the test runner keeps to itself.
        let said = format!("NOT HERE: max_statement_time is MariaDB's, and this is {kind}\n");
        io::stderr().write_all(said.as_bytes()).expect("said");
        return;
    }
    let database = Database::new(&tested_server());
    let url = database.account("of-little-time", "BY");
    database.query(&format!("ALTER USER {} WITH MAX_STATEMENT_TIME 1", database.name()));
    let server = Server::on(&url);
    let first = server.say("room", "omri", "first");
    let lock = database.lock(&["room"]);
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.post_form(LOG, &form("omri", "second")));
        let mut on = Vec::new();
        eventually("it waits", || {
            on = database.running_on("FOR UPDATE");
            !on.is_empty()
        });
        eventually("it is tried again", || {
            let now = database.running_on("FOR UPDATE");
            waiting.is_finished() || !now.is_empty() && now != on
        });
        drop(lock);
        created(&waiting.join().expect("answered"))
    });
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}

/// A deadlock: another client holds the place of the next line, and asks for the room, which the post
/// holds. The database gives up the post's transaction, and the post is taken all the same, once.
#[test]
fn deadlock() {
    let (database, proxy, server, first) = one_server();
    database.query("CREATE TABLE heavy (number INT PRIMARY KEY)");
    let rows: Vec<String> = (0..CHANGED_ROWS).map(|number| format!("({number})")).collect();
    let statements = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN; \
         INSERT INTO heavy VALUES {}; SELECT COUNT(*) FROM messages FOR UPDATE;\n",
        rows.join(", ")
    );
    let mut other = database.hold(&statements, &["1"]);
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.say("room", "omri", "second"));
        eventually("the post waits", || database.running("INSERT INTO messages") > 0);
        assert_eq!(proxy.errors(DEADLOCK), 0);
        other.says(
            "SELECT name FROM rooms WHERE name = 'room' FOR UPDATE; COMMIT; SELECT 'done';\n",
        );
        other.hears(&["room", "done"]);
        waiting.join().expect("taken")
    });
    assert_eq!(proxy.errors(DEADLOCK), 1, "the post's transaction was given up");
    assert_eq!(database.query("SELECT COUNT(*) FROM heavy"), CHANGED_ROWS.to_string());
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}

/// A lock that is waited for too long, on a database that waits less than a post does: the post is
/// tried again, and taken once the lock is free.
#[test]
fn lock_wait_timeout() {
    let (database, proxy, server, first) = one_server();
    database.query(
        "CREATE TABLE held (number INT PRIMARY KEY); INSERT INTO held VALUES (1); \
         CREATE TRIGGER less BEFORE INSERT ON messages FOR EACH ROW \
         SET SESSION innodb_lock_wait_timeout = 1; \
         CREATE TRIGGER waits AFTER INSERT ON messages FOR EACH ROW UPDATE held SET number = 2",
    );
    let other = database.hold("BEGIN; SELECT number FROM held FOR UPDATE;\n", &["1"]);
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.say("room", "omri", "second"));
        eventually("it has waited too long", || proxy.errors(LOCK_WAIT_TIMEOUT) > 0);
        drop(other);
        waiting.join().expect("taken")
    });
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}
