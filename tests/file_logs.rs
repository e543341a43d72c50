//! The contract's section Files: what is on disk, and how others may read and write it.

mod common;

use common::check::{created, is_line, refused};
use common::dir::TempDir;
use common::server::{FORM, Server, encode, form};
use common::{eventually, run_tool, tool_command};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const LOG: &str = "/chat/room";

fn append(dir: &TempDir, text: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(dir.file("room.log")).expect("the log");
    file.write_all(text).expect("appended");
}

/// `<data>/<room>.log` is exactly what `GET /chat/<room>` sends.
#[test]
fn log_is_the_file() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let mut expected = String::new();
    for message in ["hi", "a\r\nb", "日本語", "  tab\tand space  ", &"long ".repeat(3000)] {
        expected += &server.say("room", "omri", message).line;
        assert!(dir.read("room.log") == expected.as_bytes());
        assert!(server.get(LOG).body == expected.as_bytes());
    }
    assert_eq!(dir.logs(), ["room.log"]);
}

/// The file name is the room's, with `%XX` for `%`, `/`, a leading `.`, and control characters.
#[test]
fn file_names() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    for (room, file) in [
        ("general", "general.log"),
        ("a b", "a b.log"),
        ("café", "café.log"),
        ("100%", "100%25.log"),
        ("%2F", "%252F.log"),
        (".", "%2E.log"),
        ("..", "%2E..log"),
        (".hidden", "%2Ehidden.log"),
        ("a.b.", "a.b..log"),
        ("a.log", "a.log.log"),
        ("-rf", "-rf.log"),
        ("a\\b", "a\\b.log"),
        ("*", "*.log"),
    ] {
        let posted = server.say(&encode(room), "omri", "hi");
        assert_eq!(dir.read(file), posted.line.as_bytes(), "{room}");
    }
    assert_eq!(dir.logs().len(), 13, "{:?}", dir.names());
}

/// A file that is there already is a room; other files are none.
#[test]
fn found_files() {
    let dir = TempDir::new();
    let text = "[2018-02-25 14:00:51] omri: hi everybody!\nany text\n\n\tis a line\n";
    fs::write(dir.file("room.log"), text).expect("written");
    fs::write(dir.file("notes"), text).expect("written");
    fs::write(dir.file("%2Eold.log"), text).expect("written");
    let server = Server::on(&dir);
    assert_eq!(server.get(LOG).text(), text);
    assert_eq!(server.get("/chat/.old").text(), text);
    assert_eq!(server.get("/chat/notes").text(), "");
    let posted = server.say("room", "omri", "hi");
    assert_eq!(server.get(LOG).text(), text.to_string() + &posted.line);
    assert_eq!(posted.cursor.length as usize, text.len() + posted.line.len());
    assert_eq!(dir.read("notes"), text.as_bytes());
}

/// What a script appends is there at the next read, whatever bytes it is of.
#[test]
fn foreign_lines() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let posted = server.say("room", "omri", "hi");
    let mut expected = posted.line.into_bytes();
    let mut tag = posted.etag;
    for text in [&b"by hand\n"[..], b"\n", b"\xff\xfe\0\n", b"one\ntwo\nthree\n"] {
        append(&dir, text);
        expected.extend_from_slice(text);
        let log = server.get_with(LOG, &[("If-None-Match", &tag)]);
        assert_eq!((log.status, &log.body), (200, &expected));
        assert_eq!(log.cursor().length, expected.len() as u64);
        tag = log.etag().to_string();
    }
}

/// A script may append a line itself under `flock`, while servers write.
#[test]
fn script_under_flock() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    server.say("room", "omri", "first");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            for number in 0..200 {
                let body = form("omri", &format!("posted {number}"));
                created(&client.request("POST", LOG, &[FORM], body.as_bytes()));
            }
        });
        let script = "echo \"by script $0\" >> \"$1\"";
        for number in 0..20 {
            let path = dir.file("room.log");
            let mut flock = tool_command("flock");
            flock.arg(&path).args(["sh", "-c", script, &number.to_string()]).arg(&path);
            assert!(flock.status().expect("flock").success());
        }
    });
    let log = server.get(LOG);
    assert_eq!(log.body, dir.read("room.log"));
    let of = |kind: &str| log.text().lines().filter(|line| line.contains(kind)).count();
    assert_eq!((of("omri: posted "), of("by script "), log.text().lines().count()), (200, 20, 221));
    for number in 0..20 {
        assert_eq!(log.text().lines().filter(|l| *l == format!("by script {number}")).count(), 1);
    }
}

