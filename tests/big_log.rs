//! Memory does not grow with the room: large logs stream, and their ends are found quickly.

mod common;

use common::client::Client;
use common::dir::TempDir;
use common::server::Server;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const LINES: usize = 3_000_000;
const LINE_LEN: usize = 100;

/// The most memory that a server may come to while it streams.
const MEMORY_MAX_KIB: u64 = 60_000;

/// How long a small part of a large log may take, on a busy machine.
const QUICK: Duration = Duration::from_secs(2);

fn line(number: usize) -> String {
    format!("[2018-02-25 14:00:51] omri: {number:0>71}\n")
}

/// A log of 300 MB, every byte of it written.
fn write_log(path: &Path) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("the log"));
    for number in 0..LINES {
        file.write_all(line(number).as_bytes()).expect("written");
    }
    file.flush().expect("written");
}

/// Reads a body to its end; gives its length and its last bytes.
fn stream(client: &mut Client, target: &str) -> (usize, Vec<u8>) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let head = client.head().expect("a head");
    assert_eq!(head.status, 200);
    let length: usize = head.header("content-length").expect("a length").parse().expect("a number");
    let (mut count, mut end) = (0, Vec::new());
    while count < length {
        let piece = client.some().expect("more");
        assert!(!piece.is_empty(), "it ends after {count} of {length} bytes");
        count += piece.len();
        end.extend_from_slice(&piece);
        end.drain(..end.len().saturating_sub(LINE_LEN));
    }
    (count, end)
}

/// A log of 300 MB streams in bounded memory, to several readers at once; its parts are quick.
#[test]
fn streams() {
    let dir = TempDir::new();
    assert_eq!(line(0).len(), LINE_LEN);
    write_log(&dir.file("room.log"));
    let server = Server::on(&dir);
    let quick = |what: &str, start: Instant| {
        let took = start.elapsed();
        assert!(took < QUICK, "{what} took {took:?}");
    };
    let start = Instant::now();
    let tail = server.get("/chat/room?tail=10");
    quick("the first tail", start);
    let expected: String = (LINES - 10..LINES).map(line).collect();
    assert_eq!(tail.text(), expected);
    assert_eq!(tail.cursor().length, (LINES * LINE_LEN) as u64);
    let start = Instant::now();
    let range = format!("bytes={}-{}", 1_000_000 * LINE_LEN, 1_000_001 * LINE_LEN - 1);
    let part = server.get_with("/chat/room", &[("Range", &range)]);
    assert_eq!((part.status, part.text()), (206, line(1_000_000).as_str()));
    let same = server.get_with("/chat/room", &[("If-None-Match", tail.etag())]);
    assert_eq!(same.status, 304);
    let posted = server.say("room", "omri", "hi");
    assert_eq!(server.get("/chat/room?tail=1").text(), posted.line);
    quick("a part, a poll, a post and a tail", start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (length, end) = stream(&mut server.connect(), "/chat/room");
                assert_eq!(length as u64, posted.cursor.length);
                assert!(end.ends_with(posted.line.as_bytes()));
            });
        }
    });
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB to stream a large log");
}

/// A tail of very many lines streams too.
#[test]
fn long_tail() {
    let dir = TempDir::new();
    let text = line(7).repeat(1_000_000);
    std::fs::write(dir.file("room.log"), &text).expect("written");
    let server = Server::on(&dir);
    let (length, _) = stream(&mut server.connect(), "/chat/room?tail=900000");
    assert_eq!(length, 900_000 * LINE_LEN);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for a long tail");
}

/// One line that is larger than any buffer, written by a script, streams as well.
#[test]
fn one_long_line() {
    let dir = TempDir::new();
    let length = 100_000_000;
    let mut text = vec![b'x'; length];
    text.extend_from_slice(b"\nshort\n");
    std::fs::write(dir.file("room.log"), &text).expect("written");
    std::fs::write(dir.file("torn.log"), &text[..length]).expect("written");
    drop(text);
    let server = Server::on(&dir);
    assert_eq!(server.get("/chat/room?tail=1").text(), "short\n");
    assert_eq!(server.get("/chat/torn").text(), "");
    let (count, end) = stream(&mut server.connect(), "/chat/room");
    assert_eq!(count, length + 7);
    assert!(end.ends_with(b"x\nshort\n"));
    let posted = server.say("torn", "omri", "hi");
    assert_eq!(server.get("/chat/torn").text(), posted.line);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for one long line");
}
