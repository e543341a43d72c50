//! The contract's sections The idea and Files: logs that are removed, rotated, cut or copied.

mod common;

use common::check::created;
use common::dir::TempDir;
use common::server::{Posted, Server};
use common::{DEADLINE, eventually, tool_command};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const LOG: &str = "/chat/room";

/// A server that has the room open: it wrote a line and read it.
fn busy(dir: &TempDir) -> (Server, Posted) {
    let server = Server::on(dir);
    server.say("room", "omri", "first");
    let posted = server.say("room", "omri", "second");
    assert_eq!(server.get(LOG).etag(), posted.etag);
    (server, posted)
}

/// Shows something on a room that was just written to, and on one left alone for a while.
fn in_each_age(show: impl Fn(&TempDir, Server, Posted)) {
    for age in [Duration::ZERO, Duration::from_millis(150)] {
        let dir = TempDir::new();
        let (server, old) = busy(&dir);
        thread::sleep(age); // The room's age, as its file's times tell it.
        for _ in 0..3 {
            assert_eq!(server.get(LOG).etag(), old.etag);
        }
        show(&dir, server, old);
    }
}

/// Checks that the room is another log now, and which.
fn check_new_log(dir: &TempDir, server: &Server, old: &Posted, text: &str) {
    for headers in [&[][..], &[("If-None-Match", old.etag.as_str())]] {
        let log = server.get_with(LOG, headers);
        assert_eq!((log.status, log.text()), (200, text));
        assert_ne!(log.cursor().epoch, old.cursor.epoch);
        assert_eq!(log.cursor().length, text.len() as u64);
    }
    let resumed = [("Range", "bytes=1-"), ("If-Range", old.etag.as_str())];
    assert_eq!(server.get_with(LOG, &resumed).text(), text);
    let posted = server.say("room", "omri", "in the new log");
    assert_ne!(posted.cursor.epoch, old.cursor.epoch);
    assert_eq!(dir.read("room.log"), (text.to_string() + &posted.line).as_bytes());
    assert_eq!(server.get(LOG).etag(), posted.etag);
}

/// A removed log is an empty one with another cursor, for readers and writers.
#[test]
fn removed() {
    in_each_age(|dir, server, old| {
        fs::remove_file(dir.file("room.log")).expect("removed");
        let log = server.get(LOG);
        assert_eq!((log.text(), log.etag()), ("", "\"0-0\""));
        check_new_log(dir, &server, &old, "");
    });
}

/// A removed log is noticed by a post that comes before any read.
#[test]
fn removed_and_posted() {
    in_each_age(|dir, server, old| {
        fs::remove_file(dir.file("room.log")).expect("removed");
        let posted = server.say("room", "omri", "new first");
        assert_ne!(posted.cursor.epoch, old.cursor.epoch);
        assert_eq!(dir.read("room.log"), posted.line.as_bytes());
    });
}

/// A rotated log stays as it was, and the room begins anew.
#[test]
fn rotated() {
    in_each_age(|dir, server, old| {
        let before = dir.read("room.log");
        fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
        check_new_log(dir, &server, &old, "");
        assert_eq!(dir.read("room.log.1"), before);
    });
}

/// A log that another file took the place of is that file, be it longer or shorter.
#[test]
fn replaced() {
    for text in ["another first line\n", &"a longer log of many lines\n".repeat(1000)] {
        in_each_age(|dir, server, old| {
            fs::write(dir.file("new"), text).expect("written");
            fs::rename(dir.file("new"), dir.file("room.log")).expect("replaced");
            check_new_log(dir, &server, &old, text);
        });
    }
}

/// A log that was cut to nothing in place (`copytruncate`) begins anew.
#[test]
fn truncated() {
    in_each_age(|dir, server, old| {
        File::create(dir.file("room.log")).expect("cut");
        check_new_log(dir, &server, &old, "");
    });
}

