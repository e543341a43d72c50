//! The contract's section Posting exactly once: what `after` finds, and what it refuses.

mod common;

use common::check::{created, is_line, refused};
use common::client::Response;
use common::live::unquoted;
use common::server::{FORM, Posted, Server, form};
use common::store::Store;
use std::sync::Barrier;
use std::thread;

const LOG: &str = "/chat/room";

/// How far back a cursor may be, in bytes.
const REACH: usize = 1024 * 1024;

fn post_after(server: &Server, username: &str, message: &str, after: &str) -> Response {
    server.post_form(LOG, &format!("{}&after={after}", form(username, message)))
}

/// Checks that an answer is this line, found again.
fn found(answer: &Response, posted: &Posted) {
    assert_eq!(answer.status, 200, "{answer:?} {:?}", answer.text());
    assert_eq!((answer.text(), answer.etag()), (posted.line.as_str(), posted.etag.as_str()));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("location"), Some(LOG));
}

/// A repeat is answered with the line of the first, also when others wrote before and after it.
#[test]
fn repeats() {
    let store = Store::new();
    let servers = [Server::on(&store), Server::on(&store)];
    let before = servers[0].say("room", "dana", "before");
    let after = unquoted(&before.etag);
    let first = created(&post_after(&servers[0], "omri", "hi", after));
    servers[1].say("room", "dana", "since");
    let log = store.log("room");
    for round in 0..6 {
        found(&post_after(&servers[round % 2], "omri", "hi", after), &first);
        found(&post_after(&servers[round % 2], "omri", "hi", "0-0"), &first);
    }
    assert!(store.log("room") == log);
}

/// Only the same name with the same message counts, and only after the cursor.
#[test]
fn others() {
    let store = Store::new();
    let server = Server::on(&store);
    let start = server.say("room", "omri", "hi");
    let after = unquoted(&start.etag);
    let second = created(&post_after(&server, "omri", "hi", after));
    for (username, message) in [
        ("dana", "hi"),
        ("omri", "hi!"),
        ("omri", "Hi"),
        ("omri", "h"),
        ("omri", " hi"),
        ("mri", "hi"),
    ] {
        let answer = post_after(&server, username, message, after);
        is_line(&created(&answer).line, username, message);
    }
    found(&post_after(&server, "omri", "hi", after), &second);
    let third = created(&post_after(&server, "omri", "hi", unquoted(&second.etag)));
    found(&post_after(&server, "omri", "hi", after), &second);
    found(&post_after(&server, "omri", "hi", unquoted(&second.etag)), &third);
    found(&post_after(&server, "omri", "hi", "0-0"), &start);
}

/// What is compared is what is stored: trimmed names, and line breaks as their sign.
#[test]
fn compared_as_stored() {
    let store = Store::new();
    let server = Server::on(&store);
    let first = created(&post_after(&server, " omri ", "a\r\nb", "0-0"));
    for message in ["a\nb", "a\rb", "a\u{2028}b", "a⏎b"] {
        found(&post_after(&server, "omri", message, "0-0"), &first);
    }
    created(&post_after(&server, "omri", "a b", "0-0"));
}

/// An empty room takes `0-0`, whose epoch no log has, and so does any room, from its start.
#[test]
fn empty_room() {
    let store = Store::new();
    let server = Server::on(&store);
    let first = created(&post_after(&server, "omri", "hi", "0-0"));
    found(&post_after(&server, "omri", "hi", "0-0"), &first);
    found(&post_after(&server, "omri", "hi", "0badc0de-0"), &first);
    found(&post_after(&server, "omri", "hi", &format!("{}-0", first.cursor.epoch)), &first);
    assert_eq!(store.log("room"), first.line.as_bytes());
    store.remove("room");
    created(&post_after(&server, "omri", "hi", "0-0"));
}

/// Without a cursor, or with an empty one, each post is a new line.
#[test]
fn without() {
    let store = Store::new();
    let server = Server::on(&store);
    for _ in 0..2 {
        server.say("room", "omri", "hi");
        created(&post_after(&server, "omri", "hi", ""));
    }
    assert_eq!(server.get(LOG).text().lines().count(), 4);
}

/// What is no cursor is refused, and nothing is posted.
#[test]
fn malformed() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = server.say("room", "omri", "hi");
    let quoted = posted.etag.replace('"', "%22");
    for after in
        ["x", "-", "0", "0-", "0-01", "0-%2B1", "ABCDEF01-0", "0-0-0", "+0-0", &quoted, "%FF"]
    {
        refused(&post_after(&server, "omri", "hi", after), 400, &["after"]);
    }
    assert_eq!(store.log("room"), posted.line.as_bytes());
}

