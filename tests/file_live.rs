//! The contract's sections Live and Files: what scripts do to a log shows on every screen.

mod common;

use common::dir::TempDir;
use common::live::{Live, append, framed, length, unquoted, without_notices};
use common::run_tool;
use common::screen::Screen;
use common::server::{Server, encode};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

const LOG: &str = "/chat/room";

/// Shows something on a server that the kernel tells of changes, and on one that it does not.
fn with_and_without_notices(show: impl Fn(&TempDir, Server)) {
    let starts: [fn(&TempDir) -> Server; 2] = [|dir| Server::on(dir), |dir| without_notices(dir)];
    for start in starts {
        let dir = TempDir::new();
        show(&dir, start(&dir));
    }
}

/// Lines that a script appends under `flock` arrive, in a room that it makes, too.
#[test]
fn flock() {
    with_and_without_notices(|dir, server| {
        let mut events = Live::events(&server, LOG, &[]);
        let mut lines = Live::lines(&server, "/chat/room?follow", &[]);
        let path = dir.file("room.log");
        let path = path.to_str().expect("UTF-8");
        let mut log = String::new();
        for number in 0..3 {
            let line = format!("[2018-02-25 14:00:51] cron: backup {number} is done\n");
            let script = format!("printf '%s\\n' '{}' >> '{path}'", line.trim_end());
            let output = run_tool("flock", &[path, "sh", "-c", &script]);
            assert!(output.status.success(), "{output:?}");
            log += &line;
            assert_eq!(length(&events.expect_line(&line)), log.len() as u64);
        }
        let posted = server.say("room", "omri", "thanks");
        assert_eq!(events.expect_line(&posted.line), unquoted(&posted.etag));
        lines.expect_bytes((log + &posted.line).as_bytes());
    });
}

/// Whatever a room's file is called, it is noticed who appends to it.
#[test]
fn names_of_files() {
    with_and_without_notices(|dir, server| {
        let rooms =
            [("Küche & Bad", "Küche & Bad.log"), ("100%", "100%25.log"), (".x", "%2Ex.log")];
        for (room, file) in rooms {
            let mut live = Live::events(&server, &format!("/chat/{}", encode(room)), &[]);
            append(&dir.file(file), b"by hand\n");
            live.expect_line("by hand\n");
        }
    });
}

/// A line as a script writes it: a carriage return makes several `data:`, which a browser joins.
#[test]
fn odd_lines() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let mut live = Live::events(&server, LOG, &[]);
    let mut lines = Live::lines(&server, "/chat/room?follow", &[]);
    let odd: [&[u8]; 12] = [
        b"",
        b"",
        b" two spaces  ",
        b":a colon",
        b"data: x",
        b"id: 5",
        b"a\rb",
        b"crlf\r",
        b"\r\r",
        b"\0",
        b"\xff\xfe no UTF-8",
        b"\xef\xbb\xbfa mark",
    ];
    let mut log = Vec::new();
    for line in odd {
        let line = [line, b"\n"].concat();
        append(&dir.file("room.log"), &line);
        log.extend(line);
    }
    let mut all = Live::events(&server, LOG, &[]);
    for live in [&mut live, &mut all] {
        let mut at = 0;
        for line in odd {
            at += line.len() as u64 + 1;
            let event = live.next();
            let seen: Vec<u8> = line.iter().map(|&b| if b == b'\r' { b'\n' } else { b }).collect();
            assert_eq!((event.name.as_str(), event.data), ("", seen));
            assert_eq!(length(&event.id.expect("a cursor")), at);
        }
    }
    lines.expect_bytes(&log);
    Live::lines(&server, "/chat/room?follow", &[]).expect_bytes(&log);
}

