//! The contract's section The idea: a log that is taken away, or that another one took the place
//! of, is another log: every cursor of the old one says so.

mod common;

use common::check::{created, refused};
use common::live::{Live, unquoted};
use common::server::{Posted, Server, form};
use common::store::Store;

const LOG: &str = "/chat/room";

/// Servers that have the room open: one wrote it and both read it.
fn busy(store: &Store) -> ([Server; 2], Posted) {
    let servers = [Server::on(store), Server::on(store)];
    servers[0].say("room", "omri", "first");
    let posted = servers[0].say("room", "omri", "second");
    for server in &servers {
        assert_eq!(server.get(LOG).etag(), posted.etag);
    }
    (servers, posted)
}

/// Checks that the room is another log now, and which.
fn check_new_log(server: &Server, old: &Posted, text: &str) {
    for headers in [&[][..], &[("If-None-Match", old.etag.as_str())]] {
        let log = server.get_with(LOG, headers);
        assert_eq!((log.status, log.text()), (200, text));
        assert_ne!(log.cursor().epoch, old.cursor.epoch);
        assert_eq!(log.cursor().length, text.len() as u64);
    }
    let resumed = [("Range", "bytes=1-"), ("If-Range", old.etag.as_str())];
    assert_eq!(server.get_with(LOG, &resumed).text(), text);
}

/// A log that was taken away is an empty one, for whoever reads, and for whoever posts.
#[test]
fn removed() {
    let store = Store::new();
    let (servers, old) = busy(&store);
    store.remove("room");
    for server in &servers {
        check_new_log(server, &old, "");
        assert_eq!(server.get(LOG).etag(), "\"0-0\"");
    }
    let new = servers[1].say("room", "omri", "another first");
    assert_eq!(new.cursor.length, new.line.len() as u64);
    servers.iter().for_each(|server| check_new_log(server, &old, &new.line));
    assert_eq!(store.log("room"), new.line.as_bytes());
}

/// A post that comes before any read notices it too, on the server that wrote it and on another.
#[test]
fn removed_and_posted() {
    for number in 0..2 {
        let store = Store::new();
        let (servers, old) = busy(&store);
        store.remove("room");
        let stale = format!("{}&after={}", form("omri", "second"), unquoted(&old.etag));
        let answer = servers[number].post_form(LOG, &stale);
        refused(&answer, 412, &[]);
        assert_eq!(answer.etag(), "\"0-0\"");
        let again = format!("{}&after=0-0", form("omri", "second"));
        let new = created(&servers[number].post_form(LOG, &again));
        assert_ne!(new.cursor.epoch, old.cursor.epoch);
        assert_eq!(store.log("room"), new.line.as_bytes());
    }
}

/// A log that another one took the place of is that one, be it longer or shorter.
#[test]
fn replaced() {
    let line = "[2018-02-25 14:00:51] dana: a line of another log\n";
    for text in [line.to_string(), line.repeat(1_000)] {
        let store = Store::new();
        let (servers, old) = busy(&store);
        store.remove("room");
        store.fill("room", text.as_bytes());
        for server in &servers {
            check_new_log(server, &old, &text);
        }
        let posted = servers[1].say("room", "omri", "in the other log");
        assert_eq!(store.log("room"), (text + &posted.line).as_bytes());
    }
}

/// On every screen a reset, and then the new log from its start.
#[test]
fn under_a_stream() {
    let store = Store::new();
    let (servers, old) = busy(&store);
    let mut streams: Vec<Live> = Vec::new();
    for server in &servers {
        for target in [LOG, "/chat/room?tail=1"] {
            streams.push(Live::events(server, target, &[("Last-Event-ID", unquoted(&old.etag))]));
        }
    }
    for message in ["another first", "and another"] {
        store.remove("room");
        for live in &mut streams {
            assert_eq!(live.expect_reset(), "0-0");
        }
        let new = servers[1].say("room", "omri", message);
        for live in &mut streams {
            assert_eq!(live.expect_line(&new.line), unquoted(&new.etag));
        }
    }
}

/// The epoch is of the first line alone, whichever room and store it is in.
#[test]
fn epochs() {
    let (store, other) = (Store::new(), Store::new());
    let first = "[2018-02-25 14:00:51] dana: the same first line\n";
    store.fill("short", first.as_bytes());
    store.fill("long", first.repeat(3).as_bytes());
    store.fill("else", first.replace("same", "Same").as_bytes());
    other.fill("copy", first.as_bytes());
    let (server, elsewhere) = (Server::on(&store), Server::on(&other));
    let short = server.head("/chat/short");
    assert_eq!(server.head("/chat/long").cursor().epoch, short.cursor().epoch);
    assert_ne!(server.head("/chat/else").cursor().epoch, short.cursor().epoch);
    assert_eq!(elsewhere.head("/chat/copy").etag(), short.etag());
    let posted = server.say("short", "omri", "more");
    assert_eq!(posted.cursor.epoch, short.cursor().epoch);
}
