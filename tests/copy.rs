//! `catchat copy`: every byte and every cursor goes along, whatever happens meanwhile.

mod common;

use common::cli::fails;
use common::client::Cursor;
use common::database::DatabaseServer;
use common::dir::TempDir;
use common::live::{Live, append, write_log};
use common::server::{Server, catchat, encode};
use common::store::Store;
use common::{DEADLINE, eventually, output_within, tool_command};
use std::ffi::OsStr;
use std::fs;
use std::process::{Child, Command, Output};
use std::thread;
use std::time::Duration;

/// How long a copy may take: the largest here is of some ten megabytes.
const COPY_WITHIN: Duration = Duration::from_secs(120);
/// Lines that no server wrote: any bytes, no time, no name, nothing.
const STRANGE: &[u8] = b"\xff\xfe not UTF-8\nhello\n\n\
    [2018-02-25 14:00:51] omri: hi\n[2018-02-30 14:00:51] no: such day\n\
    [2018-02-25 14:00:51] omri: \n[2018-02-25 14:00:51] omri: \xf0\x9f\x90\x88 \x00\r\n\
    [0000-00-00 00:00:00] x: y\n[2018-02-25 14:00:51] omri:no blank\n\\' \"; -- %s\n";
/// Names of rooms that have other names as files, or look as others do.
const ODD_ROOMS: [&str; 8] = ["a", "A", "a ", "\u{e4}", "a\u{308}", "..", "100%", "?#&+"];