/// A log that was cut and filled again in place, even to the same length, is another log.
#[test]
fn rewritten() {
    in_each_age(|dir, server, old| {
        let length = dir.read("room.log").len();
        let text = "x".repeat(length / 2 - 1) + "\n" + &"y".repeat(length - length / 2 - 1) + "\n";
        let modified = || fs::metadata(dir.file("room.log")).and_then(|meta| meta.modified());
        let before = modified().expect("a time");
        eventually("the clock of the file system goes on", || {
            fs::write(dir.file("room.log"), &text).expect("rewritten");
            modified().expect("a time") != before
        });
        check_new_log(dir, &server, &old, &text);
    });
}

/// A log without its last line, cut in place, keeps its epoch and has its shorter length.
#[test]
fn shortened() {
    in_each_age(|dir, server, old| {
        let length = old.cursor.length - old.line.len() as u64;
        let file = File::options().write(true).open(dir.file("room.log")).expect("the log");
        file.set_len(length).expect("cut");
        let log = server.get(LOG);
        assert_eq!(log.cursor().length, length);
        assert_eq!(log.cursor().epoch, old.cursor.epoch);
        let posted = server.say("room", "omri", "third");
        assert_eq!(posted.cursor.length, length + posted.line.len() as u64);
        assert_eq!(server.get(LOG).body, dir.read("room.log"));
    });
}

/// A script's line is there at the next read, however long the log was left alone before.
#[test]
fn appended() {
    in_each_age(|dir, server, old| {
        for number in 1..=3 {
            let mut file =
                File::options().append(true).open(dir.file("room.log")).expect("the log");
            file.write_all(b"by hand\n").expect("appended");
            let log = server.get_with(LOG, &[("If-None-Match", old.etag.as_str())]);
            assert_eq!(log.cursor().length, old.cursor.length + 8 * number);
            assert_eq!(log.body, dir.read("room.log"));
        }
    });
}

/// The epoch stays the same in a backup and a copy, and after a restart.
#[test]
fn copied() {
    let dir = TempDir::new();
    let (mut server, old) = busy(&dir);
    let copy = TempDir::new();
    fs::copy(dir.file("room.log"), copy.file("room.log")).expect("copied");
    fs::copy(dir.file("room.log"), copy.file("other name.log")).expect("copied");
    let other = Server::on(&copy);
    assert_eq!(other.get(LOG).etag(), old.etag);
    assert_eq!(other.get("/chat/other%20name").etag(), old.etag);
    server.kill();
    let server = Server::on(&dir);
    assert_eq!(server.get(LOG).etag(), old.etag);
    assert_eq!(server.say("room", "omri", "third").cursor.epoch, old.cursor.epoch);
    fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("moved");
    assert_eq!(server.get(LOG).etag(), "\"0-0\"");
    fs::copy(copy.file("room.log"), dir.file("room.log")).expect("restored");
    assert_eq!(server.get(LOG).etag(), old.etag);
}

/// The epoch is of the first line alone: it stays while the log grows.
#[test]
fn epoch_of_the_first_line() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    fs::write(dir.file("a.log"), "the same first line\n").expect("written");
    fs::write(dir.file("b.log"), "the same first line\nand another\n").expect("written");
    fs::write(dir.file("c.log"), "the same first line \n").expect("written");
    let epoch = |room: &str| server.get(&format!("/chat/{room}")).cursor().epoch;
    assert_eq!(epoch("a"), epoch("b"));
    assert_ne!(epoch("a"), epoch("c"));
    for room in ["a", "b"] {
        let before = epoch(room);
        assert_eq!(server.say(room, "omri", "more").cursor.epoch, before);
        assert_eq!(epoch(room), before);
    }
}

/// A post that waited for a lock while the log was rotated goes to the new log, not the old.
#[test]
fn rotated_under_the_lock() {
    let dir = TempDir::new();
    let (server, _) = busy(&dir);
    let before = dir.read("room.log");
    let file = File::open(dir.file("room.log")).expect("the log");
    file.lock().expect("locked");
    let (done, waiting) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(server.post("room", "omri", "third")).expect("heard"));
        let early = waiting.recv_timeout(Duration::from_millis(200));
        assert!(early.is_err(), "posted under a foreign lock: {early:?}");
        fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
        file.unlock().expect("unlocked");
        let answer = waiting.recv_timeout(common::DEADLINE).expect("posted once it is free");
        let posted = created(&answer);
        assert_eq!(dir.read("room.log"), posted.line.as_bytes());
        assert_eq!(posted.cursor.length, posted.line.len() as u64);
    });
    assert_eq!(dir.read("room.log.1"), before, "nothing goes to the rotated log");
}