/// Lines far longer than any post arrive whole, live and as history, also resumed behind them.
#[test]
fn long_lines() {
    with_and_without_notices(|dir, server| {
        let mut screen = Screen::default();
        let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
        let path = dir.file("room.log");
        for (number, len) in [300_000, 65_536, 65_535, 65_530, 0, 1, 1_000_000].iter().enumerate() {
            let text: String = ('a'..='z').cycle().take(*len).collect();
            append(&path, format!("{number}{text}\n").as_bytes());
            server.say("room", "omri", &format!("after line {number}"));
        }
        append(&path, b"the end\n");
        screen.read_until(&mut live, "the end\n").expect("no cut");
        let log = dir.read("room.log");
        assert!(screen.log == log);
        let mut again = Screen::default();
        let mut live = again.resume(server.address, LOG, usize::MAX).expect("a stream");
        again.read_until(&mut live, "the end\n").expect("no cut");
        assert!(again.log == log && again.cursor == screen.cursor);
        Live::lines(&server, "/chat/room?follow", &[]).expect_bytes(&log);
        let mut tail = Live::events(&server, "/chat/room?tail=3", &[]);
        let start = length(&tail.start) as usize;
        assert_eq!(log[start..].iter().filter(|&&byte| byte == b'\n').count(), 3);
        let expected = framed(tail.start.split('-').next().unwrap(), start as u64, &log[start..]);
        tail.expect_bytes(&expected);
    });
}

/// A long line full of carriage returns arrives whole.
#[test]
fn long_line_of_carriage_returns() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    append(&dir.file("room.log"), &[b"x\r".repeat(100_000), b"\nthe end\n".to_vec()].concat());
    let mut live = Live::events(&server, LOG, &[]);
    let event = live.next();
    assert!(event.data == b"x\n".repeat(100_000));
    assert_eq!(length(&event.id.expect("a cursor")), 200_001);
    live.expect_line("the end\n");
}

/// A torn last line is not sent until it is whole, on any server, old stream or new.
#[test]
fn torn_tail_made_whole() {
    with_and_without_notices(|dir, server| {
        let other = Server::on(dir);
        let first = server.say("room", "omri", "first");
        let mut streams: Vec<Live> =
            [&server, &other].iter().map(|server| Live::events(server, LOG, &[])).collect();
        append(&dir.file("room.log"), b"[2018-02-25 14:00:51] cron: to");
        for server in [&server, &other] {
            // These look at the torn file, and what they see the streams see.
            assert_eq!(server.get(LOG).etag(), first.etag);
            let new = Live::events(server, "/chat/room?tail=0", &[]);
            assert_eq!(new.start, unquoted(&first.etag));
            streams.push(new);
        }
        append(&dir.file("room.log"), b"rn\nand");
        append(&dir.file("room.log"), b" more\n");
        streams[0].expect_line(&first.line);
        streams[1].expect_line(&first.line);
        for live in &mut streams {
            live.expect_line("[2018-02-25 14:00:51] cron: torn\n");
            live.expect_line("and more\n");
        }
    });
}

/// A torn last line that a dead writer left is nowhere seen: the next post takes its place.
#[test]
fn torn_tail_cut_off() {
    with_and_without_notices(|dir, server| {
        let other = Server::on(dir);
        let first = server.say("room", "omri", "first");
        let mut streams: Vec<Live> =
            [&server, &other].iter().map(|server| Live::events(server, LOG, &[])).collect();
        let mut log = first.line.clone();
        for (writer, torn) in [(&server, 5), (&other, 30), (&server, 3_000)] {
            append(&dir.file("room.log"), "x".repeat(torn).as_bytes());
            assert_eq!(writer.get(LOG).text(), log);
            log += &writer.say("room", "omri", &format!("after {torn}")).line;
        }
        for live in &mut streams {
            log.split_inclusive('\n').for_each(|line| drop(live.expect_line(line)));
        }
        assert_eq!(dir.read("room.log"), log.as_bytes());
    });
}

/// A removed or rotated log: a reset on every screen, then the new one from its start.
#[test]
fn replaced_under_a_stream() {
    with_and_without_notices(|dir, server| {
        let other = Server::on(dir);
        let mut streams: Vec<Live> = Vec::new();
        let first = server.say("room", "omri", "first");
        for server in [&server, &other] {
            for target in [LOG, "/chat/room?tail=1"] {
                streams.push(Live::events(server, target, &[]));
            }
        }
        streams.iter_mut().for_each(|live| drop(live.expect_line(&first.line)));
        fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
        for live in &mut streams {
            assert_eq!(live.expect_reset(), "0-0");
        }
        let second = other.say("room", "omri", "second");
        for live in &mut streams {
            assert_eq!(live.expect_line(&second.line), unquoted(&second.etag));
        }
        fs::copy(dir.file("room.log.1"), dir.file("backup")).expect("copied");
        fs::rename(dir.file("backup"), dir.file("room.log")).expect("restored");
        for live in &mut streams {
            assert_eq!(length(&live.expect_reset()), 0);
            assert_eq!(live.expect_line(&first.line), unquoted(&first.etag));
        }
        fs::remove_file(dir.file("room.log")).expect("removed");
        streams.iter_mut().for_each(|live| drop(live.expect_reset()));
        assert!(!dir.file("room.log").exists(), "following creates nothing");
    });
}

