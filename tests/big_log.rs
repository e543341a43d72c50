//! Memory does not grow with the room: large logs stream, and their ends are found quickly.

mod common;

use common::server::Server;
use common::store::Store;
use std::time::{Duration, Instant};

/// The most memory that a server may come to while it streams.
const MEMORY_MAX_KIB: u64 = 60_000;

/// How long a small part of a large log may take, on a busy machine.
const QUICK: Duration = Duration::from_secs(2);

fn line(number: usize, line_len: usize) -> String {
    format!("[2018-02-25 14:00:51] omri: {number:0>width$}\n", width = line_len - 29)
}

/// A large log streams in bounded memory, to several readers at once; its parts are quick.
#[test]
fn streams() {
    let store = Store::new();
    let (lines, line_len) = store.large_log();
    store.fill_lines("room", lines, line_len);
    let server = Server::on(&store);
    let quick = |what: &str, start: Instant| {
        let took = start.elapsed();
        assert!(took < QUICK, "{what} took {took:?}");
    };
    let start = Instant::now();
    let tail = server.get("/chat/room?tail=10");
    quick("the first tail", start);
    let expected: String = (lines - 10..lines).map(|number| line(number, line_len)).collect();
    assert_eq!(tail.text(), expected);
    assert_eq!(tail.cursor().length, (lines * line_len) as u64);
    let start = Instant::now();
    let middle = lines / 3;
    let range = format!("bytes={}-{}", middle * line_len, (middle + 1) * line_len - 1);
    let part = server.get_with("/chat/room", &[("Range", &range)]);
    assert_eq!((part.status, part.text()), (206, line(middle, line_len).as_str()));
    let same = server.get_with("/chat/room", &[("If-None-Match", tail.etag())]);
    assert_eq!(same.status, 304);
    let posted = server.say("room", "omri", "hi");
    assert_eq!(server.get("/chat/room?tail=1").text(), posted.line);
    quick("a part, a poll, a post and a tail", start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (length, end) = server.connect().stream("/chat/room", line_len);
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
    let store = Store::new();
    let (lines, line_len) = store.large_log();
    store.fill_lines("room", lines, line_len);
    let server = Server::on(&store);
    let tail = lines / 10 * 9;
    let (length, _) = server.connect().stream(&format!("/chat/room?tail={tail}"), 0);
    assert_eq!(length, tail * line_len);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for a long tail");
}
