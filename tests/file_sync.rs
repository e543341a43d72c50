//! The contract's append protocol as the kernel sees it, told by `strace`: what is locked,
//! written and synced before anyone is acknowledged, and what comes of a sync that fails.

mod common;

use common::check::{created, parse_line, refused};
use common::dir::TempDir;
use common::live::append;
use common::server::{FORM, Server, catchat, form};
use common::{eventually, skip, tool_command};
use std::fs;
use std::time::Duration;

const LOG: &str = "/chat/room";

/// A server whose system calls are written to a file.
struct Traced {
    server: Server,
    dir: TempDir,
    trace: TempDir,
}

impl Traced {
    /// Starts it, with faults injected as `strace` spells them.
    fn start(faults: &[&str]) -> Option<Traced> {
        Traced::start_in(TempDir::new(), faults)
    }

    /// The same on a directory that is there.
    fn start_in(dir: TempDir, faults: &[&str]) -> Option<Traced> {
        let trace = TempDir::new();
        let allowed = tool_command("strace").args(["-o", "/dev/null", "true"]).status();
        if !allowed.expect("strace").success() {
            skip("nobody may trace a process here");
            return None;
        }
        let binary = catchat().get_program().to_owned();
        let mut strace = tool_command("strace");
        // The tracer is nobody's parent here, so that the server's number is its own.
        strace.args(["-D", "-f", "-q", "-s", "200", "-y", "-o"]).arg(trace.file("calls"));
        strace.args(["-e", "trace=flock,/^p?write,/sync,sendto,sendmsg,ftruncate,/^rename"]);
        strace.args(faults).arg(binary).args(["--listen", "127.0.0.1:0", "--store"]).arg(&*dir);
        strace.env_remove("CATCHAT_NAME").env_remove("CATCHAT_TIMEOUT_MS");
        let server = Server::spawn(strace.stderr(std::process::Stdio::piped()));
        Some(Traced { server, dir, trace })
    }

    /// Stops the server and gives the calls about this log, the store and the answers, each
    /// where it ended.
    fn calls(mut self) -> Vec<String> {
        self.server.signal("TERM");
        assert_eq!(self.server.exit(Duration::from_secs(15)).code(), Some(0));
        let calls = self.trace.file("calls");
        let read = || fs::read_to_string(&calls).expect("the trace");
        eventually("the trace ends", || read().contains("+++ exited with 0 +++"));
        join_halves(&read())
    }
}

/// Joins calls that were interrupted by others, at the place where each ended.
fn join_halves(trace: &str) -> Vec<String> {
    let mut begun = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and a call");
        let call = call.trim_start();
        if let Some(half) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, half.to_string());
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            calls.push(begun.remove(thread).unwrap_or_default() + rest);
        } else {
            calls.push(call.to_string());
        }
    }
    calls
}

/// The place of the first call after `from` with all of these words in it.
fn find(calls: &[String], from: usize, words: &[&str]) -> usize {
    let found = calls.iter().skip(from).position(|call| words.iter().all(|w| call.contains(w)));
    found.unwrap_or_else(|| panic!("no {words:?} after {from} in {calls:#?}")) + from
}

/// 201 once the line is on disk: lock, write, unlock, sync, the directory's too, answer.
#[test]
fn acknowledged_after_the_sync() {
    let Some(traced) = Traced::start(&[]) else { return };
    traced.server.say("room", "omri", "the first of a new file");
    traced.server.say("room", "omri", "the second");
    let calls = traced.calls();
    let locked = find(&calls, 0, &["flock(", "room.log", "LOCK_EX", "= 0"]);
    let written = find(&calls, locked, &["write", "room.log", "the first of a new file"]);
    let unlocked = find(&calls, written, &["flock(", "room.log", "LOCK_UN", "= 0"]);
    let synced = find(&calls, unlocked, &["fdatasync(", "room.log", "= 0"]);
    let answered = find(&calls, 0, &["HTTP/1.1 201"]);
    assert!(synced < answered, "acknowledged before the sync: {calls:#?}");
    let store = find(&calls, written, &["fsync(", "= 0"]);
    assert!(!calls[store].contains("room.log") && store < answered, "{calls:#?}");
    let locked = find(&calls, answered, &["flock(", "room.log", "LOCK_EX", "= 0"]);
    let written = find(&calls, locked, &["write", "room.log", "the second"]);
    let synced = find(&calls, written, &["fdatasync(", "room.log", "= 0"]);
    let answered = find(&calls, answered + 1, &["HTTP/1.1 201"]);
    assert!(synced < answered, "acknowledged before the sync: {calls:#?}");
}

