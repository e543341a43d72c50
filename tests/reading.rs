//! The contract's section Reading: headers, conditional requests and `?tail`.

mod common;

use common::check::refused;
use common::client::Response;
use common::server::Server;
use common::store::Store;

const LOG: &str = "/chat/room";

/// A room of some lines: the log as text and its `ETag`.
fn fill(server: &Server, lines: usize) -> (String, String) {
    let posted: Vec<_> =
        (0..lines).map(|number| server.say("room", "omri", &format!("line {number}"))).collect();
    let log = posted.iter().map(|posted| posted.line.as_str()).collect();
    (log, posted.last().expect("a line").etag.clone())
}

fn if_none_match(server: &Server, tags: &str) -> Response {
    server.get_with(LOG, &[("If-None-Match", tags)])
}

/// Reading gives the whole log as text, with what a client needs to go on from it.
#[test]
fn whole_log() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server, 3);
    for log in
        [server.get(LOG), server.get("/api/chat/room"), server.get_with(LOG, &[("Accept", "*/*")])]
    {
        assert_eq!((log.status, log.text(), log.etag()), (200, text.as_str(), etag.as_str()));
        assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(log.header("content-length"), Some(text.len().to_string().as_str()));
        assert_eq!(log.header("accept-ranges"), Some("bytes"));
        assert_eq!(log.header("cache-control"), Some("no-cache"));
        let vary = log.header("vary").expect("Vary");
        assert!(vary.eq_ignore_ascii_case("accept"), "{vary}");
        assert_eq!(log.cursor().length, text.len() as u64);
    }
    let head = server.head(LOG);
    assert_eq!(head.header("content-length"), Some(text.len().to_string().as_str()));
    assert_eq!(head.etag(), etag);
}

/// An empty log says the same of itself.
#[test]
fn empty_log() {
    let store = Store::new();
    let log = Server::on(&store).get("/chat/nobody");
    assert_eq!((log.status, log.text(), log.etag()), (200, "", "\"0-0\""));
    assert_eq!(log.header("content-length"), Some("0"));
    assert_eq!(log.header("accept-ranges"), Some("bytes"));
    assert_eq!(log.header("cache-control"), Some("no-cache"));
}

/// `If-None-Match` with the current `ETag` is a 304 without a body.
#[test]
fn not_modified() {
    let store = Store::new();
    let server = Server::on(&store);
    let (_, etag) = fill(&server, 3);
    let mut client = server.connect();
    for tags in [
        etag.clone(),
        format!("W/{etag}"),
        "*".to_string(),
        format!("\"x\", {etag}"),
        format!("{etag},\"y\""),
        format!("\"a,b\" , W/\"c\",{etag} "),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, LOG, &[("If-None-Match", &tags)], b"");
            assert_eq!((answer.status, answer.etag()), (304, etag.as_str()), "{method} {tags}");
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            assert!(answer.header("vary").is_some());
        }
    }
}

/// Any other tag is the log as it is now.
#[test]
fn modified() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server, 3);
    let bare = etag.trim_matches('"').to_string();
    let (epoch, length) = bare.split_once('-').expect("a cursor");
    let other = if epoch == "00000000" { "11111111" } else { "00000000" };
    for tags in [
        "\"0-0\"".to_string(),
        format!("\"{epoch}-0\""),
        format!("\"{other}-{length}\""),
        format!("\"{bare}0\""),
        format!("\"{} \"", bare),
        bare.clone(),
        "\"\"".to_string(),
        "x".to_string(),
        "\"unfinished".to_string(),
    ] {
        let answer = if_none_match(&server, &tags);
        assert_eq!((answer.status, answer.text()), (200, text.as_str()), "{tags}");
    }
}

/// A tag is of one state of the log: the next line ends it.
#[test]
fn a_line_changes_the_tag() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server, 1);
    assert_eq!(if_none_match(&server, &etag).status, 304);
    let posted = server.say("room", "dana", "hi");
    let answer = if_none_match(&server, &etag);
    assert_eq!((answer.status, answer.etag()), (200, posted.etag.as_str()));
    assert_eq!(answer.text(), text + &posted.line);
}

