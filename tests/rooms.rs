//! The contract's section Rooms: which names there are, and what an unwritten one reads as.

mod common;

use common::check::refused;
use common::server::{Server, encode};
use common::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::HashSet;

/// Any text of 1 to 80 bytes without control characters and without `/` is a name.
#[test]
fn good_names() {
    let store = Store::new();
    let server = Server::on(&store);
    let long = ["r".repeat(80), "😀".repeat(20), "%".repeat(80), "é".repeat(40)];
    let short = [
        "r",
        "general",
        "a b",
        " ",
        "a+b",
        "a&b=c",
        "a?b",
        "a#b",
        "a:b",
        "a\\b",
        "a\"b",
        "<b>",
        "%",
        "%41",
        ".",
        "..",
        "...",
        ".hidden",
        "~",
        "-",
        "a.log",
        "日本語",
        "\u{2028}",
        "\u{feff}",
        "e\u{301}",
        "CON",
        "*",
    ];
    for name in short.iter().copied().chain(long.iter().map(String::as_str)) {
        let posted = server.say(&encode(name), "omri", "hi");
        assert_eq!(server.get(&format!("/chat/{}", encode(name))).text(), posted.line, "{name:?}");
        assert_eq!(server.get(&format!("/{}", encode(name))).status, 200, "{name:?}");
    }
    assert_eq!(store.rooms().len(), short.len() + long.len(), "{:?}", store.contents());
}

/// Any other name is a 400, for the log and for the page.
#[test]
fn bad_names() {
    let store = Store::new();
    let server = Server::on(&store);
    let too_long = ["r".repeat(81), encode(&"€".repeat(27)), "%2e".repeat(81), "r".repeat(5000)];
    for name in &too_long {
        everywhere_refused(&server, name, &["80"]);
    }
    for name in ["a%2Fb", "%2f", "..%2Fetc", "a%00b", "%0A", "a%0Db", "%09", "%1B", "%7F", "%C2%85"]
    {
        everywhere_refused(&server, name, &[]);
    }
    for name in ["%FF", "%C3", "a%C0%AFb", "%ED%A0%80", "%F5%80%80%80"] {
        everywhere_refused(&server, name, &["UTF-8"]);
    }
    for name in ["%zz", "a%", "a%4", "%%41", "%u0041", "%-1", "%+1"] {
        everywhere_refused(&server, name, &[]);
    }
    assert!(store.rooms().is_empty(), "{:?}", store.contents());
}

fn everywhere_refused(server: &Server, name: &str, says: &[&str]) {
    for prefix in ["/chat/", "/api/chat/", "/"] {
        refused(&server.get(&format!("{prefix}{name}")), 400, says);
    }
    for (prefix, field) in [("/chat/", "message"), ("/api/chat/", "msg")] {
        let body = format!("username=omri&{field}=hi");
        refused(&server.post_form(&format!("{prefix}{name}"), &body), 400, says);
    }
}

/// Names are case-sensitive.
#[test]
fn case_matters() {
    let store = Store::new();
    let server = Server::on(&store);
    let lower = server.say("room", "omri", "in lower case");
    let upper = server.say("Room", "omri", "in upper case");
    assert_eq!(server.get("/chat/room").text(), lower.line);
    assert_eq!(server.get("/chat/Room").text(), upper.line);
    assert_eq!(server.get("/chat/ROOM").text(), "");
}

/// A segment is percent-decoded once, whatever of it was encoded.
#[test]
fn one_room_many_spellings() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = server.say("caf%C3%A9+1", "omri", "hi");
    for spelling in ["caf%c3%a9+1", "%63af%C3%A9%2B1", "ca%66%c3%A9+%31"] {
        assert_eq!(server.get(&format!("/chat/{spelling}")).text(), posted.line, "{spelling}");
    }
    assert_eq!(server.get("/chat/caf%25C3%25A9+1").text(), "");
    assert_eq!(server.get("/chat/caf%C3%A9%201").text(), "");
}

/// A room that nobody has written to is an empty log (200), and reading it creates nothing.
#[test]
fn unwritten_room() {
    let store = Store::new();
    let server = Server::on(&store);
    let before = store.contents();
    let log = server.get("/chat/nobody");
    assert_eq!((log.status, log.text(), log.etag()), (200, "", "\"0-0\""));
    assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    for target in ["/nobody", "/chat/nobody?tail=5", "/api/chat/nobody"] {
        assert_eq!(server.get(target).status, 200, "{target}");
        assert_eq!(server.head(target).status, 200, "{target}");
    }
    assert_eq!(server.get_with("/chat/nobody", &[("If-None-Match", "\"0-0\"")]).status, 304);
    server.get_with("/chat/nobody", &[("Range", "bytes=0-")]);
    assert_eq!(store.contents(), before);
}

/// A refused post creates no room either.
#[test]
fn refused_post_creates_nothing() {
    let store = Store::new();
    let server = Server::on(&store);
    let before = store.contents();
    refused(&server.post("room", "omri", ""), 400, &["message"]);
    refused(&server.post("room", "", "hi"), 400, &["username"]);
    assert_eq!(store.contents(), before);
}

/// What is posted to any name is read from that name and from no other.
#[test]
fn any_name_reads_back() {
    let store = Store::new();
    let server = Server::on(&store);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let seen = RefCell::new(HashSet::new());
    let names = "[^\\p{Cc}/]{1,24}".prop_filter("at most 80 bytes", |name| name.len() <= 80);
    let result = TestRunner::new(config).run(&names, |name| {
        let before = server.get(&format!("/chat/{}", encode(&name))).body.len();
        prop_assert_eq!(before == 0, seen.borrow_mut().insert(name.clone()));
        let posted = server.say(&encode(&name), "omri", "hi");
        let log = server.get(&format!("/chat/{}", encode(&name)));
        prop_assert!(log.text().ends_with(&posted.line));
        prop_assert_eq!(log.body.len(), before + posted.line.len());
        Ok(())
    });
    result.expect("every name is a room of its own");
}
