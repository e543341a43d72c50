//! The contract's section Live: what a stream begins with, what it carries, how it ends.

mod common;

use common::check::refused;
use common::client::Response;
use common::eventually;
use common::live::{EVENTS, Live, unquoted, without_notices};
use common::screen::Screen;
use common::server::{FORM, Server, Setup, form};
use common::store::Store;
use socket2::SockRef;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

const LOG: &str = "/chat/room";
const FOLLOW: &str = "/chat/room?follow";

fn live_headers(head: &Response, name: &str, kind: &str) {
    assert_eq!(head.header("content-type"), Some(kind));
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("server-name"), Some(name));
    assert_eq!(head.header("vary"), Some("Accept"));
    assert_eq!(head.header("content-length"), None);
    assert_eq!(head.header("etag"), None, "a stream is no state of the log");
}

/// The head and the first event of a stream, whether the room is empty or not.
#[test]
fn beginning() {
    let store = Store::new();
    let server = Setup::on(&store).name("the first").start();
    let empty = Live::events(&server, LOG, &[]);
    live_headers(&empty.head, "the first", "text/event-stream");
    assert_eq!(empty.head.header("transfer-encoding"), Some("chunked"));
    assert_eq!((empty.server.as_str(), empty.start.as_str()), ("the first", "0-0"));
    let lines = Live::lines(&server, FOLLOW, &[]);
    live_headers(&lines.head, "the first", "text/plain; charset=utf-8");
    assert!(store.rooms().is_empty(), "following creates nothing");
    let posted = server.say("room", "omri", "hi");
    let full = Live::events(&server, LOG, &[]);
    assert_eq!(full.start, format!("{}-0", posted.cursor.epoch));
    for accept in
        ["text/event-stream, */*;q=0.1", "TEXT/Event-Stream", "text/html, text/event-stream"]
    {
        let live = Live::lines(&server, LOG, &[("Accept", accept)]);
        assert_eq!(live.head.header("content-type"), Some("text/event-stream"), "{accept}");
    }
    let plain = server.get_with(LOG, &[("Accept", "*/*")]);
    assert_eq!((plain.text(), plain.etag()), (posted.line.as_str(), posted.etag.as_str()));
}

/// The time after which clients come back differs from stream to stream.
#[test]
fn retry_jitters() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut seen = std::collections::HashSet::new();
    eventually("another time to come back after", || {
        let mut client = server.connect();
        client.send(b"GET /chat/room HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
        client.head().expect("a head");
        let events = String::from_utf8(client.some().expect("an event")).expect("UTF-8");
        let retry = events.strip_prefix("retry: ").and_then(|rest| rest.split('\n').next());
        seen.insert(retry.expect("first the time").to_string());
        seen.len() >= 3
    });
}

/// `HEAD` on a live URL says what `GET` would say, and leaves the connection usable.
#[test]
fn head() {
    let store = Store::new();
    let server = Setup::on(&store).name("bravo").start();
    let mut client = server.connect();
    for (target, headers, kind) in [
        (LOG, &[EVENTS][..], "text/event-stream"),
        (FOLLOW, &[], "text/plain; charset=utf-8"),
        ("/chat/room?follow&tail=3&after=0-0", &[], "text/plain; charset=utf-8"),
    ] {
        let head = client.request("HEAD", target, headers, b"");
        assert_eq!(head.status, 200);
        live_headers(&head, "bravo", kind);
    }
    assert_eq!(client.request("GET", LOG, &[], b"").status, 200);
    assert_eq!(server.metric("catchat_streams"), 0.0);
}

/// History and what comes are one stream, without gap or double, while others post.
#[test]
fn history_then_live() {
    let store = Store::new();
    let server = Server::on(&store);
    thread::scope(|scope| {
        let posters: Vec<_> = (0..3)
            .map(|poster| {
                scope.spawn({
                    let server = &server;
                    move || post_many(server, &format!("poster{poster}"), 300)
                })
            })
            .collect();
        let readers: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn({
                    let server = &server;
                    move || {
                        let longer = || server.head(LOG).cursor().length > number * 4_000;
                        eventually("some history", longer);
                        if number % 2 == 0 { read_events(server) } else { read_lines(server) }
                    }
                })
            })
            .collect();
        posters.into_iter().for_each(|poster| poster.join().expect("posted"));
        server.say("room", "omri", "the end");
        let log = store.log("room");
        for reader in readers {
            assert!(reader.join().expect("read") == log, "a reader has another log");
        }
    });
}

fn post_many(server: &Server, name: &str, lines: usize) {
    let mut client = server.connect();
    for number in 0..lines {
        let answer =
            client.request("POST", LOG, &[FORM], form(name, &number.to_string()).as_bytes());
        assert_eq!(answer.status, 201);
    }
}

fn read_events(server: &Server) -> Vec<u8> {
    let mut screen = Screen::default();
    let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
    screen.read_until(&mut live, "the end\n").expect("no cut");
    screen.log
}

fn read_lines(server: &Server) -> Vec<u8> {
    let mut live = Live::lines(server, FOLLOW, &[]);
    let mut log = Vec::new();
    while !log.ends_with(b"the end\n") {
        log.extend(live.piece().expect("no cut").expect("more"));
    }
    log
}

