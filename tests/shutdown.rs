//! SIGTERM and SIGINT: posts in flight are finished, nobody holds the server up, exit code 0.

mod common;

use common::check::created;
use common::client::Client;
use common::eventually;
use common::server::{FORM, Server, form};
use common::store::Store;
use std::time::Duration;

const LOG: &str = "/chat/room";

/// How long a server without work may take to end.
const AT_ONCE: Duration = Duration::from_secs(5);

/// For how long a stopping server answers on open connections at the most.
const LINGER: Duration = Duration::from_secs(1);

/// The drain has a deadline of 10 s; some more for a busy machine.
const DRAIN: Duration = Duration::from_secs(15);

/// Both signals end a server that has nothing to do, at once and with exit code 0.
#[test]
fn idle() {
    for signal in ["TERM", "INT"] {
        let store = Store::new();
        let mut server = Server::on(&store);
        server.say("room", "omri", "hi");
        server.signal(signal);
        assert_eq!(server.exit(AT_ONCE).code(), Some(0), "SIG{signal}");
    }
}

/// Connections that are kept alive do not hold it up; they are closed.
#[test]
fn kept_alive() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", LOG, &[], b"").status, 200);
    }
    server.signal("TERM");
    assert_eq!(server.exit(AT_ONCE).code(), Some(0));
    assert!(clients.iter_mut().all(Client::ends));
}

/// A post in flight is finished: its body is still read, stored and acknowledged.
#[test]
fn in_flight() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let body = form("omri", "in flight");
    let mut client = server.half_post("room", &body);
    server.signal("TERM");
    eventually("no new connections", || Client::try_connect(server.address).is_err());
    client.send(body.as_bytes());
    let posted = created(&client.answer("POST").expect("an answer"));
    assert_eq!(store.log("room"), posted.line.as_bytes());
    assert!(client.ends(), "and then the connection is closed");
    assert_eq!(server.exit(AT_ONCE).code(), Some(0));
}

/// The drain has a deadline: clients that never finish are left behind, still exit code 0.
#[test]
fn never_finished() {
    let store = Store::new();
    store.fill_lines("large", 50_000, 1_000);
    let mut server = Server::on(&store);
    let _half_body = server.half_post("room", "username=omri&message=never");
    let mut half_head = server.connect();
    half_head.send(b"GET /chat/room HTTP/1.1\r\nHost");
    let _silent = server.connect();
    let mut reader = server.connect();
    reader.send(b"GET /chat/large HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(reader.head().expect("a head").status, 200);
    server.signal("TERM");
    assert_eq!(server.exit(DRAIN).code(), Some(0));
    assert_eq!(store.rooms(), ["large"], "half a post is none");
}

/// Posts that go on while the server stops are acknowledged and stored, or neither.
#[test]
fn under_load() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let address = server.address;
        let posters: Vec<_> =
            (0..4).map(|poster| scope.spawn(move || post_until_gone(address, poster))).collect();
        eventually("some posts", || server.head(LOG).cursor().length > 5_000);
        server.signal("TERM");
        assert_eq!(server.exit(DRAIN).code(), Some(0));
        posters.into_iter().flat_map(|poster| poster.join().expect("posted")).collect()
    });
    let log = String::from_utf8(store.log("room")).expect("UTF-8");
    let mut stored: Vec<&str> = log.split_inclusive('\n').collect();
    let mut lines: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
    stored.sort_unstable();
    lines.sort_unstable();
    assert_eq!(stored, lines, "a server that stops in order answers all that it stored");
}

fn post_until_gone(address: std::net::SocketAddr, poster: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(mut client) = Client::try_connect(address) {
        loop {
            let body = form(&format!("poster{poster}"), &format!("line {}", lines.len()));
            match client.try_request("POST", LOG, &[FORM], body.as_bytes()) {
                Ok(answer) => lines.push(created(&answer).line),
                Err(_) => break,
            }
        }
    }
    lines
}

/// A post that reached a kept connection just before the server closed it was dropped unread:
/// its client got no answer, and a proxy made a 502 of it. It is read and answered first.
#[test]
fn arrived_as_the_linger_ended() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", LOG, &[], b"").status, 200);
    }
    server.signal("TERM");
    let address = server.address;
    eventually("the listener is closed", || Client::try_connect(address).is_err());
    // It sleeps over the end of its linger, and finds the posts and the end together.
    server.signal("STOP");
    let body = form("omri", "late");
    let head = format!("POST {LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
    for client in &mut clients {
        client.send(format!("{head}{}: {}\r\n\r\n{body}", FORM.0, FORM.1).as_bytes());
    }
    std::thread::sleep(LINGER);
    server.signal("CONT");
    for client in &mut clients {
        created(&client.answer("POST").expect("an answer"));
    }
    assert_eq!(server.exit(DRAIN).code(), Some(0));
    assert_eq!(store.log("room").iter().filter(|&&byte| byte == b'\n').count(), 50);
}
