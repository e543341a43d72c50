//! Several servers on one directory are the normal case: the same cursors, each line once.

mod common;

use common::check::{created, parse_line};
use common::client::Cursor;
use common::eventually;
use common::server::{FORM, Posted, Server, Setup, form};
use common::store::Store;
use std::collections::{HashMap, HashSet};
use std::thread;

const LOG: &str = "/chat/room";

fn two(store: &Store) -> [Server; 2] {
    [Setup::on(store).name("left").start(), Setup::on(store).name("right").start()]
}

/// Every server gives and takes the same cursors.
#[test]
fn same_cursors() {
    let store = Store::new();
    let [left, right] = two(&store);
    let posted = left.say("room", "omri", "hi");
    eventually("the other server has the line", || right.get(LOG).etag() == posted.etag);
    let same = right.get_with(LOG, &[("If-None-Match", &posted.etag)]);
    assert_eq!(same.status, 304);
    let next = right.say("room", "dana", "hi omri");
    assert_eq!(next.cursor.epoch, posted.cursor.epoch);
    assert_eq!(next.cursor.length, posted.cursor.length + next.line.len() as u64);
    let range = format!("bytes={}-", posted.cursor.length);
    let headers = [("Range", range.as_str()), ("If-Range", next.etag.as_str())];
    eventually("the first server has it too", || left.get(LOG).etag() == next.etag);
    assert_eq!(left.get_with(LOG, &headers).text(), next.line);
    assert_eq!(left.head(LOG).header("server-name"), Some("left"));
    assert_eq!(right.head(LOG).header("server-name"), Some("right"));
}

/// A line that one server acknowledged is read from the other at once.
#[test]
fn read_after_the_other_acknowledged() {
    let store = Store::new();
    let servers = two(&store);
    let mut log = String::new();
    let mut clients = [servers[0].connect(), servers[1].connect()];
    for number in 0..100 {
        let (writer, reader) = (number % 2, (number + 1) % 2);
        let body = form("omri", &number.to_string());
        log += &created(&clients[writer].request("POST", LOG, &[FORM], body.as_bytes())).line;
        let read = clients[reader].request("GET", LOG, &[], b"");
        assert_eq!(read.text(), log, "after line {number}");
        let tail = clients[reader].request("GET", "/chat/room?tail=1", &[], b"");
        assert_eq!(tail.text(), log.split_inclusive('\n').next_back().unwrap());
    }
}

/// A log that is rotated under two servers is a new one for both.
#[test]
fn rotated_under_both() {
    let store = Store::new();
    let [left, right] = two(&store);
    left.say("room", "omri", "first");
    let old = right.say("room", "omri", "second");
    store.rotate("room");
    let new = left.say("room", "omri", "third");
    assert_ne!(new.cursor.epoch, old.cursor.epoch);
    eventually("the other server has the new log", || right.get(LOG).etag() == new.etag);
    let next = right.say("room", "omri", "fourth");
    assert_eq!(store.log("room"), (new.line + &next.line).as_bytes());
}

/// Posts interleaved on two servers: each 201 is one line of the log, at its cursor, in order.
#[test]
fn interleaved() {
    let store = Store::new();
    let servers = two(&store);
    let (clients, lines) = (8, 100);
    let posted: Vec<Vec<Posted>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|number| {
                let servers = &servers;
                scope.spawn(move || post_in_turns(servers, &format!("client{number}"), lines))
            })
            .collect();
        let readers: Vec<_> = servers.iter().map(|server| scope.spawn(|| grows(server))).collect();
        let posted = threads.into_iter().map(|thread| thread.join().expect("posted")).collect();
        for server in &servers {
            server.say("end", "omri", "all is posted");
        }
        readers.into_iter().for_each(|reader| reader.join().expect("read"));
        posted
    });
    let log = store.log("room");
    let text = std::str::from_utf8(&log).expect("UTF-8");
    for server in &servers {
        assert!(server.get(LOG).body == log);
    }
    assert_eq!(text.lines().count(), clients * lines);
    let mut cursors = HashSet::new();
    for own in &posted {
        assert!(own.is_sorted_by_key(|posted| posted.cursor.length), "in each client's order");
        for posted in own {
            assert!(cursors.insert(posted.cursor.length), "two lines at {}", posted.etag);
            assert!(log[..posted.cursor.length as usize].ends_with(posted.line.as_bytes()));
        }
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for line in text.split_inclusive('\n') {
        let (username, message) = parse_line(line);
        let count = seen.entry(username).or_default();
        assert_eq!(message, format!("line {count}"), "of {username}");
        *count += 1;
    }
}