/// A cursor of another log is refused with the current one, whatever stands in the log.
#[test]
fn of_another_log() {
    let store = Store::new();
    let server = Server::on(&store);
    server.say("room", "omri", "hi");
    let last = server.say("room", "omri", "ho");
    let (epoch, end) = (&last.cursor.epoch, last.cursor.length);
    let log = store.log("room");
    for after in [
        format!("0badc0de-{end}"),
        format!("0-{end}"),
        format!("{epoch}-{}", end + 1),
        format!("{epoch}-{}", end - 1),
        format!("{epoch}-1"),
        format!("{epoch}-{}", u64::MAX),
    ] {
        let answer = post_after(&server, "omri", "hi", &after);
        refused(&answer, 412, &[]);
        assert_eq!(answer.etag(), last.etag, "{after}");
    }
    assert!(store.log("room") == log);
    store.rotate("room");
    let answer = post_after(&server, "omri", "hi", unquoted(&last.etag));
    refused(&answer, 412, &[]);
    assert_eq!(answer.etag(), "\"0-0\"");
    let room = "room".to_string();
    assert!(!store.rooms().contains(&room), "a refused post creates nothing");
    let new = created(&post_after(&server, "omri", "hi", "0-0"));
    let answer = post_after(&server, "omri", "hi", unquoted(&last.etag));
    assert_eq!((answer.status, answer.etag()), (412, new.etag.as_str()));
}

/// A cursor may be 1 MiB back and no more.
#[test]
fn too_far_back() {
    let store = Store::new();
    let line = |length: usize| format!("[2018-02-25 14:00:51] dana: {}\n", "x".repeat(length - 29));
    let (first, said) = (line(64), "[2018-02-25 14:00:51] omri: hi\n");
    let lines =
        |length: usize| line(1_024).repeat(length / 1_024 - 1) + &line(1_024 + length % 1_024);
    let rest = REACH - said.len();
    store.fill("room", (first.clone() + said + &lines(rest)).as_bytes());
    store.fill("far", (first.clone() + said + &lines(rest + 1)).as_bytes());
    let server = Server::on(&store);
    let now = server.head("/chat/room");
    assert_eq!(now.cursor().length as usize, first.len() + REACH);
    let after = format!("{}-{}", now.cursor().epoch, first.len());
    let answer = post_after(&server, "omri", "hi", &after);
    assert_eq!((answer.status, answer.text()), (200, said));
    let now = server.head("/chat/far");
    let post = |after: &str| {
        server.post_form("/chat/far", &format!("{}&after={after}", form("omri", "hi")))
    };
    for after in [after.as_str(), "0-0"] {
        let answer = post(after);
        refused(&answer, 412, &[]);
        assert_eq!(answer.etag(), now.etag());
    }
    created(&post(&format!("{}-{}", now.cursor().epoch, first.len() + said.len())));
}

/// `after` works in every form that a post may have, and a browser's form gets its way back.
#[test]
fn in_every_form() {
    let store = Store::new();
    let server = Server::on(&store);
    let first = created(&post_after(&server, "omri", "hi", "0-0"));
    let fields = [("username", "omri"), ("message", "hi"), ("msg", "hi"), ("after", "0-0")];
    let part = |(name, value)| {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = fields.map(part).concat() + "--XX--\r\n";
    let kind = [("Content-Type", "multipart/form-data; boundary=XX")];
    found(&server.send("POST", LOG, &kind, multipart.as_bytes()), &first);
    found(&server.send("POST", "/api/chat/room", &kind, multipart.as_bytes()), &first);
    found(&server.post_form("/api/chat/room", "after=0-0&msg=hi&username=omri"), &first);
    found(&server.post_form(LOG, "after=0-0&after=x&message=hi&username=omri"), &first);
    let html = [FORM, ("Accept", "text/html,*/*;q=0.8")];
    let answer = server.send("POST", LOG, &html, b"after=0-0&message=hi&username=omri");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/room")));
    assert_eq!(store.log("room"), first.line.as_bytes());
}

/// Identical repeats at the same moment on two servers: one line, one 201, the same answer for all.
#[test]
fn twins() {
    let store = Store::new();
    let servers = [Server::on(&store), Server::on(&store)];
    let (posters, rounds) = (8, 60);
    let barrier = Barrier::new(posters);
    let answers: Vec<Vec<Response>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..posters)
            .map(|number| {
                let (server, barrier) = (&servers[number % 2], &barrier);
                scope.spawn(move || {
                    let mut client = server.connect();
                    (0..rounds)
                        .map(|round| {
                            let body = format!("{}&after=0-0", form("omri", &format!("{round}")));
                            barrier.wait();
                            client.request("POST", LOG, &[FORM], body.as_bytes())
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("posted")).collect()
    });
    for round in 0..rounds {
        let of_round: Vec<&Response> = answers.iter().map(|answers| &answers[round]).collect();
        let new: Vec<_> = of_round.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(new.len(), 1, "of {of_round:?}");
        let posted = created(new[0]);
        is_line(&posted.line, "omri", &round.to_string());
        of_round.iter().filter(|a| a.status != 201).for_each(|answer| found(answer, &posted));
    }
    assert_eq!(String::from_utf8(store.log("room")).expect("UTF-8").lines().count(), rounds);
}