/// After 15 s of silence a ping says where the log is, with and without history; lines stay bare.
#[test]
fn ping() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut empty = Live::events(&server, "/chat/empty", &[]);
    let mut bare = Live::lines(&server, FOLLOW, &[]);
    let posted = server.say("room", "omri", "hi");
    let mut full = Live::events(&server, LOG, &[]);
    full.expect_line(&posted.line);
    for (live, cursor) in [(&mut empty, "0-0"), (&mut full, unquoted(&posted.etag))] {
        let event = live.next();
        assert_eq!((event.name.as_str(), event.text()), ("ping", cursor));
        assert_eq!(event.id, None, "a ping is no place to resume at");
    }
    let more = server.say("room", "omri", "after the ping");
    full.expect_line(&more.line);
    bare.expect_bytes((posted.line + &more.line).as_bytes());
}

/// A client of HTTP/1.0 gets the same without chunks, and the end of the connection as its end.
#[test]
fn http_1_0() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let first = server.say("room", "omri", "first");
    let open = |target: &str, accept: &str| {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.0\r\n{accept}\r\n").as_bytes());
        let live = Live::read(client, usize::MAX).expect("a stream");
        assert_eq!(live.head.header("transfer-encoding"), None);
        live
    };
    let mut events = open(LOG, "Accept: text/event-stream\r\n");
    let mut lines = open(FOLLOW, "");
    let second = server.say("room", "omri", "second");
    events.expect_line(&first.line);
    events.expect_line(&second.line);
    lines.expect_bytes((first.line + &second.line).as_bytes());
    server.signal("TERM");
    assert_eq!(events.event().expect("a clean end"), None);
    assert!(lines.rest().is_empty());
    assert!(server.exit(common::DEADLINE).success());
}

/// What a client sends behind its live request is dropped: it is neither answered nor done.
#[test]
fn bytes_behind() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    let body = form("eve", "behind");
    let post = format!(
        "POST {LOG} HTTP/1.1\r\nHost: x\r\n{}: {}\r\nContent-Length: {}\r\n\r\n{body}",
        FORM.0,
        FORM.1,
        body.len()
    );
    client.send(format!("GET {FOLLOW} HTTP/1.1\r\nHost: x\r\n\r\n{post}").as_bytes());
    let mut live = Live::read(client, usize::MAX).expect("a stream");
    let first = server.say("room", "omri", "first");
    live.expect_bytes(first.line.as_bytes());
    for _ in 0..50 {
        live.client.send(post.repeat(100).as_bytes());
    }
    let second = server.say("room", "omri", "second");
    live.expect_bytes(second.line.as_bytes());
    assert_eq!(store.log("room"), (first.line + &second.line).as_bytes());
}

/// An answer before a live request on the same connection arrives whole, also at a slow reader.
#[test]
fn answer_before() {
    let store = Store::new();
    store.fill_lines("large", 10_000, 1_000);
    let large = store.log("large");
    let server = Server::on(&store);
    let posted = server.say("room", "omri", "hi");
    for _ in 0..3 {
        let mut client = server.connect();
        SockRef::from(&client.stream).set_recv_buffer_size(16 * 1024).expect("a small buffer");
        let both = ["/chat/large", FOLLOW]
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.send(both.concat().as_bytes());
        let answer = client.answer("GET").expect("the whole answer before the stream");
        assert!(answer.body == large);
        let mut live = Live::read(client, usize::MAX).expect("and then the stream");
        live.expect_bytes(posted.line.as_bytes());
    }
}

/// A client that goes is noticed, whether it closes in order or not, reads or not.
#[test]
fn clients_that_go() {
    let store = Store::new();
    store.fill_lines("large", 40_000, 500);
    let server = Server::on(&store);
    let mut streams: Vec<Live> = Vec::new();
    for target in [FOLLOW, LOG, "/chat/large?follow", "/chat/large", "/chat/large?tail=0"] {
        for _ in 0..4 {
            streams.push(Live::events(&server, target, &[]));
        }
    }
    assert_eq!(server.metric("catchat_streams"), 20.0);
    for (number, live) in streams.iter().enumerate() {
        match number % 2 {
            0 => SockRef::from(&live.client.stream)
                .set_linger(Some(Duration::ZERO))
                .expect("a reset"),
            _ => live.client.stream.shutdown(Shutdown::Write).expect("closed"),
        }
    }
    drop(streams);
    eventually("all are forgotten", || server.metric("catchat_streams") == 0.0);
    eventually("no connection stays", || server.metric("catchat_connections") == 1.0);
}

/// Many rooms are followed at once, and each line goes where it belongs.
#[test]
fn many_rooms() {
    let store = Store::new();
    for server in [Server::on(&store), without_notices(&store)] {
        let mut streams: Vec<Live> = (0..100)
            .map(|number| Live::events(&server, &format!("/chat/room{number}?tail=0"), &[]))
            .collect();
        let other = Server::on(&store);
        let posted: Vec<_> = (0..100)
            .map(|number| other.say(&format!("room{number}"), "omri", &format!("to {number}")))
            .collect();
        for (live, posted) in streams.iter_mut().zip(posted) {
            assert_eq!(live.expect_line(&posted.line), unquoted(&posted.etag));
        }
    }
}

/// What cannot be followed is refused as any reading is.
#[test]
fn refusals() {
    let store = Store::new();
    let server = Server::on(&store);
    for query in ["follow=1", "follow&x=1", "follow&follow", "follow&tail=x", "follow&tail=-1"] {
        refused(&server.get_with(&format!("{LOG}?{query}"), &[EVENTS]), 400, &[]);
    }
    assert_eq!(server.send("PUT", FOLLOW, &[EVENTS], b"").status, 405);
    assert_eq!(server.metric("catchat_streams"), 0.0);
}
