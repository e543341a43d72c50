//! The contract's section Reading: `Range` and `If-Range`, by RFC 9110.

mod common;

use common::check::refused;
use common::client::Response;
use common::server::Server;
use common::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

const LOG: &str = "/chat/room";

/// A room of three lines: the log as text and its `ETag`.
fn fill(server: &Server) -> (String, String) {
    let posted = ["first", "second", "third"].map(|text| server.say("room", "omri", text));
    (posted.iter().map(|posted| posted.line.as_str()).collect(), posted[2].etag.clone())
}

fn range(server: &Server, range: &str) -> Response {
    server.get_with(LOG, &[("Range", range)])
}

/// `bytes=N-`, `N-M` and `-N` are 206 with just these bytes.
#[test]
fn parts() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server);
    let (end, many) = (text.len(), "9".repeat(30));
    let last = end - 1;
    for (asked, first, until) in [
        ("bytes=0-".to_string(), 0, end),
        ("bytes=0-0".into(), 0, 1),
        ("bytes=5-9".into(), 5, 10),
        (format!("bytes={last}-"), last, end),
        (format!("bytes=3-{last}"), 3, end),
        (format!("bytes=3-{end}"), 3, end),
        ("bytes=3-1000000".into(), 3, end),
        (format!("bytes=3-{many}"), 3, end),
        ("bytes=-1".into(), last, end),
        ("bytes=-10".into(), end - 10, end),
        (format!("bytes=-{end}"), 0, end),
        ("bytes=-1000000".into(), 0, end),
        (format!("bytes=-{many}"), 0, end),
        ("Bytes=5-9".into(), 5, 10),
        ("bytes=005-9".into(), 5, 10),
    ] {
        let answer = range(&server, &asked);
        assert_eq!((answer.status, answer.text()), (206, &text[first..until]), "{asked}");
        let place = format!("bytes {first}-{}/{end}", until - 1);
        assert_eq!(answer.header("content-range"), Some(place.as_str()), "{asked}");
        let length = (until - first).to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()), "{asked}");
        assert_eq!(answer.etag(), etag, "{asked}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
    }
}

/// A range that begins at the end or after it is a 416 with the length.
#[test]
fn beyond_the_end() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server);
    let end = text.len();
    let place = format!("bytes */{end}");
    for asked in [
        format!("bytes={end}-"),
        format!("bytes={end}-{end}"),
        format!("bytes={}-", end + 1),
        format!("bytes={}-", "9".repeat(30)),
        "bytes=-0".into(),
    ] {
        let answer = range(&server, &asked);
        refused(&answer, 416, &[]);
        assert_eq!(answer.header("content-range"), Some(place.as_str()), "{asked}");
    }
    server.say("room", "omri", "fourth");
    assert_eq!(range(&server, &format!("bytes={end}-")).status, 206);
}

/// Several ranges, unknown units and malformed ranges are ignored: the whole log.
#[test]
fn ignored() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server);
    for asked in [
        "bytes=0-1,3-4",
        "bytes=0-1, -1",
        "lines=0-1",
        "items=5-",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=x",
        "bytes=1",
        "bytes=2-1",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=1-2-3",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0x0-1",
        "bytes 0-1",
        "=0-1",
        "0-1",
        "bytes=1.0-2",
        "",
    ] {
        let answer = range(&server, asked);
        assert_eq!((answer.status, answer.text()), (200, text.as_str()), "{asked}");
        assert_eq!(answer.header("content-range"), None, "{asked}");
    }
}

/// `Range` is for `GET` alone, and `?tail` has its own lines to give.
#[test]
fn not_ranged() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server);
    let head = server.send("HEAD", LOG, &[("Range", "bytes=1-2")], b"");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some(text.len().to_string().as_str()));
    let tail = server.get_with("/chat/room?tail=1", &[("Range", "bytes=1-2")]);
    assert_eq!((tail.status, tail.text()), (200, text.split_inclusive('\n').next_back().unwrap()));
    assert_eq!(tail.header("content-range"), None);
    assert_eq!(server.get_with("/room", &[("Range", "bytes=1-2")]).status, 200);
}