fn command(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Command {
    let mut command = catchat();
    command.arg("copy").arg(from).arg(to);
    command
}

fn copy(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Output {
    output_within(&mut command(from, to), COPY_WITHIN)
}

/// Copies, which must go well; gives the line that it then says.
fn copied(from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> String {
    let output = copy(from, to);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.starts_with("catchat: ") && said.lines().count() == 1, "{said}");
    said
}

fn target(room: &str) -> String {
    format!("/chat/{}", encode(room))
}

/// The name of a room's file.
fn file(room: &str) -> String {
    match room.replace('%', "%25").strip_prefix('.') {
        Some(rest) => format!("%2E{rest}.log"),
        None => format!("{}.log", room.replace('%', "%25")),
    }
}

/// Both directories hold the same logs.
fn same(one: &TempDir, other: &TempDir) {
    assert_eq!(one.logs(), other.logs());
    for name in one.logs() {
        assert!(one.read(&name) == other.read(&name), "{name} differs");
    }
}

/// Any bytes in any room go into a store and out of it again.
#[test]
fn there_and_back() {
    let (from, to, back) = (TempDir::new(), Store::new(), TempDir::new());
    for room in ODD_ROOMS {
        fs::write(from.file(&file(room)), format!("{room}\n")).expect("written");
    }
    let mut strange = STRANGE.repeat(300);
    strange.extend([b"x".repeat(1_500_000), b"\n\n".to_vec()].concat());
    fs::write(from.file("strange.log"), strange).expect("written");
    write_log(&from.file("long.log"), 30_000, 100);
    fs::write(from.file("no-room.txt"), "x").expect("written");
    fs::write(from.file(".hidden.log"), "x\n").expect("written");
    fs::create_dir(from.file("directory.log")).expect("made");
    let said = copied(&*from, &to);
    assert!(said.starts_with("catchat: 10 rooms: copied 33010 lines, "), "{said}");
    assert!(to.password().is_none_or(|password| !said.contains(password)), "{said}");
    assert_eq!(to.rooms().len(), 10);
    copied(&to, &*back);
    fs::remove_file(from.file(".hidden.log")).expect("removed");
    fs::remove_dir(from.file("directory.log")).expect("removed");
    same(&from, &back);
    for again in [copied(&*from, &to), copied(&to, &*back)] {
        assert!(again.contains("copied 0 lines, 0 bytes"), "{again}");
    }
}

/// A copy of nothing is nothing; and a room that nobody has written to is not made.
#[test]
fn empty() {
    let (from, to) = (Store::new(), Store::new());
    drop(Server::on(&from));
    assert!(copied(&from, &to).starts_with("catchat: 0 rooms: copied 0 lines, 0 bytes in "));
    let files = TempDir::new();
    fs::write(files.file("empty.log"), "").expect("written");
    fs::write(files.file("torn.log"), "half a li").expect("written");
    copied(&*files, &to);
    assert_eq!(to.rooms(), Vec::<String>::new());
}

/// A client goes on with the copy where it was with the store that was copied.
#[test]
fn cursors_go_along() {
    let (from, to) = (Store::new(), Store::new());
    let server = Server::on(&from);
    let posted: Vec<_> = (0..9).map(|n| server.say("room", "omri", &format!("line {n}"))).collect();
    copied(&from, &to);
    let other = Server::on(&to);
    let (old, new) = (server.get("/chat/room"), other.get("/chat/room"));
    assert_eq!((old.text(), old.etag()), (new.text(), new.etag()));
    let after = format!("/chat/room?after={}-{}", posted[3].cursor.epoch, posted[3].cursor.length);
    let mut live = Live::events(&other, &after, &[]);
    for posted in &posted[4..] {
        let cursor = live.expect_line(&posted.line);
        assert_eq!(format!("\"{cursor}\""), posted.etag);
    }
    let next = other.say("room", "omri", "in the copy");
    live.expect_line(&next.line);
    assert_eq!(next.cursor.epoch, posted[0].cursor.epoch);
}

/// Rooms of some megabytes, and a store that they are copied to while a server runs there.
struct Field {
    from: TempDir,
    to: Store,
    server: Server,
}

const ROOMS: [&str; 5] = ["r0", "r1", "r2", "r3", "r4"];

impl Field {
    fn new() -> Field {
        let (from, to) = (TempDir::new(), Store::new());
        for (number, room) in ROOMS.iter().enumerate() {
            write_log(&from.file(&file(room)), 6_000, 900 + number);
        }
        let server = Server::on(&to);
        Field { from, to, server }
    }

    /// How much of all rooms is there.
    fn bytes(&self) -> u64 {
        ROOMS.iter().map(|room| self.server.head(&target(room)).cursor().length).sum()
    }

    /// Starts a copy, and comes back when it has copied something, but not all.
    fn copying(&self) -> Child {
        let before = self.bytes();
        let mut child = command(&*self.from, &self.to).spawn().expect("it starts");
        eventually("it copies", || {
            self.bytes() > before || child.try_wait().expect("its state").is_some()
        });
        child
    }

    /// Every room is a beginning, of whole lines, of the one that is copied.
    fn check(&self) {
        for room in ROOMS {
            let there = self.server.get(&target(room)).body;
            assert!(self.from.read(&file(room)).starts_with(&there), "{room} is something else");
            assert!(there.is_empty() || there.ends_with(b"\n"), "{room} is torn");
        }
    }

    fn finish(&self) {
        let back = TempDir::new();
        copied(&*self.from, &self.to);
        copied(&self.to, &*back);
        same(&self.from, &back);
        self.check();
    }
}

/// Killed in the middle, it leaves whole lines behind, and goes on from there.
#[test]
fn killed_and_resumed() {
    let field = Field::new();
    for _ in 0..4 {
        let mut child = field.copying();
        child.kill().expect("killed");
        child.wait().expect("its end");
        field.check();
    }
    field.finish();
}

/// Told to stop, it does, and says what to do.
#[test]
fn stopped_and_resumed() {
    for signal in ["TERM", "INT"] {
        let field = Field::new();
        let child = field.copying();
        let script = format!("kill -{signal} {}", child.id());
        assert!(tool_command("sh").args(["-c", &script]).status().expect("the shell").success());
        let output = child.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It may have been done just then.
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert_eq!(said, "catchat: stopped; the same command goes on from there\n");
        }
        field.check();
        field.finish();
    }
}

/// Where there is another log, it stays, and is named; everything else is copied.
#[test]
fn another_log_is_left_alone() {
    let (from, to) = (TempDir::new(), Store::new());
    let all = b"[2018-02-25 14:00:51] omri: one\nsecond\nthird\n";
    for room in ["fresh", "begun", "other", "longer", "changed", "same"] {
        fs::write(from.file(&file(room)), all).expect("written");
    }
    to.fill("begun", &all[..39]);
    to.fill("other", b"[2018-02-25 14:00:51] omri: two\n");
    to.fill("longer", &[&all[..], b"more\n"].concat());
    to.fill("changed", &[&all[..32], b"SECOND\n"].concat());
    to.fill("same", all);
    to.fill("elsewhere", b"only there\n");
    let output = copy(&*from, &to);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop().expect("a last line");
    assert!(last.starts_with("catchat: 6 rooms, 3 of them not to the end: copied 4 lines, "));
    lines.sort();
    for (line, room) in lines.iter().zip(["changed", "longer", "other"]) {
        assert!(line.starts_with(&format!("catchat: room {room}: not copied: ")), "{line}");
    }
    assert_eq!(lines.len(), 3, "{said}");
    let server = Server::on(&to);
    let log = |room| server.get(&target(room)).body;
    assert!(log("fresh") == all && log("begun") == all && log("same") == all);
    assert_eq!(log("other"), b"[2018-02-25 14:00:51] omri: two\n");
    assert_eq!(log("longer"), [&all[..], b"more\n"].concat());
    assert_eq!(log("changed"), [&all[..32], b"SECOND\n"].concat());
    assert_eq!(log("elsewhere"), b"only there\n");
}

/// A log in TO that differs in its middle, far from its end, was taken for the same log, and what it
/// lacked was put behind it. All of it is compared, short lines and one of more than is read at once.
#[test]
fn a_difference_in_the_middle() {
    let (from, to, dir) = (TempDir::new(), Store::new(), TempDir::new());
    write_log(&dir.file("log"), 15_000, 100);
    let log = [dir.read("log"), b"x".repeat(1_500_000), b"\n".to_vec()].concat();
    for (room, at) in
        [("same", None::<usize>), ("second", Some(150)), ("middle", Some(log.len() / 2))]
    {
        to.fill(room, &log);
        let mut other = [&log[..], b"and more\n"].concat();
        if let Some(at) = at {
            other[at] ^= 1;
        }
        fs::write(from.file(&file(room)), other).expect("written");
    }
    let output = copy(&*from, &to);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 rooms, 2 of them not to the end: copied 1 lines, 9 bytes "), "{said}");
    let server = Server::on(&to);
    assert!(server.get("/chat/same").body == from.read("same.log"));
    for room in ["middle", "second"] {
        assert!(said.contains(&format!("room {room}: not copied: ")), "{said}");
        assert!(server.get(&target(room)).body == log, "{room} was written to");
    }
}

/// What is written to is copied as it was at one time; the next run brings the rest.
#[test]
fn a_store_in_use() {
    let (from, to) = (Store::new(), Store::new());
    let (server, other) = (Server::on(&from), Server::on(&to));
    server.say("room", "omri", "the first");
    thread::scope(|scope| {
        let poster = scope.spawn(|| {
            for number in 0..300 {
                server.say("room", "omri", &format!("line {number}"));
            }
        });
        let mut seen = 0;
        while !poster.is_finished() {
            copied(&from, &to);
            let (now, all) = (other.get("/chat/room"), server.get("/chat/room"));
            assert!(all.body.starts_with(&now.body) && now.body.ends_with(b"\n"));
            assert!(now.body.len() >= seen && now.cursor().epoch == all.cursor().epoch);
            seen = now.body.len();
        }
        poster.join().expect("posted");
    });
    copied(&from, &to);
    let (now, all) = (other.get("/chat/room"), server.get("/chat/room"));
    assert_eq!((now.text(), now.etag()), (all.text(), all.etag()));
}

/// Several copies at once are in each other's way, but not in the log's.
#[test]
fn copies_at_once() {
    let field = Field::new();
    let start = || command(&*field.from, &field.to).spawn().expect("it starts");
    for mut child in [start(), start(), start()] {
        child.wait().expect("its end");
        field.check();
    }
    field.finish();
}

/// A subscriber of the copy gets what is copied, live.
#[test]
fn the_copy_is_live() {
    let (from, to) = (Store::new(), Store::new());
    from.fill("room", STRANGE);
    let server = Server::on(&to);
    let mut live = Live::lines(&server, "/chat/room?follow", &[]);
    copied(&from, &to);
    live.expect_bytes(STRANGE);
    let Cursor { length, .. } = server.head("/chat/room").cursor();
    assert_eq!(length, STRANGE.len() as u64);
}

/// What is no store is named, and no password is.
#[test]
fn bad_locations() {
    let dir = TempDir::new();
    let path = dir.to_str().expect("UTF-8");
    let (missing, plain) = (format!("{path}/missing"), format!("{path}/plain"));
    fs::write(&plain, "x").expect("written");
    fails(&["copy", &missing, path], &[], 1, &["FROM", &missing]);
    fails(&["copy", &plain, path], &[], 1, &["FROM", &plain]);
    fails(&["copy", path, &plain], &[], 1, &["TO", &plain]);
    fails(&["copy", path, path], &[], 1, &["same", path]);
    fails(
        &["copy", path, &format!("{path}/../{}", &path[path.rfind('/').unwrap() + 1..])],
        &[],
        1,
        &["same"],
    );
    fails(&["copy", path, "redis://secret@x/y"], &[], 2, &["TO", "redis"]);
    fails(&["copy", &format!("@{missing}"), path], &[], 2, &["FROM", &missing]);
    assert!(!fs::exists(&missing).expect("seen"), "what is not there is not made");
}

/// A store is also taken from a file, so that nobody sees its password.
#[test]
fn a_store_in_a_file() {
    let (from, to, dir) = (Store::new(), Store::new(), TempDir::new());
    from.fill("room", STRANGE);
    fs::write(dir.file("from"), format!("{}\n", from.argument())).expect("written");
    let argument = format!("@{}", dir.file("from").display());
    copied(&argument, &to);
    let same = output_within(&mut command(&argument, &from), DEADLINE);
    let said = String::from_utf8(same.stderr).expect("UTF-8");
    assert_eq!(same.status.code(), Some(1), "{said}");
    assert!(from.password().is_none_or(|password| !said.contains(password)), "{said}");
    assert_eq!(Server::on(&to).get("/chat/room").body, STRANGE);
}

/// A line that a database does not take is named with its place; what is before it, and
/// every other room, is copied.
#[test]
fn too_long_for_a_database() {
    let to = Store::new();
    let Some(bytes) = std::env::var("CATCHAT_TEST_STORE").ok().map(|server| {
        let most = DatabaseServer::at(&server).query("SELECT @@max_allowed_packet");
        most.expect("a limit").trim().parse::<usize>().expect("a number") - 500
    }) else {
        return; // Files take any.
    };
    let from = TempDir::new();
    let log = [b"before\n".to_vec(), b"x".repeat(bytes), b"\nafter\n".to_vec()].concat();
    fs::write(from.file("long.log"), log).expect("written");
    fs::write(from.file("room.log"), STRANGE).expect("written");
    let output = copy(&*from, &to);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.contains("room long: ")).expect("it is named");
    assert!(line.contains("byte 7 ") && line.contains("max_allowed_packet"), "{said}");
    let server = Server::on(&to);
    assert_eq!(server.get("/chat/long").body, b"before\n");
    assert_eq!(server.get("/chat/room").body, STRANGE);
}

/// What a script adds comes with the next run, and nothing else again.
#[test]
fn a_script_writes_to_the_source() {
    let (from, to) = (TempDir::new(), Store::new());
    for round in 0..3 {
        append(&from.file("room.log"), format!("round {round}\n").as_bytes());
        let said = copied(&*from, &to);
        assert!(said.contains("copied 1 lines"), "{said}");
    }
}
