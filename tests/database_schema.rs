//! The tables: made by whichever server comes first, finished by the next where it dies, and left
//! alone by a program that does not know them.

mod common;

use common::cli::fails;
use common::database::{Database, tested_server};
use common::dir::TempDir;
use common::server::Server;
use std::collections::HashSet;
use std::thread;

/// How many servers start at once.
const SERVERS: usize = 5;

/// Tables of another version are told in one line, to servers and copies, and stay as they are.
#[test]
fn another_version() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let line = Server::on(database.url()).say("room", "omri", "hi").line;
    database.query("UPDATE catchat_schema SET version = 2");
    let (url, shown) = (database.url(), database.shown());
    let files = dir.to_str().expect("UTF-8");
    let says = [shown.as_str(), "version 2", "knows 1"];
    fails(&["--listen", "127.0.0.1:0", "--store", &url], &[], 1, &says);
    fails(&["copy", &url, files], &[], 1, &says);
    fails(&["copy", files, &url], &[], 1, &says);
    assert_eq!(database.query("SELECT version FROM catchat_schema"), "2");
    assert_eq!(database.log("room"), line.as_bytes());
}

/// A server that died while it made the tables: the next one goes on with it, and keeps what is there.
#[test]
fn half_made() {
    let database = Database::new(&tested_server());
    let line = Server::on(database.url()).say("room", "omri", "hi").line;
    for left in ["DROP VIEW chat", "DROP VIEW chat; DROP TABLE servers"] {
        database.query(&format!("{left}; UPDATE catchat_schema SET version = 0"));
        let server = Server::on(database.url());
        assert_eq!(server.get("/chat/room").text(), line, "{left}");
        assert_eq!(server.get("/-/health").status, 200, "{left}");
        assert_eq!(database.query("SELECT version FROM catchat_schema"), "1", "{left}");
        assert_eq!(database.query("SELECT message FROM chat"), "hi", "{left}");
    }
}

/// A copy from a database on which no server has been makes no tables, also where some are there.
#[test]
fn nothing_to_read() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let copy = ["copy", &database.url(), dir.to_str().expect("UTF-8")];
    fails(&copy, &[], 1, &["FROM", "no rooms"]);
    drop(Server::on(database.url()));
    database.query("DROP VIEW chat; UPDATE catchat_schema SET version = 0");
    fails(&copy, &[], 1, &["FROM", "no rooms"]);
    assert_eq!(database.query("SELECT version FROM catchat_schema"), "0");
}

/// Several servers start at once where nothing is: one chat, and a name for each.
#[test]
fn first_starts_at_once() {
    let database = Database::new(&tested_server());
    let servers: Vec<Server> = thread::scope(|scope| {
        let starts: Vec<_> =
            (0..SERVERS).map(|_| scope.spawn(|| Server::on(database.url()))).collect();
        starts.into_iter().map(|start| start.join().expect("started")).collect()
    });
    let posted = servers.iter().map(|server| server.say("room", "omri", "hi").line);
    let log: String = posted.collect();
    let names = servers.iter().map(|server| {
        let answer = server.get("/chat/room");
        assert_eq!(answer.text(), log);
        answer.header("server-name").expect("a name").to_string()
    });
    assert_eq!(names.collect::<HashSet<_>>().len(), SERVERS);
}
