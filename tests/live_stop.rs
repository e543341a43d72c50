//! The contract's section Live: a server that stops ends its streams cleanly, spread over a while.

mod common;

use common::eventually;
use common::live::Live;
use common::screen::Screen;
use common::server::{FORM, Server, form};
use common::store::Store;
use std::thread;
use std::time::{Duration, Instant};

const LOG: &str = "/chat/room";

/// In how long all streams must have ended, on a busy machine.
const ALL_ENDED: Duration = Duration::from_secs(4);

/// By how much at least the ends of many streams must differ.
const SPREAD: Duration = Duration::from_millis(300);

/// The drain has a deadline of 10 s; some more for a busy machine.
const DRAIN: Duration = Duration::from_secs(12);

/// Sixty streams of both kinds end with a last chunk, spread over a second or two; exit code 0.
#[test]
fn ends_are_spread() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let posted = server.say("room", "omri", "hi");
    let streams: Vec<Live> = (0..60)
        .map(|number| match number % 2 {
            0 => Live::events(&server, LOG, &[]),
            _ => Live::lines(&server, "/chat/room?follow", &[]),
        })
        .collect();
    let start = Instant::now();
    let mut ends: Vec<Duration> = thread::scope(|scope| {
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut live| {
                let line = &posted.line;
                scope.spawn(move || {
                    let body = String::from_utf8(live.rest()).expect("UTF-8");
                    assert!(body.contains(line.trim_end()) && body.ends_with('\n'), "{body:?}");
                    start.elapsed()
                })
            })
            .collect();
        server.signal("TERM");
        assert_eq!(server.exit(DRAIN).code(), Some(0));
        readers.into_iter().map(|reader| reader.join().expect("a clean end")).collect()
    });
    ends.sort_unstable();
    let (first, last) = (ends[0], ends[59]);
    assert!(last < ALL_ENDED, "the last stream ends after {last:?}");
    assert!(last - first > SPREAD, "all streams end between {first:?} and {last:?}");
    assert!(ends[44] - ends[0] > SPREAD / 3, "most streams end together: {ends:?}");
}

/// A post in flight is finished, and a stream that still runs, or its next server, shows it.
#[test]
fn posts_in_flight() {
    let store = Store::new();
    let mut server = Server::on(&store);
    let other = Server::on(&store);
    let mut screen = Screen::default();
    let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
    let body = form("omri", "in flight");
    let mut client = server.half_post("room", &body);
    server.signal("TERM");
    eventually("no new connections", || {
        common::client::Client::try_connect(server.address).is_err()
    });
    client.send(body.as_bytes());
    let posted = common::check::created(&client.answer("POST").expect("an answer"));
    while let Some(event) = live.event().expect("a clean end") {
        screen.take(&event);
    }
    let mut live = screen.resume(other.address, LOG, usize::MAX).expect("a stream");
    screen.read_until(&mut live, "in flight\n").expect("no cut");
    assert_eq!(screen.log, posted.line.as_bytes());
    assert_eq!(server.exit(DRAIN).code(), Some(0));
}

/// Readers go from a server that stops to the next, again and again, under posts: nothing is
/// missing and nothing doubled.
#[test]
fn from_one_to_the_next() {
    let store = Store::new();
    let keeper = Server::on(&store);
    let mut server = Server::on(&store);
    let screens: Vec<Screen> = thread::scope(|scope| {
        let mut screens: Vec<Screen> = (0..5).map(|_| Screen::default()).collect();
        let poster = scope.spawn(|| {
            let mut client = keeper.connect();
            for number in 0..1_500 {
                let body = form("omri", &format!("line {number}"));
                assert_eq!(client.request("POST", LOG, &[FORM], body.as_bytes()).status, 201);
            }
        });
        for _ in 0..2 {
            let streams: Vec<_> = screens
                .into_iter()
                .map(|mut screen| {
                    let live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
                    scope.spawn(move || read_to_the_end(screen, live))
                })
                .collect();
            server.signal("TERM");
            assert_eq!(server.exit(DRAIN).code(), Some(0));
            screens = streams.into_iter().map(|stream| stream.join().expect("read")).collect();
            server = Server::on(&store);
        }
        poster.join().expect("posted");
        screens
    });
    keeper.say("room", "omri", "the end");
    for mut screen in screens {
        let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
        screen.read_until(&mut live, "the end\n").expect("no cut");
        assert!(screen.log == store.log("room") && screen.resets == 0);
    }
}

fn read_to_the_end(mut screen: Screen, mut live: Live) -> Screen {
    while let Some(event) = live.event().expect("a clean end") {
        screen.take(&event);
    }
    screen
}

/// Clients that do not read hold nobody up: others end cleanly, and the server within its time.
#[test]
fn nobody_reads() {
    let store = Store::new();
    store.fill_lines("large", 20_000, 1_000);
    let mut server = Server::on(&store);
    let silent: Vec<Live> = (0..20)
        .map(|number| match number % 2 {
            0 => Live::events(&server, "/chat/large", &[]),
            _ => Live::lines(&server, "/chat/large?follow", &[]),
        })
        .collect();
    let mut reader = Live::events(&server, LOG, &[]);
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(reader.event().expect("a clean end"), None);
    assert!(start.elapsed() < ALL_ENDED, "who reads waits for those who do not");
    assert_eq!(server.exit(DRAIN).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "the drain takes {:?}", start.elapsed());
    let said = server.said().join("\n");
    assert!(!said.contains("cut off"), "streams have an end of their own: {said:?}");
    drop(silent);
}