/// A post waits for whoever holds the lock; readers take no lock and do not wait.
#[test]
fn lock_is_kept() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let first = server.say("room", "omri", "first");
    let file = File::open(dir.file("room.log")).expect("the log");
    file.lock().expect("locked");
    let (done, waiting) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(server.say("room", "omri", "second")).expect("heard"));
        let early = waiting.recv_timeout(Duration::from_millis(300));
        assert!(early.is_err(), "posted under a foreign lock: {early:?}");
        assert_eq!(server.get(LOG).text(), first.line, "readers take no lock");
        assert_eq!(server.get("/chat/room?tail=1").text(), first.line);
        server.say("another", "omri", "rooms do not wait for each other");
        append(&dir, b"by the holder\n");
        file.unlock().expect("unlocked");
        let second = waiting.recv_timeout(common::DEADLINE).expect("posted once it is free");
        let log = first.line.clone() + "by the holder\n" + &second.line;
        assert_eq!(second.cursor.length, log.len() as u64);
        assert_eq!(server.get(LOG).text(), log);
    });
}

/// Many posts wait for one foreign lock and are all stored, each once, when it is free.
#[test]
fn many_wait_for_the_lock() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    server.say("room", "omri", "first");
    let file = File::open(dir.file("room.log")).expect("the log");
    file.lock().expect("locked");
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let body = form("omri", &format!("waiting {number}."));
        let head = format!("POST {LOG} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        client.send(format!("{head}{}: {}\r\n\r\n{body}", FORM.0, FORM.1).as_bytes());
    }
    assert_eq!(server.get("/chat/another").status, 200);
    drop(file);
    for (number, client) in clients.iter_mut().enumerate() {
        let posted = created(&client.answer("POST").expect("an answer"));
        is_line(&posted.line, "omri", &format!("waiting {number}."));
        let log = dir.read("room.log");
        assert!(log[..posted.cursor.length as usize].ends_with(posted.line.as_bytes()));
    }
    assert_eq!(server.get(LOG).text().lines().count(), 101);
}