/// Posts one line after the other until one is acknowledged after one was not; checks that
/// the log has them all, once, and gives the message of the first that was not.
fn post_through_a_fault(traced: &Traced) -> String {
    let (server, dir) = (&traced.server, &traced.dir);
    let mut failed = None;
    for number in 0..50 {
        let message = format!("line {number}.");
        let answer = server.post("room", "omri", &message);
        let log = String::from_utf8(dir.read("room.log")).expect("UTF-8");
        assert_eq!(server.get(LOG).text(), log, "a reader sees what is there");
        let messages: Vec<_> = log.split_inclusive('\n').map(|line| parse_line(line).1).collect();
        let expected: Vec<_> = (0..=number).map(|number| format!("line {number}.")).collect();
        assert_eq!(messages, expected, "what a reader may have seen is never taken back");
        if answer.status == 201 {
            assert!(log.ends_with(&created(&answer).line));
            if let Some(failed) = failed {
                return failed;
            }
        } else {
            refused(&answer, 503, &[]);
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            failed.get_or_insert(message);
        }
    }
    panic!("no sync failed, or all did");
}

/// A line whose sync failed stays, unacknowledged; the next sync covers it again.
#[test]
fn failed_sync() {
    // `strace` counts the calls of each thread for itself.
    let Some(traced) = Traced::start(&["-e", "inject=fdatasync:error=EIO:when=3"]) else { return };
    let message = post_through_a_fault(&traced);
    let calls = traced.calls();
    let failed = find(&calls, 0, &["fdatasync(", "room.log", "EIO"]);
    // The kernel tells of lost pages once: only what is written again is synced again.
    let again = find(&calls, failed, &["write", "room.log", &message]);
    let synced = find(&calls, again, &["fdatasync(", "room.log", "= 0"]);
    let answered = find(&calls, failed, &["HTTP/1.1 201"]);
    assert!(synced < answered, "acknowledged on top of what may be lost: {calls:#?}");
}

/// A line that a dead writer left unsynced, and whose sync fails when a post is to be told of it: it
/// is written again before anybody is told, also when other rooms were used meanwhile.
#[test]
fn failed_sync_of_anothers_line() {
    let dir = TempDir::new();
    let log = dir.file("room.log");
    append(&log, b"[2018-02-25 14:00:51] omri: first\n");
    // Only calls about this file are seen, and fail: the first of each thread.
    let path = log.to_str().expect("UTF-8");
    let faults = ["-P", path, "-e", "inject=fdatasync:error=EIO:when=1"];
    let Some(traced) = Traced::start_in(dir, &faults) else { return };
    let after = traced.server.get(LOG).cursor();
    append(&log, b"[2018-02-25 14:00:52] omri: left behind\n");
    let after = format!("{}&after={}-{}", form("omri", "left behind"), after.epoch, after.length);
    let mut client = traced.server.connect();
    let mut post = || client.request("POST", LOG, &[FORM], after.as_bytes()).status;
    assert_eq!(post(), 503);
    // More rooms than a server knows when nobody uses them.
    let mut other = traced.server.connect();
    for number in 0..4_500 {
        assert_eq!(other.request("GET", &format!("/chat/room{number}"), &[], b"").status, 200);
    }
    eventually("it is told of", || post() == 200);
    let calls = traced.calls();
    let failed = find(&calls, 0, &["fdatasync(", "room.log", "EIO"]);
    let again = find(&calls, failed, &["write", "room.log", "left behind"]);
    find(&calls, again, &["fdatasync(", "room.log", "= 0"]);
}

/// No line of a new room is acknowledged before the room's name is on the device.
#[test]
fn failed_directory_sync() {
    let Some(traced) = Traced::start(&["-e", "inject=fsync:error=EIO:when=1"]) else { return };
    post_through_a_fault(&traced);
    let calls = traced.calls();
    let failed = find(&calls, 0, &["fsync(", "EIO"]);
    let synced = find(&calls, failed + 1, &["fsync(", "= 0"]);
    let answered = find(&calls, 0, &["HTTP/1.1 201"]);
    assert!(synced < answered, "acknowledged without a name on the device: {calls:#?}");
}

/// Several posts in one commit: many acknowledgements, one sync, and no write but the lines.
#[test]
fn one_sync_for_many() {
    let Some(traced) = Traced::start(&[]) else { return };
    let server = &traced.server;
    server.say("room", "omri", "first");
    let lock = fs::File::open(traced.dir.file("room.log")).expect("the log");
    lock.lock().expect("locked");
    std::thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || server.say("room", "omri", &format!("waiting {number}")));
        }
        eventually("all came", || server.metric("catchat_connections") >= 20.0);
        drop(lock);
    });
    let calls = traced.calls();
    let of = |words: &[&str]| {
        calls.iter().filter(|call| words.iter().all(|word| call.contains(word))).count()
    };
    assert_eq!(of(&["HTTP/1.1 201"]), 21);
    let (writes, syncs) = (of(&["write", "room.log"]), of(&["fdatasync(", "room.log"]));
    assert!(writes <= 10 && syncs <= 10, "{writes} writes and {syncs} syncs for 21 posts");
    assert_eq!(of(&["ftruncate"]), 0, "nothing was torn, nothing is cut");
}