fn post_in_turns(servers: &[Server; 2], name: &str, lines: usize) -> Vec<Posted> {
    let mut clients = [servers[0].connect(), servers[1].connect()];
    let mut post = |number: usize| {
        let body = form(name, &format!("line {number}"));
        created(&clients[number % 2].request("POST", LOG, &[FORM], body.as_bytes()))
    };
    (0..lines).map(&mut post).collect()
}

/// Reads a growing log until the room `end` has a line: what was seen once never changes.
fn grows(server: &Server) {
    let mut client = server.connect();
    let mut seen = Vec::new();
    let mut cursor = Cursor { epoch: "0".into(), length: 0 };
    while client.request("HEAD", "/chat/end", &[], b"").etag() == "\"0-0\"" {
        let log = client.request("GET", LOG, &[], b"");
        assert!(log.body.starts_with(&seen), "what a reader has seen is never taken back");
        assert!(log.body.is_empty() || log.body.ends_with(b"\n"), "a torn line");
        assert_eq!(log.cursor().length, log.body.len() as u64);
        assert!(cursor.epoch == "0" || log.cursor().epoch == cursor.epoch);
        cursor = log.cursor();
        seen = log.body;
    }
}

/// Two servers that create the same rooms at the same moment lose none of their first lines.
#[test]
fn first_lines_together() {
    let store = Store::new();
    let servers = two(&store);
    thread::scope(|scope| {
        for server in &servers {
            scope.spawn(move || {
                for number in 0..50 {
                    server.say(&format!("room{number}"), "omri", "hi");
                }
            });
        }
    });
    for number in 0..50 {
        let log = servers[number % 2].get(&format!("/chat/room{number}"));
        assert_eq!(log.text().lines().count(), 2, "room{number}");
    }
}

/// Any server takes over from any other: one is gone, its cursor goes on at the next.
#[test]
fn take_over() {
    let store = Store::new();
    let [mut left, right] = two(&store);
    left.say("room", "omri", "first");
    let seen = left.say("room", "omri", "second");
    left.kill();
    let news = right.say("room", "dana", "third");
    let range = format!("bytes={}-", seen.cursor.length);
    assert_eq!(right.get_with(LOG, &[("Range", &range)]).text(), news.line);
    let left = Server::on(&store);
    assert_eq!(left.get(LOG).etag(), news.etag);
}

/// Posts to many rooms from many clients of both servers are each where they belong.
#[test]
fn many_rooms() {
    let store = Store::new();
    let servers = two(&store);
    let rooms = 150;
    thread::scope(|scope| {
        for poster in 0..4 {
            let server = &servers[poster % 2];
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 0..rooms {
                    let body = form(&format!("poster{poster}"), &format!("to room{number}"));
                    let target = format!("/chat/room{number}");
                    created(&client.request("POST", &target, &[FORM], body.as_bytes()));
                }
            });
        }
    });
    for number in 0..rooms {
        let log = servers[number % 2].get(&format!("/chat/room{number}"));
        let mut names: Vec<_> = log.text().split_inclusive('\n').map(parse_line).collect();
        names.sort_unstable();
        let message = format!("to room{number}");
        let posters = ["poster0", "poster1", "poster2", "poster3"];
        assert_eq!(names, posters.map(|poster| (poster, message.as_str())));
    }
}
