//! What a crowd, a script or an operator does to files that a server has open: nobody is held up,
//! nothing stays open or in memory without a limit, and nobody reads half a line.

mod common;

use common::client::Client;
use common::dir::TempDir;
use common::live::{Live, append, length, unquoted, write_log};
use common::server::{FORM, Server, Setup, form};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Nobody posts to a room as fast as this while others search a whole log for lines.
const PROMPT: Duration = Duration::from_secs(6);

/// What 60 slow readers of 12 large logs may cost, in KiB: each had kept 8 MiB of its own.
const SLOW_READERS: usize = 60;
const SLOW_READERS_KIB: u64 = 300_000;

/// Rooms that are posted to and never read, many more than there are descriptors: their files were
/// not counted, and the server ran out of descriptors for good.
#[test]
fn posted_to_and_never_read() {
    let dir = TempDir::new();
    let server = Setup::on(&dir).ulimit("-n 256").start();
    let mut client = server.connect();
    for number in 0..600 {
        let body = form("omri", "hi");
        let target = format!("/chat/room{number}");
        let posted = client.request("POST", &target, &[FORM], body.as_bytes());
        assert_eq!(posted.status, 201, "{target}: {}", posted.text());
    }
    assert_eq!(server.get("/chat/room0").text().lines().count(), 1);
}

/// Whole large logs, asked for by clients that do not read: what the server has in memory is
/// theirs together.
#[test]
fn slow_readers_share_memory() {
    let dir = TempDir::new();
    for number in 0..12 {
        write_log(&dir.file(&format!("room{number}.log")), 7_900, 1_000);
    }
    let server = Server::on(&dir);
    let slow: Vec<Client> = (0..SLOW_READERS)
        .map(|number| {
            let mut client = Client::narrow(server.address);
            let target = format!("/chat/room{}", number % 12);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
            assert_eq!(client.head().expect("a head").status, 200);
            client
        })
        .collect();
    let memory = server.memory_kib("VmRSS");
    assert!(memory < SLOW_READERS_KIB, "{memory} KiB");
    drop(slow);
}

/// Clients that ask for more lines than a long log has, and go away: their searches took all
/// threads, and posts to other rooms waited for them.
#[test]
fn searches_hold_up_no_post() {
    let dir = TempDir::new();
    append(&dir.file("room.log"), b"[2018-02-25 14:00:51] omri: hi\n");
    let log = OpenOptions::new().write(true).open(dir.file("room.log")).expect("there");
    log.write_all_at(b"\n", 150_000_000).expect("a long line");
    let server = Server::on(&dir);
    for _ in 0..130 {
        server.connect().send(b"GET /chat/room?tail=9999999 HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let start = Instant::now();
    server.say("other", "omri", "hi");
    assert!(start.elapsed() < PROMPT, "after {:?}", start.elapsed());
}

/// A log that is edited in its place under a stream, so that a line goes on where another one
/// ended: the stream begins anew. It went on in the middle of the line.
#[test]
fn edited_in_place_under_a_stream() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let posted = ["first", "second", "third"].map(|text| server.say("room", "omri", text));
    let at_end = [("Last-Event-ID", unquoted(&posted[2].etag))];
    let mut live = Live::events(&server, "/chat/room", &at_end);
    let log = OpenOptions::new().write(true).open(dir.file("room.log")).expect("there");
    let long = format!("[2018-02-25 14:00:51] dana: {}\n", "rewritten ".repeat(30));
    log.write_all_at(long.as_bytes(), posted[0].cursor.length).expect("edited");
    assert_eq!(length(&live.expect_reset()), 0);
    live.expect_line(&posted[0].line);
    live.expect_line(&long);
}

/// A log that looks like an answer of the HTTP library to what is no request: it was taken for one.
#[test]
fn looks_like_an_answer() {
    let dir = TempDir::new();
    let begin = b"HTTP/1.1 404 ".to_vec();
    let piece = [&begin[..], &vec![b'x'; 65_536 - begin.len() - 4], b"\r\n\r\n"].concat();
    // So long that its pieces are not in memory, and are written apart from the head.
    append(&dir.file("room.log"), &piece);
    append(&dir.file("room.log"), &b"a line\n".repeat(1_400_000));
    let server = Server::on(&dir);
    assert!(server.get("/chat/room").body == dir.read("room.log"));
}
