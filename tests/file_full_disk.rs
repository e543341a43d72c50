//! A store without room: 507, and the log holds whole lines, each acknowledged one once.

mod common;

use common::check::{created, refused};
use common::client::Response;
use common::dir::TempDir;
use common::server::{FORM, Server, Setup, form};
use common::{eventually, skip, tool_command};
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const LOG: &str = "/chat/room";

/// A file may grow to 32 or 64 KiB, as the shell counts its blocks.
const FILE_LIMIT: &str = "-f 64";

/// Posts until the store is full; gives what was acknowledged, as it should stand in the log.
fn post_until_full(server: &Server, length: usize) -> String {
    let mut client = server.connect();
    let mut log = String::new();
    loop {
        let body = form("omri", &"x".repeat(length));
        let answer = client.request("POST", LOG, &[FORM], body.as_bytes());
        if answer.status != 201 {
            refused(&answer, 507, &[]);
            return log;
        }
        log += &created(&answer).line;
        assert!(log.len() < 10_000_000, "the limit is no limit");
    }
}

/// No room left: 507; all that was acknowledged stands there, and nothing else.
#[test]
fn file_limit() {
    let dir = TempDir::new();
    let server = Setup::on(&dir).ulimit(FILE_LIMIT).start();
    let mut log = post_until_full(&server, 3_000);
    assert!(dir.read("room.log") == log.as_bytes());
    for length in [500, 50, 1] {
        log += &post_until_full(&server, length);
        assert!(dir.read("room.log") == log.as_bytes(), "after lines of {length} bytes");
        let read = server.get(LOG);
        assert!(read.text() == log);
        assert_eq!(read.cursor().length, log.len() as u64);
    }
    server.say("another", "omri", "other rooms have room");
    fs::rename(dir.file("room.log"), dir.file("room.log.1")).expect("rotated");
    server.say("room", "omri", "and so has the next log");
    assert!(server.metric("catchat_store_errors_total") >= 1.0);
}

/// Of many posts in one write the whole lines stay and are acknowledged, the others fail.
#[test]
fn partial_write() {
    let dir = TempDir::new();
    let server = Setup::on(&dir).ulimit(FILE_LIMIT).start();
    let mut acknowledged = vec![server.say("room", "omri", "first").line];
    let lock = File::open(dir.file("room.log")).expect("the log");
    lock.lock().expect("locked");
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let body = form("omri", &format!("{number}: {}", "x".repeat(1_000 + number)));
        let head = format!("POST {LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        client.send(format!("{head}{}: {}\r\n\r\n{body}", FORM.0, FORM.1).as_bytes());
    }
    eventually("all are connected", || server.metric("catchat_connections") >= 100.0);
    drop(lock);
    let mut failed = 0;
    for client in &mut clients {
        let answer: Response = client.answer("POST").expect("an answer");
        if answer.status == 201 {
            let posted = created(&answer);
            let log = dir.read("room.log");
            assert!(log[..posted.cursor.length as usize].ends_with(posted.line.as_bytes()));
            acknowledged.push(posted.line);
        } else {
            refused(&answer, 507, &[]);
            failed += 1;
        }
    }
    assert!(failed > 0 && acknowledged.len() > 10, "{failed} failed");
    check_once(&dir.read("room.log"), &acknowledged);
    assert_eq!(server.get(LOG).body, dir.read("room.log"));
}

fn check_once(log: &[u8], acknowledged: &[String]) {
    let text = std::str::from_utf8(log).expect("UTF-8");
    assert!(text.ends_with('\n'), "a torn line");
    let lines: HashSet<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), text.lines().count(), "a line stands twice");
    assert_eq!(lines, acknowledged.iter().map(String::as_str).collect());
}

/// Two servers fill one log together.
#[test]
fn two_servers() {
    let dir = TempDir::new();
    let servers = [(); 2].map(|()| Setup::on(&dir).ulimit(FILE_LIMIT).start());
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let posters: Vec<_> = (0..6)
            .map(|poster| {
                let server = &servers[poster % 2];
                scope.spawn(move || post_numbered(server, poster))
            })
            .collect();
        posters.into_iter().flat_map(|poster| poster.join().expect("posted")).collect()
    });
    check_once(&dir.read("room.log"), &acknowledged);
}

fn post_numbered(server: &Server, poster: usize) -> Vec<String> {
    let mut client = server.connect();
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    for number in 0.. {
        let message = format!("{poster}/{number}: {}", "x".repeat(300 + 100 * poster));
        let body = form("omri", &message);
        let answer = client.request("POST", LOG, &[FORM], body.as_bytes());
        if answer.status == 201 {
            acknowledged.push(created(&answer).line);
        } else {
            refused(&answer, 507, &[]);
            failed += 1;
        }
        if failed == 10 {
            break;
        }
    }
    acknowledged
}

/// A small file system in memory, gone with its owner.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Option<Tmpfs> {
        fs::create_dir(path).expect("a directory");
        let mut mount = tool_command("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=777", "tmpfs"]).arg(path);
        let output = mount.output().expect("mount");
        output.status.success().then(|| Tmpfs(path.to_path_buf()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A full file system answers 507 too, also for the first line of a room, and recovers.
#[test]
fn full_file_system() {
    let dir = TempDir::new();
    let Some(disk) = Tmpfs::mount(&dir.file("disk")) else {
        skip("only root may mount a small file system to fill it");
        return;
    };
    let store = disk.0.join("rooms");
    let server = Server::on(&store);
    let read = || fs::read(store.join("room.log")).expect("the log");
    let first = server.say("room", "omri", "first").line;
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 100_000]).expect("written");
    let log = first + &post_until_full(&server, 3_000);
    assert!(read() == log.as_bytes());
    let more = post_until_full(&server, 16_000);
    assert!(read() == (log.clone() + &more).as_bytes());
    refused(&server.post("another", "omri", &"x".repeat(16_000)), 507, &[]);
    assert_eq!(server.get("/chat/another").text(), "");
    assert!(server.get(LOG).text() == log.clone() + &more);
    fs::remove_file(ballast).expect("removed");
    let next = server.say("room", "omri", "there is room again").line;
    assert!(read() == (log + &more + &next).as_bytes());
    eventually("all is well", || server.get("/-/health").status == 200);
}
