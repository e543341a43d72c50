//! The contract's section Live: where a stream begins, by `tail`, `after` and `Last-Event-ID`.

mod common;

use common::check::refused;
use common::live::{EVENTS, Live, unquoted};
use common::screen::Screen;
use common::server::{Posted, Server, encode};
use common::store::Store;

const LOG: &str = "/chat/room";

fn say_many(server: &Server, lines: usize) -> Vec<Posted> {
    (0..lines).map(|number| server.say("room", "omri", &format!("line {number}"))).collect()
}

fn text(posted: &[Posted]) -> String {
    posted.iter().map(|posted| posted.line.as_str()).collect()
}

/// `tail` says how much history comes first, of events and of lines.
#[test]
fn tail() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut posted = say_many(&server, 5);
    let mut streams: Vec<_> = [(0, 5), (2, 3), (5, 0), (1_000_000, 0)]
        .map(|(tail, first)| {
            let events = Live::events(&server, &format!("{LOG}?tail={tail}"), &[]);
            let length = text(&posted[..first]).len();
            assert_eq!(events.start, format!("{}-{length}", posted[0].cursor.epoch));
            let lines = Live::lines(&server, &format!("{LOG}?tail={tail}&follow"), &[]);
            (events, lines, first)
        })
        .into();
    posted.push(server.say("room", "omri", "live"));
    for (events, lines, first) in &mut streams {
        for posted in &posted[*first..] {
            assert_eq!(events.expect_line(&posted.line), unquoted(&posted.etag));
        }
        lines.expect_bytes(text(&posted[*first..]).as_bytes());
    }
}

/// A cursor resumes exactly there, whichever way it is given and whatever `tail` says.
#[test]
fn resumes() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut posted = say_many(&server, 6);
    let (old, new) = (unquoted(&posted[1].etag).to_string(), unquoted(&posted[3].etag).to_string());
    let id = [("Last-Event-ID", new.as_str())];
    let cases = [
        (LOG.to_string(), &id[..]),
        (format!("{LOG}?tail=1"), &id),
        (format!("{LOG}?after={old}"), &id),
        (format!("{LOG}?after=0badc0de-99999"), &id),
        (format!("{LOG}?after={new}"), &[]),
        (format!("{LOG}?after={new}&tail=0"), &[]),
    ];
    let mut streams: Vec<_> = cases
        .iter()
        .map(|(target, headers)| {
            let events = Live::events(&server, target, headers);
            assert_eq!(events.start, new, "{target}");
            let mark = if target.contains('?') { '&' } else { '?' };
            (events, Live::lines(&server, &format!("{target}{mark}follow"), headers))
        })
        .collect();
    posted.push(server.say("room", "omri", "live"));
    for (events, lines) in &mut streams {
        for posted in &posted[4..] {
            assert_eq!(events.expect_line(&posted.line), unquoted(&posted.etag));
        }
        lines.expect_bytes(text(&posted[4..]).as_bytes());
    }
}

/// Who has everything gets nothing but what comes.
#[test]
fn at_the_end() {
    let store = Store::new();
    let server = Server::on(&store);
    let last = say_many(&server, 3).pop().expect("a line");
    let mut live = Live::events(&server, LOG, &[("Last-Event-ID", unquoted(&last.etag))]);
    assert_eq!(live.start, unquoted(&last.etag));
    let next = server.say("room", "omri", "next");
    assert_eq!(live.expect_line(&next.line), unquoted(&next.etag));
}

/// A length of 0 fits every epoch: the whole log comes, and no reset.
#[test]
fn length_zero() {
    let store = Store::new();
    let server = Server::on(&store);
    for cursor in ["0-0", "0badc0de-0"] {
        let empty = Live::events(&server, "/chat/empty", &[("Last-Event-ID", cursor)]);
        assert_eq!(empty.start, "0-0");
    }
    let posted = say_many(&server, 3);
    for cursor in ["0-0".to_string(), "0badc0de-0".into(), format!("{}-0", posted[0].cursor.epoch)]
    {
        let mut by_id = Live::events(&server, LOG, &[("Last-Event-ID", &cursor)]);
        let mut by_query = Live::events(&server, &format!("{LOG}?after={cursor}&tail=1"), &[]);
        for live in [&mut by_id, &mut by_query] {
            assert_eq!(live.start, format!("{}-0", posted[0].cursor.epoch));
            posted.iter().for_each(|posted| drop(live.expect_line(&posted.line)));
        }
    }
}

