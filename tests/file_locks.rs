//! The contract's section Files: posts that wait while a script holds the log's lock.

mod common;

use common::check::created;
use common::client::Client;
use common::dir::TempDir;
use common::eventually;
use common::server::{Server, form};
use std::fs::File;
use std::time::Duration;

/// How long a server without work may take to end.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Posts that wait together share a commit: many posts, few syncs.
#[test]
fn posts_share_commits() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    server.say("room", "omri", "first");
    let lock = File::open(dir.file("room.log")).expect("the log");
    lock.lock().expect("locked");
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        let body = form("omri", "hi");
        let head =
            format!("POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        let kind = "Content-Type: application/x-www-form-urlencoded";
        client.send(format!("{head}{kind}\r\n\r\n{body}").as_bytes());
    }
    eventually("all came", || server.metric("catchat_connections") >= 50.0);
    drop(lock);
    for client in &mut clients {
        created(&client.answer("POST").expect("an answer"));
    }
    let commits = server.metric("catchat_commits_total");
    assert!(commits <= 25.0, "{commits} commits for 50 posts that waited together");
    assert_eq!(server.metric("catchat_commit_lines_sum"), 51.0);
}

/// A post that waits for another writer's lock is finished too.
#[test]
fn waiting_for_a_lock() {
    let dir = TempDir::new();
    let mut server = Server::on(&dir);
    let first = server.say("room", "omri", "first");
    let lock = File::open(dir.file("room.log")).expect("the log");
    lock.lock().expect("locked");
    let body = form("omri", "in flight");
    let mut client = server.half_post("room", &body);
    client.send(body.as_bytes());
    server.signal("TERM");
    eventually("no new connections", || Client::try_connect(server.address).is_err());
    drop(lock);
    let posted = created(&client.answer("POST").expect("an answer"));
    assert_eq!(dir.read("room.log"), (first.line + &posted.line).as_bytes());
    assert_eq!(server.exit(AT_ONCE).code(), Some(0));
}