/// An empty log has no byte to give: 416, but for a suffix, which has nothing to cut.
#[test]
fn of_an_empty_log() {
    let store = Store::new();
    let server = Server::on(&store);
    for asked in ["bytes=0-", "bytes=0-5", "bytes=7-"] {
        let answer = range(&server, asked);
        refused(&answer, 416, &[]);
        assert_eq!(answer.header("content-range"), Some("bytes */0"), "{asked}");
    }
    let suffix = range(&server, "bytes=-5");
    assert_eq!((suffix.status, suffix.text()), (200, ""));
}

/// `If-Range` with the current `ETag` gives the range, anything else the whole log.
#[test]
fn if_range() {
    let store = Store::new();
    let server = Server::on(&store);
    let first = server.say("room", "omri", "before");
    let (rest, etag) = fill(&server);
    let text = first.line + &rest;
    let ask = |tag: &str| server.get_with(LOG, &[("Range", "bytes=5-9"), ("If-Range", tag)]);
    assert_eq!((ask(&etag).status, ask(&etag).text()), (206, &text[5..10]));
    let weak = format!("W/{etag}");
    for tag in [first.etag.as_str(), &weak, "\"x\"", "Tue, 01 Jan 2199 00:00:00 GMT"] {
        assert_eq!((ask(tag).status, ask(tag).text()), (200, text.as_str()), "{tag}");
    }
    let alone = server.get_with(LOG, &[("If-Range", "\"x\"")]);
    assert_eq!((alone.status, alone.text()), (200, text.as_str()));
    let far = [("Range", "bytes=1000000-"), ("If-Range", "\"x\"")];
    assert_eq!(server.get_with(LOG, &far).status, 200);
}

/// `If-None-Match` comes before `Range` (RFC 9110, 13.2.2).
#[test]
fn condition_first() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server);
    let ask =
        |tag: &str, range: &str| server.get_with(LOG, &[("If-None-Match", tag), ("Range", range)]);
    assert_eq!(ask(&etag, "bytes=5-9").status, 304);
    assert_eq!(ask(&etag, "bytes=1000000-").status, 304);
    let part = ask("\"x\"", "bytes=5-9");
    assert_eq!((part.status, part.text()), (206, &text[5..10]));
}

/// A poll from the last length gives just what is new, and 416 where nothing is.
#[test]
fn polling() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut seen = String::new();
    for number in 0..20 {
        let posted = server.say("room", "omri", &number.to_string());
        let asked = format!("bytes={}-", seen.len());
        let news = range(&server, &asked);
        assert_eq!((news.status, news.text()), (206, posted.line.as_str()));
        seen += news.text();
        let asked = format!("bytes={}-", seen.len());
        assert_eq!(range(&server, &asked).status, 416);
    }
}

/// Any range is what RFC 9110 says it is of the same bytes.
#[test]
fn any_range() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server);
    let end = text.len();
    let client = RefCell::new(server.connect());
    let number = || prop_oneof![0..end * 2, (end - 2)..(end + 2)];
    let ranges = (proptest::option::of(number()), proptest::option::of(number()));
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&ranges, |(from, to)| {
        let digits = |number: Option<usize>| number.map_or(String::new(), |n| n.to_string());
        let asked = format!("bytes={}-{}", digits(from), digits(to));
        let answer = client.borrow_mut().request("GET", LOG, &[("Range", &asked)], b"");
        let (status, part) = match (from, to) {
            (None, None) => (200, &text[..]),
            (None, Some(0)) => (416, ""),
            (None, Some(count)) => (206, &text[end - count.min(end)..]),
            (Some(from), Some(to)) if to < from => (200, &text[..]),
            (Some(from), _) if from >= end => (416, ""),
            (Some(from), Some(to)) => (206, &text[from..(to + 1).min(end)]),
            (Some(from), None) => (206, &text[from..]),
        };
        prop_assert_eq!(answer.status, status, "{}", &asked);
        prop_assert!(status == 416 || answer.text() == part, "{}: {}", &asked, answer.text());
        Ok(())
    });
    result.expect("every range");
}