/// A cursor of another log, or none at all: a reset, then the log from its start or its tail.
#[test]
fn resets() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = say_many(&server, 4);
    let (epoch, end) = (&posted[0].cursor.epoch, posted[3].cursor.length);
    let middle = posted[1].cursor.length;
    let start = format!("{epoch}-0");
    let foreign = [
        format!("0badc0de-{middle}"),
        format!("0-{middle}"),
        format!("{epoch}-{}", end + 1),
        format!("{epoch}-{}", u64::MAX),
        format!("{epoch}-{}", middle - 1),
        format!("{epoch}-{}", middle + 1),
    ];
    let garbage =
        ["x", "-", "188d37b4", "1-2-3", "\"0-0\"", "0-00", "\u{e9}", "0-18446744073709551616"];
    for cursor in foreign.iter().map(String::as_str).chain(garbage) {
        let mut live = Live::events(&server, LOG, &[("Last-Event-ID", cursor)]);
        assert_eq!(live.expect_reset(), start, "{cursor}");
        posted.iter().for_each(|posted| drop(live.expect_line(&posted.line)));
        let mut tail =
            Live::events(&server, &format!("{LOG}?tail=2"), &[("Last-Event-ID", cursor)]);
        assert_eq!(tail.expect_reset(), unquoted(&posted[1].etag), "{cursor}");
        posted[2..].iter().for_each(|posted| drop(tail.expect_line(&posted.line)));
        let mut lines =
            Live::lines(&server, &format!("{LOG}?follow"), &[("Last-Event-ID", cursor)]);
        lines.expect_bytes(text(&posted).as_bytes());
    }
    for cursor in &foreign {
        let mut live = Live::events(&server, &format!("{LOG}?after={cursor}"), &[]);
        assert_eq!(live.expect_reset(), start, "{cursor}");
        posted.iter().for_each(|posted| drop(live.expect_line(&posted.line)));
        let mut lines = Live::lines(&server, &format!("{LOG}?follow&tail=1&after={cursor}"), &[]);
        lines.expect_bytes(posted[3].line.as_bytes());
    }
    let mut empty = Live::events(&server, "/chat/empty", &[("Last-Event-ID", &foreign[0])]);
    assert_eq!(empty.expect_reset(), "0-0");
    let first = server.say("empty", "omri", "first");
    empty.expect_line(&first.line);
}

/// A malformed `after` is refused, and so is one without a stream.
#[test]
fn malformed_after() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = say_many(&server, 1).remove(0);
    for cursor in ["", "x", "-", "0-", "0-01", "0-+1", "ABCDEF01-1", "0-0-0", &posted.etag, " 0-0"]
    {
        let target = format!("{LOG}?after={}", encode(cursor));
        refused(&server.get_with(&target, &[EVENTS]), 400, &["after"]);
        refused(&server.get(&format!("{target}&follow")), 400, &["after"]);
        refused(&server.get_with(&target, &[EVENTS, ("Last-Event-ID", "0-0")]), 400, &["after"]);
    }
    let target = format!("{LOG}?after={}", unquoted(&posted.etag));
    refused(&server.get(&target), 400, &["after"]);
    refused(&server.get(&format!("{target}&tail=1")), 400, &["after"]);
    refused(&server.get_with(&format!("{target}&after=0-0"), &[EVENTS]), 400, &[]);
}

/// A stream that is cut after any byte resumes without gap or double, on either of two servers.
#[test]
fn cut_after_any_byte() {
    let store = Store::new();
    let line = |number: usize| format!("[2018-02-25 14:00:51] omri: line {number}\n");
    store.fill("room", ((0..12).map(line).collect::<String>() + "\n\nby hand\n").as_bytes());
    let servers = [Server::on(&store), Server::on(&store)];
    servers[0].say("room", "omri", "the end");
    let log = store.log("room");
    let (mut cut, mut whole) = (0, false);
    while !whole {
        let mut screen = Screen::default();
        let first = screen.resume(servers[cut % 2].address, LOG, cut);
        whole = first.is_ok_and(|mut live| screen.read_until(&mut live, "the end\n").is_ok());
        let second = screen.resume(servers[(cut + 1) % 2].address, LOG, usize::MAX);
        screen.read_until(&mut second.expect("a stream"), "the end\n").expect("no cut");
        assert!(screen.log == log && screen.resets == 0, "cut after {cut} bytes");
        cut += 1;
    }
    assert!(cut > log.len(), "cut after each byte of the log at least");
}
