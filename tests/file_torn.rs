//! The contract's section Files: logs as dead writers leave them and as scripts write them.

mod common;

use common::check::created;
use common::client::Response;
use common::dir::TempDir;
use common::live::{append, unquoted};
use common::server::{Server, Setup, form};

const LOG: &str = "/chat/room";

/// The most memory that a server may come to while it streams.
const MEMORY_MAX_KIB: u64 = 60_000;

/// Whole lines only: a line being written is not there yet.
#[test]
fn torn_line_is_not_there() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let text =
        server.say("room", "omri", "first").line + &server.say("room", "omri", "second").line;
    let etag = server.head(LOG).etag().to_string();
    for torn in ["[2018-02-25", "[2018-02-25 14:00:51] omri: hi", "\u{23ce}", &"x".repeat(300_000)]
    {
        std::fs::write(dir.file("room.log"), text.clone() + torn).expect("written");
        let log = server.get(LOG);
        assert_eq!((log.text(), log.etag()), (text.as_str(), etag.as_str()));
        assert_eq!(server.get_with(LOG, &[("If-None-Match", &etag)]).status, 304);
        let tail = server.get("/chat/room?tail=1");
        assert_eq!(
            (tail.text(), tail.etag()),
            (text.lines().last().map(line).unwrap().as_str(), etag.as_str())
        );
        let end = format!("bytes={}-", text.len());
        assert_eq!(server.get_with(LOG, &[("Range", &end)]).status, 416);
        let last = server.get_with(LOG, &[("Range", "bytes=-1")]);
        assert_eq!((last.status, last.text()), (206, "\n"));
    }
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

/// A log of nothing but a torn line is an empty log.
#[test]
fn only_torn() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    std::fs::write(dir.file("room.log"), "no end").expect("written");
    let log = server.get(LOG);
    assert_eq!((log.status, log.text(), log.etag()), (200, "", "\"0-0\""));
}

/// A tail of lines that are longer or shorter than any buffer is right as well.
#[test]
fn tail_of_odd_lines() {
    let dir = TempDir::new();
    let server = Server::on(&dir);
    let lengths = [0, 1, 4_095, 4_096, 65_535, 65_536, 0, 0, 200_000, 8_191, 3];
    let lines: Vec<String> = lengths.iter().map(|&length| "x".repeat(length) + "\n").collect();
    std::fs::write(dir.file("room.log"), lines.concat()).expect("written");
    for count in 1..=lines.len() {
        let answer = server.get(&format!("/chat/room?tail={count}"));
        assert!(answer.text() == lines[lines.len() - count..].concat(), "tail={count}");
    }
}

fn post_after(server: &Server, username: &str, message: &str, after: &str) -> Response {
    server.post_form(LOG, &format!("{}&after={after}", form(username, message)))
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
    let (count, end) = server.connect().stream("/chat/room", 100);
    assert_eq!(count, length + 7);
    assert!(end.ends_with(b"x\nshort\n"));
    let posted = server.say("torn", "omri", "hi");
    assert_eq!(server.get("/chat/torn").text(), posted.line);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for one long line");
}