/// `If-Match` that names another state is a 412, the current one is read (RFC 9110, 13.1.1).
#[test]
fn if_match() {
    let store = Store::new();
    let server = Server::on(&store);
    let (_, etag) = fill(&server, 2);
    for tags in [etag.clone(), "*".to_string(), format!("\"x\", {etag}")] {
        assert_eq!(server.get_with(LOG, &[("If-Match", &tags)]).status, 200, "{tags}");
    }
    for tags in ["\"0-0\"".to_string(), format!("W/{etag}")] {
        refused(&server.get_with(LOG, &[("If-Match", &tags)]), 412, &[]);
    }
}

/// Dates are no validators of a log, which has no `Last-Modified`: they are ignored.
#[test]
fn dates_are_ignored() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server, 2);
    for date in ["Tue, 01 Jan 2199 00:00:00 GMT", "Mon, 01 Jan 1990 00:00:00 GMT"] {
        for name in ["If-Modified-Since", "If-Unmodified-Since"] {
            let answer = server.get_with(LOG, &[(name, date)]);
            assert_eq!((answer.status, answer.text()), (200, text.as_str()), "{name}");
        }
    }
}

/// `?tail=N` is the last N lines, 200, under the whole log's cursor.
#[test]
fn tail() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, etag) = fill(&server, 12);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for count in [0, 1, 2, 5, 11, 12, 13, 1_000_000] {
        let answer = server.get(&format!("/chat/room?tail={count}"));
        let expected = lines[lines.len() - count.min(lines.len())..].concat();
        assert_eq!((answer.status, answer.text()), (200, expected.as_str()), "tail={count}");
        assert_eq!(answer.etag(), etag);
        assert_eq!(answer.header("content-length"), Some(expected.len().to_string().as_str()));
        let head = server.head(&format!("/chat/room?tail={count}"));
        assert_eq!(head.header("content-length"), answer.header("content-length"));
    }
    assert_eq!(server.get("/chat/nobody?tail=5").text(), "");
    assert_eq!(server.get("/chat/nobody?tail=5").etag(), "\"0-0\"");
}

/// A client knows where the lines of its tail begin and fetches what is before them by `Range`.
#[test]
fn before_the_tail() {
    let store = Store::new();
    let server = Server::on(&store);
    let (text, _) = fill(&server, 10);
    let tail = server.get("/chat/room?tail=3");
    let begin = tail.cursor().length - tail.body.len() as u64;
    let range = format!("bytes=0-{}", begin - 1);
    let before = server.get_with(LOG, &[("Range", &range), ("If-Range", tail.etag())]);
    assert_eq!(before.status, 206);
    assert_eq!(before.text().to_string() + tail.text(), text);
}

/// A tail of lines of any length that a post may have is right as well.
#[test]
fn tail_of_odd_lines() {
    let store = Store::new();
    let server = Server::on(&store);
    let lengths = [1, 2, 4_067, 4_068, 16_383, 16_384, 1, 1, 16_384, 16_384, 8_163, 3];
    let stamp = "[2018-02-25 14:00:51] omri: ";
    let line = |&length: &usize| format!("{stamp}{}\n", "x".repeat(length));
    let lines: Vec<String> = lengths.iter().map(line).collect();
    store.fill("room", lines.concat().as_bytes());
    for count in 1..=lines.len() {
        let answer = server.get(&format!("/chat/room?tail={count}"));
        assert!(answer.text() == lines[lines.len() - count..].concat(), "tail={count}");
    }
}

/// `?tail` answers 304 to a client that has the whole log's cursor already.
#[test]
fn tail_not_modified() {
    let store = Store::new();
    let server = Server::on(&store);
    let (_, etag) = fill(&server, 3);
    let answer = server.get_with("/chat/room?tail=2", &[("If-None-Match", &etag)]);
    assert_eq!((answer.status, answer.etag()), (304, etag.as_str()));
}

/// A tail of any number of lines begins where one does, however the store counts them.
#[test]
fn tails_of_many_lines() {
    let (lines, line_len) = (10_000, 60);
    let store = Store::new();
    store.fill_lines("room", lines, line_len);
    let server = Server::on(&store);
    let log = server.get(LOG).body;
    assert_eq!(log.len(), lines * line_len);
    for tail in [4_095, 4_096, 4_097, 8_192, 8_193, 9_999, 10_000, 10_001, 599_999, 600_000] {
        let part = server.get(&format!("{LOG}?tail={tail}")).body;
        let start = log.len() - tail.min(lines) * line_len;
        assert!(part == log[start..], "{tail}: {} bytes", part.len());
    }
    assert!(server.get(&format!("{LOG}?tail={}", u64::MAX)).body == log);
}
