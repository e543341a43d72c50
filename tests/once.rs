//! The contract's section Posting exactly once: what `after` finds, and what it refuses.

mod common;

use common::check::{created, is_line, refused};
use common::client::Response;
use common::dir::TempDir;
use common::live::{append, unquoted, write_log};
use common::server::{FORM, Posted, Server, Setup, form};
use std::fs;
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
    let dir = TempDir::new();
    let servers = [Server::on(&dir), Server::on(&dir)];
    let before = servers[0].say("room", "dana", "before");
    let after = unquoted(&before.etag);
    let first = created(&post_after(&servers[0], "omri", "hi", after));
    servers[1].say("room", "dana", "since");
    let log = dir.read("room.log");
    for round in 0..6 {
        found(&post_after(&servers[round % 2], "omri", "hi", after), &first);
        found(&post_after(&servers[round % 2], "omri", "hi", "0-0"), &first);
    }
    assert!(dir.read("room.log") == log);
}

/// Only the same name with the same message counts, and only after the cursor.
#[test]
fn others() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
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
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let first = created(&post_after(&server, " omri ", "a\r\nb", "0-0"));
    for message in ["a\nb", "a\rb", "a\u{2028}b", "a⏎b"] {
        found(&post_after(&server, "omri", message, "0-0"), &first);
    }
    created(&post_after(&server, "omri", "a b", "0-0"));
}

/// An empty room takes `0-0`, whose epoch no log has, and so does any room, from its start.
#[test]
fn empty_room() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let first = created(&post_after(&server, "omri", "hi", "0-0"));
    found(&post_after(&server, "omri", "hi", "0-0"), &first);
    found(&post_after(&server, "omri", "hi", "0badc0de-0"), &first);
    found(&post_after(&server, "omri", "hi", &format!("{}-0", first.cursor.epoch)), &first);
    assert_eq!(dir.read("room.log"), first.line.as_bytes());
    fs::remove_file(dir.file("room.log")).expect("removed");
    created(&post_after(&server, "omri", "hi", "0-0"));
}

/// Without a cursor, or with an empty one, each post is a new line.
#[test]
fn without() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    for _ in 0..2 {
        server.say("room", "omri", "hi");
        created(&post_after(&server, "omri", "hi", ""));
    }
    assert_eq!(server.get(LOG).text().lines().count(), 4);
}

/// What is no cursor is refused, and nothing is posted.
#[test]
fn malformed() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let posted = server.say("room", "omri", "hi");
    let quoted = posted.etag.replace('"', "%22");
    for after in
        ["x", "-", "0", "0-", "0-01", "0-%2B1", "ABCDEF01-0", "0-0-0", "+0-0", &quoted, "%FF"]
    {
        refused(&post_after(&server, "omri", "hi", after), 400, &["after"]);
    }
    assert_eq!(dir.read("room.log"), posted.line.as_bytes());
}

/// A cursor of another log is refused with the current one, whatever stands in the log.
#[test]
fn of_another_log() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    server.say("room", "omri", "hi");
    let last = server.say("room", "omri", "ho");
    let (epoch, end) = (&last.cursor.epoch, last.cursor.length);
    let log = dir.read("room.log");
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
    assert!(dir.read("room.log") == log);
    fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
    let answer = post_after(&server, "omri", "hi", unquoted(&last.etag));
    refused(&answer, 412, &[]);
    assert_eq!(answer.etag(), "\"0-0\"");
    assert!(!dir.file("room.log").exists(), "a refused post creates nothing");
    let new = created(&post_after(&server, "omri", "hi", "0-0"));
    let answer = post_after(&server, "omri", "hi", unquoted(&last.etag));
    assert_eq!((answer.status, answer.etag()), (412, new.etag.as_str()));
}

/// A cursor may be 1 MiB back and no more.
#[test]
fn too_far_back() {
    let dir = TempDir::new();
    write_log(&dir.file("room.log"), 100, 64);
    let server = Server::on(&dir);
    let head = server.head(LOG).cursor();
    let said =
        created(&post_after(&server, "omri", "hi", &format!("{}-{}", head.epoch, head.length)));
    let reach = head.length as usize + REACH - said.cursor.length as usize;
    append(&dir.file("room.log"), &["x".repeat(reach - 1).as_bytes(), b"\n"].concat());
    let after = format!("{}-{}", head.epoch, head.length);
    found(&post_after(&server, "omri", "hi", &after), &said);
    append(&dir.file("room.log"), b"\n");
    let now = server.head(LOG);
    for after in [after.as_str(), "0-0"] {
        let answer = post_after(&server, "omri", "hi", after);
        refused(&answer, 412, &[]);
        assert_eq!(answer.etag(), now.etag());
    }
    let nearer = format!("{}-{}", head.epoch, said.cursor.length);
    created(&post_after(&server, "omri", "hi", &nearer));
}

/// `after` works in every form that a post may have, and a browser's form gets its way back.
#[test]
fn in_every_form() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
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
    assert_eq!(dir.read("room.log"), first.line.as_bytes());
}

/// Identical repeats at the same moment on two servers: one line, one 201, the same answer for all.
#[test]
fn twins() {
    let dir = TempDir::new();
    let servers = [Server::on(&dir), Server::on(&dir)];
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
    assert_eq!(String::from_utf8(dir.read("room.log")).expect("UTF-8").lines().count(), rounds);
}

/// A line that a script appended counts like any other; one without a time does not.
#[test]
fn appended_by_a_script() {
    let dir = TempDir::new();
    let server = Setup::on(&dir).name("golf").start();
    append(&dir.file("room.log"), b"omri: hi\n[2018-02-25 14:00:51] dana: omri: hi\n");
    append(&dir.file("room.log"), b"[2018-02-25 14:00:51] omri: ho\n");
    let answer = post_after(&server, "omri", "ho", "0-0");
    assert_eq!((answer.status, answer.text()), (200, "[2018-02-25 14:00:51] omri: ho\n"));
    assert_eq!(answer.cursor(), server.head(LOG).cursor());
    assert_eq!(answer.header("server-name"), Some("golf"));
    created(&post_after(&server, "omri", "hi", "0-0"));
}

/// A torn line that a dead writer left is no answer: the repeat is stored whole.
#[test]
fn torn() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let first = server.say("room", "omri", "first");
    append(&dir.file("room.log"), b"[2018-02-25 14:00:51] omri: hi");
    let posted = created(&post_after(&server, "omri", "hi", unquoted(&first.etag)));
    assert_eq!(dir.read("room.log"), (first.line + &posted.line).as_bytes());
}