/// Posts that go on while a log is rotated again and again are each in one of the logs, once.
#[test]
fn rotated_again_and_again() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let posters = 4;
    let lines: Vec<String> = thread::scope(|scope| {
        let (said, heard) = mpsc::channel();
        let posters: Vec<_> = (0..posters)
            .map(|poster| {
                let (server, said) = (&server, said.clone());
                let say = move |number| {
                    let message = format!("poster {poster} line {number}");
                    let line = server.say("room", "omri", &message).line;
                    said.send(()).expect("heard");
                    line
                };
                scope.spawn(move || (0..100).map(say).collect::<Vec<_>>())
            })
            .collect();
        drop(said);
        // Under the posts that follow, until nobody posts any more.
        let mut number = 0;
        while heard.recv_timeout(DEADLINE) != Err(mpsc::RecvTimeoutError::Disconnected) {
            let rotated = dir.file(&format!("room.log.{number}"));
            number += usize::from(fs::rename(dir.file("room.log"), rotated).is_ok());
        }
        posters.into_iter().flat_map(|poster| poster.join().expect("posted")).collect()
    });
    let names = dir.names().into_iter().filter(|name| name.starts_with("room.log"));
    let all: String =
        names.map(|name| String::from_utf8(dir.read(&name)).expect("UTF-8")).collect();
    let mut stored: Vec<&str> = all.split_inclusive('\n').collect();
    let mut posted: Vec<&str> = lines.iter().map(String::as_str).collect();
    stored.sort_unstable();
    posted.sort_unstable();
    assert_eq!(stored, posted);
}

/// A store that was moved aside, with another in its place, is that other one before long.
#[test]
fn store_replaced() {
    let dir = TempDir::new();
    let (store, aside) = (dir.file("store"), dir.file("aside"));
    let server = Server::on(&store);
    let old = server.say("room", "omri", "first");
    assert_eq!(server.get(LOG).text(), old.line);
    fs::rename(&store, &aside).expect("moved");
    fs::create_dir(&store).expect("made");
    fs::write(store.join("room.log"), "another log\n").expect("written");
    eventually("the other log is read", || server.get(LOG).text() == "another log\n");
    server.say("room", "omri", "second");
    assert_eq!(fs::read(aside.join("room.log")).expect("the old log"), old.line.as_bytes());
}

/// A log that is a symbolic link is the file that it leads to, also when it leads elsewhere.
#[test]
fn symbolic_link() {
    let dir = TempDir::new();
    fs::write(dir.file("one"), "one\n").expect("written");
    fs::write(dir.file("two"), "two\n").expect("written");
    symlink("one", dir.file("room.log")).expect("linked");
    let server = Server::on(&dir);
    assert_eq!(server.get(LOG).text(), "one\n");
    let posted = server.say("room", "omri", "hi");
    assert_eq!(dir.read("one"), ("one\n".to_string() + &posted.line).as_bytes());
    symlink("two", dir.file("new")).expect("linked");
    fs::rename(dir.file("new"), dir.file("room.log")).expect("replaced");
    eventually("the other file is read", || server.get(LOG).text() == "two\n");
    let posted = server.say("room", "omri", "hi");
    assert_eq!(dir.read("two"), ("two\n".to_string() + &posted.line).as_bytes());
}

/// A log that a script moved and compressed is out of the room's way.
#[test]
fn moved_by_a_shell() {
    in_each_age(|dir, server, old| {
        let script = "mv \"$0\" \"$0.1\" && gzip \"$0.1\"";
        let status = tool_command("sh").args(["-c", script]).arg(dir.file("room.log")).status();
        assert!(status.expect("the shell").success());
        assert_eq!(server.get("/chat/room.log.1").text(), "");
        check_new_log(dir, &server, &old, "");
    });
}