/// However many rooms are locked by others, readers take no lock and wait for nobody.
#[test]
fn many_locked_rooms() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let locks: Vec<_> = (0..100)
        .map(|number| {
            let file = File::create(dir.file(&format!("locked{number}.log"))).expect("a log");
            file.lock().expect("locked");
            file
        })
        .collect();
    fs::write(dir.file("room.log"), "a line\n").expect("written");
    let mut posts: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for (number, client) in posts.iter_mut().enumerate() {
        let body = form("omri", "waiting");
        let target =
            format!("POST /chat/locked{number} HTTP/1.1\r\nHost: x\r\n{}: {}", FORM.0, FORM.1);
        client.send(format!("{target}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }
    eventually("all came", || server.metric("catchat_connections") >= 100.0);
    let start = Instant::now();
    assert_eq!(server.get("/chat/locked0").text(), "");
    assert_eq!(server.get(LOG).text(), "a line\n");
    assert!(start.elapsed() < Duration::from_secs(5), "read after {:?}", start.elapsed());
    drop(locks);
    for client in &mut posts {
        created(&client.answer("POST").expect("an answer"));
    }
}

/// A torn last line that a dead writer left is cut off by the next post.
#[test]
fn torn_tail_is_cut() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let mut expected = server.say("room", "omri", "first").line;
    for torn in ["[2018-02-25 14:00:51] omri: hal", "x", "\u{23ce}\r", &"x".repeat(300_000)] {
        append(&dir, torn.as_bytes());
        let posted = server.say("room", "omri", "next");
        expected += &posted.line;
        assert_eq!(posted.cursor.length, expected.len() as u64);
        assert!(dir.read("room.log") == expected.as_bytes());
    }
    fs::write(dir.file("torn.log"), "nothing but a torn line").expect("written");
    let posted = server.say("torn", "omri", "first");
    assert_eq!(dir.read("torn.log"), posted.line.as_bytes());
}

/// A log ends in a torn line when a server starts: the same as while it runs.
#[test]
fn torn_before_start() {
    let dir = TempDir::new();
    let whole = "[2018-02-25 14:00:51] omri: hi everybody!\n";
    fs::write(dir.file("room.log"), whole.to_string() + "[2018-02-25 14:0").expect("written");
    let server = Server::on(&dir);
    assert_eq!(server.get(LOG).text(), whole);
    let posted = server.say("room", "omri", "hi");
    assert_eq!(dir.read("room.log"), (whole.to_string() + &posted.line).as_bytes());
}

/// `tail -f` works: what is posted appears in it.
#[test]
fn tail_follows() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let first = server.say("room", "omri", "first");
    let mut command = tool_command("tail");
    command.args(["-n", "+1", "-f"]).arg(dir.file("room.log")).stdout(Stdio::piped());
    let mut tail = command.spawn().expect("tail");
    let output = BufReader::new(tail.stdout.take().expect("its output"));
    let (lines, seen) = mpsc::channel();
    thread::spawn(move || output.lines().map_while(Result::ok).for_each(|l| drop(lines.send(l))));
    let next = || seen.recv_timeout(common::DEADLINE).map(|line| line + "\n");
    let mut heard = vec![next()];
    let mut posted = vec![first.line];
    for message in ["second", "third"] {
        posted.push(server.say("room", "omri", message).line);
        heard.push(next());
    }
    let _ = tail.kill();
    let _ = tail.wait();
    assert_eq!(heard, posted.into_iter().map(Ok).collect::<Vec<_>>());
}

/// A store that cannot take a line: 503 with `Retry-After`, and health says so too.
#[test]
fn store_that_cannot() {
    let dir = TempDir::new();
    let store = dir.file("store");
    let server = Server::on(&store);
    fs::create_dir(store.join("room.log")).expect("a directory where the log should be");
    let answer = server.post("room", "omri", "hi");
    refused(&answer, 503, &[]);
    let seconds = answer.header("retry-after").expect("Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
    refused(&server.get(LOG), 503, &[]);
    server.say("another", "omri", "hi");
    assert_eq!(server.get("/-/health").status, 200);
    fs::remove_dir(store.join("room.log")).expect("removed");
    server.say("room", "omri", "hi");
    fs::remove_dir_all(&store).expect("removed");
    refused(&server.post("room", "omri", "hi"), 503, &[]);
    eventually("health says so", || server.get("/-/health").status == 503);
    refused(&server.get("/-/health"), 503, &[]);
    eventually("a word on standard error", || server.said().len() > 1);
}

/// Errors of the store are counted.
#[test]
fn store_errors() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    assert_eq!(server.metric("catchat_store_errors_total"), 0.0);
    fs::create_dir(dir.file("room.log")).expect("a directory where the log should be");
    refused(&server.post("room", "omri", "hi"), 503, &[]);
    assert!(server.metric("catchat_store_errors_total") >= 1.0);
    assert_eq!(server.metric("catchat_lines_appended_total"), 0.0);
}

/// `grep` and `wc` see what a reader sees.
#[test]
fn unix_tools_read() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    (0..50).for_each(|number| drop(server.say("room", "omri", &format!("line {number}"))));
    let file = dir.file("room.log");
    let path = file.to_str().expect("UTF-8");
    let found = run_tool("grep", &["-c", " omri: line ", path]);
    assert_eq!(found.stdout, b"50\n");
    let tail = run_tool("tail", &["-n", "3", path]);
    assert_eq!(tail.stdout, server.get("/chat/room?tail=3").body);
}