/// A stream of lines goes on with the new log from its start.
#[test]
fn replaced_under_lines() {
    with_and_without_notices(|dir, server| {
        let first = server.say("room", "omri", "first");
        let mut lines = Live::lines(&server, "/chat/room?follow", &[]);
        lines.expect_bytes(first.line.as_bytes());
        fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
        let second = server.say("room", "omri", "second");
        lines.expect_bytes(second.line.as_bytes());
    });
}

/// A log cut back to some of its lines: a reset, what is left, and what is new in the old's place.
#[test]
fn cut_back() {
    with_and_without_notices(|dir, server| {
        let first = server.say("room", "omri", "first");
        let mut live = Live::events(&server, LOG, &[]);
        live.expect_line(&first.line);
        let second = server.say("room", "omri", "second");
        live.expect_line(&second.line);
        let file = fs::OpenOptions::new().write(true).open(dir.file("room.log")).expect("the log");
        file.set_len(first.cursor.length).expect("cut");
        assert_eq!(length(&live.expect_reset()), 0);
        live.expect_line(&first.line);
        let third = server.say("room", "omri", "third!");
        assert_eq!(third.line.len(), second.line.len());
        live.expect_line(&third.line);
    });
}

/// A log that is edited below its first line is sent as it is, not as it was: nobody is sent
/// from memory what an operator took out.
#[test]
fn edited() {
    with_and_without_notices(|dir, server| {
        for number in 0..3 {
            server.say("room", "omri", &format!("secret {number}"));
        }
        let old = dir.read("room.log");
        let mut before = Screen::default();
        let mut live = before.resume(server.address, LOG, usize::MAX).expect("a stream");
        before.read_until(&mut live, "secret 2\n").expect("no cut");
        Live::lines(&server, "/chat/room?follow", &[]).expect_bytes(&old);
        let text = String::from_utf8(old)
            .expect("UTF-8")
            .replace("secret 1", "(removed)")
            .replace("secret 2", "gone ...");
        fs::write(dir.file("edited"), &text).expect("written");
        fs::rename(dir.file("edited"), dir.file("room.log")).expect("replaced");
        assert_eq!(server.get(LOG).text(), text);
        Live::lines(&server, "/chat/room?follow", &[]).expect_bytes(text.as_bytes());
        let mut screen = Screen::default();
        let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
        screen.read_until(&mut live, "gone ...\n").expect("no cut");
        assert_eq!(screen.log, text.as_bytes());
    });
}

/// A log that is edited in its place under a frame that is sent in part: the stream is cut, so that
/// its reader comes again. The server panicked.
#[test]
fn edited_under_a_frame() {
    let dir = TempDir::new();
    append(&dir.file("room.log"), &b"a\n".repeat(100_000));
    let server = Server::on(&dir);
    let mut slow = Live::narrow(&server, LOG);
    // Who reads all of it makes the server forget the frame.
    let mut other = Live::lines(&server, "/chat/room?follow", &[]);
    other.expect_bytes(&b"a\n".repeat(100_000));
    let mut events = Live::events(&server, LOG, &[]);
    (0..100_000).for_each(|_| drop(events.expect_line("a\n")));
    let mut log = OpenOptions::new().write(true).open(dir.file("room.log")).expect("there");
    log.seek(SeekFrom::Start(2)).expect("there");
    log.write_all(&[b"ax".repeat(2_999), b"a\n".to_vec()].concat()).expect("edited");
    drop(log);
    let after = server.say("room", "omri", "after the edit");
    events.expect_line(&after.line);
    while let Ok(piece) = slow.piece() {
        piece.expect("a cut, and no end in order");
    }
    let said = server.said().join("\n");
    assert!(!said.contains("panicked"), "{said}");
}
