//! More clients and more rooms than a server may have open files: it waits, and serves on.

mod common;

use common::check::{created, refused};
use common::eventually;
use common::server::{FORM, Server, Setup, form};
use common::store::Store;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Few enough descriptors that a test can take them all.
const DESCRIPTORS: &str = "-n 128";

/// More connections than descriptors: those that were first are served, posts among them.
#[test]
fn more_connections_than_descriptors() {
    let store = Store::new();
    let mut server = Setup::on(&store).ulimit(DESCRIPTORS).start();
    let mut first = server.connect();
    assert_eq!(first.request("GET", "/chat/room", &[], b"").status, 200);
    let crowd: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for number in 0..20 {
        let room = format!("/chat/room{}", number % 10);
        let body = form("omri", "hi");
        created(&first.request("POST", &room, &[FORM], body.as_bytes()));
        assert_eq!(first.request("GET", &room, &[], b"").status, 200);
        assert_eq!(first.request("GET", "/-/health", &[], b"").status, 200);
    }
    let before = server.cpu_ticks();
    thread::sleep(Duration::from_secs(1)); // The time over which it is measured.
    let spent = server.cpu_ticks() - before;
    assert!(spent < 30, "a crowd at the door costs {spent} of 100 ticks a second");
    assert!(server.is_running());
    drop((first, crowd));
    eventually("all are forgotten", || is_alone(&server));
    assert_eq!(server.get("/chat/room0").text().lines().count(), 2);
}

/// Whether the server answers and has no other connection; it may still send clients away.
fn is_alone(server: &Server) -> bool {
    let mut client = server.connect();
    let asked = client.stream.write_all(b"GET /-/metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = asked.and_then(|()| client.answer_of_any_kind("GET"));
    answer.is_ok_and(|answer| answer.text().contains("\ncatchat_connections 1\n"))
}

/// Clients beyond the limit wait, or end, or are told so as any error is told.
#[test]
fn beyond_the_limit() {
    let store = Store::new();
    let server = Setup::on(&store).ulimit(DESCRIPTORS).start();
    let mut crowd: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let mut refusals = 0;
    for client in &mut crowd {
        client.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        if let Ok(answer) = client.answer("GET") {
            refused(&answer, 503, &[]);
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            refusals += 1;
        }
    }
    assert!(refusals < 200, "nobody is served");
}

/// Connections that come and go by the thousand leave nothing behind.
#[test]
fn connections_come_and_go() {
    let store = Store::new();
    let server = Setup::on(&store).ulimit(DESCRIPTORS).start();
    for number in 0..1_000 {
        let mut client = server.connect();
        match number % 4 {
            0 => {}
            1 => drop(client.stream.write_all(b"GET /chat/room HT")),
            2 => drop(client.stream.write_all(b"POST /chat/room HTTP/1.1\r\nHost: x\r\n")),
            _ => drop(client.stream.write_all(b"GET /chat/room HTTP/1.1\r\nHost: x\r\n\r\n")),
        }
    }
    eventually("all are forgotten", || is_alone(&server));
}

/// More rooms than descriptors, all posted to at once, by many clients.
#[test]
fn more_rooms_than_descriptors() {
    let store = Store::new();
    let server = Setup::on(&store).ulimit(DESCRIPTORS).start();
    thread::scope(|scope| {
        for poster in 0..10 {
            let server = &server;
            scope.spawn(move || write_and_read(server, poster));
        }
    });
    assert_eq!(store.rooms().len(), 300);
    assert_eq!(server.metric("catchat_store_errors_total"), 0.0);
}

fn write_and_read(server: &Server, poster: usize) {
    let mut client = server.connect();
    for number in 0..300 {
        let target = format!("/chat/room{}", (number + poster * 30) % 300);
        let body = form("omri", &format!("from {poster}"));
        let posted = created(&client.request("POST", &target, &[FORM], body.as_bytes()));
        let log = client.request("GET", &target, &[], b"");
        assert_eq!(log.status, 200, "{target}: {}", log.text());
        assert!(log.text().contains(&posted.line), "{target}");
    }
}

/// The number of open files stays bounded whatever the number of rooms.
#[test]
fn open_files_are_bounded() {
    let store = Store::new();
    let server = Setup::on(&store).ulimit("-n 4096").start();
    let mut client = server.connect();
    for number in 0..2_500 {
        let target = format!("/chat/room{number}");
        if number % 5 == 0 {
            let body = form("omri", "hi");
            created(&client.request("POST", &target, &[FORM], body.as_bytes()));
        }
        assert_eq!(client.request("GET", &target, &[], b"").status, 200);
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its files").count();
    assert!(open < 1_500, "{open} files are open");
}
