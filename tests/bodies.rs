//! The contract's section Posting: bodies over 64 KiB, refused as soon as that is known.

mod common;

use common::check::{created, refused};
use common::client::{Client, Response};
use common::dir::TempDir;
use common::run_tool;
use common::server::{FORM, Server, form};
use common::store::Store;

/// Checks that a body was refused for its size, and that the sentence gives the limit.
fn too_large(response: &Response) {
    refused(response, 413, &[]);
    let said = response.text();
    let limit = ["64 KiB", "65536", "65,536"].iter().any(|limit| said.contains(limit));
    assert!(limit, "{said:?} does not say what is allowed");
}

/// The most that a body may be.
const BODY_MAX: usize = 65_536;

fn padded(length: usize) -> String {
    let body = form("omri", "hi") + "&x=";
    let rest = length - body.len();
    body + &"x".repeat(rest)
}

fn head(fields: &str) -> String {
    format!("POST /chat/room HTTP/1.1\r\nHost: x\r\n{}: {}\r\n{fields}\r\n", FORM.0, FORM.1)
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// 64 KiB exactly are taken, whatever frames they come in.
#[test]
fn largest_body() {
    let store = Store::new();
    let server = Server::on(&store);
    created(&server.post_form("/chat/room", &padded(BODY_MAX)));
    let mut client = server.connect();
    client.send(head("Transfer-Encoding: chunked\r\n").as_bytes());
    for piece in padded(BODY_MAX).as_bytes().chunks(1000) {
        client.send(chunk(std::str::from_utf8(piece).expect("ASCII")).as_bytes());
    }
    client.send(b"0\r\n\r\n");
    created(&client.answer("POST").expect("an answer"));
}

/// A byte more is a 413.
#[test]
fn one_byte_more() {
    let store = Store::new();
    let server = Server::on(&store);
    too_large(&server.post_form("/chat/room", &padded(BODY_MAX + 1)));
    too_large(&server.post_form("/api/chat/room", &padded(BODY_MAX + 1)));
    assert!(store.rooms().is_empty());
}

/// A length over 64 KiB is refused before any of the body is sent.
#[test]
fn early_by_length() {
    let store = Store::new();
    let server = Server::on(&store);
    for length in ["65537", "10000000000", "9223372036854775807"] {
        let mut client = server.connect();
        client.send(head(&format!("Content-Length: {length}\r\n")).as_bytes());
        too_large(&client.answer("POST").expect("an answer before the body"));
        assert!(client.ends(), "nobody waits for a body of {length} bytes");
    }
}

/// Chunks are refused once they are over 64 KiB, without waiting for their end.
#[test]
fn early_by_chunks() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    client.send(head("Transfer-Encoding: chunked\r\n").as_bytes());
    client.send((chunk(&padded(BODY_MAX)) + &chunk("y")).as_bytes());
    too_large(&client.answer("POST").expect("an answer before the last chunk"));
    assert!(store.rooms().is_empty());
}

/// A chunk that says that it is too large is refused as the body it would be.
#[test]
fn huge_chunk() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    client.send(head("Transfer-Encoding: chunked\r\n").as_bytes());
    client.send(b"fffffff\r\n");
    client.send(padded(BODY_MAX + 1).as_bytes());
    too_large(&client.answer("POST").expect("an answer before the chunk's end"));
}

/// A client that asks first (`Expect: 100-continue`) is told 413 at once, and never to go on.
#[test]
fn expect_too_much() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    client.send(head("Content-Length: 65537\r\nExpect: 100-continue\r\n").as_bytes());
    let answer = client.answer("POST").expect("an answer");
    too_large(&answer);
    assert!(answer.interim.is_empty(), "{answer:?}");
}

/// A client that asks first and sends little is told to go on.
#[test]
fn expect_little() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    let body = form("omri", "hi");
    let fields = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    client.send(head(&fields).as_bytes());
    assert_eq!(client.head().expect("an interim answer").status, 100);
    client.send(body.as_bytes());
    created(&client.answer("POST").expect("an answer"));
}

/// Other refusals are known from the head as well and need no body: 403, 405, 415, 400.
#[test]
fn other_early_refusals() {
    let store = Store::new();
    let server = Server::on(&store);
    for (line, fields, status) in [
        ("POST /chat/room", "Content-Type: application/json\r\n", 415),
        ("POST /chat/room", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("POST /chat/%FF", "", 400),
        ("POST /no/such", "", 404),
        ("PUT /chat/room", "", 405),
    ] {
        let mut client = server.connect();
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n");
        client.send(format!("{head}Content-Length: 100\r\n{fields}\r\n").as_bytes());
        let answer = client.answer("POST").expect("an answer");
        refused(&answer, status, &[]);
        assert!(answer.interim.is_empty(), "{line} {answer:?}");
    }
}

/// A client that sends all of a large body before it reads still gets its 413.
#[test]
fn answer_reaches_a_stubborn_sender() {
    let store = Store::new();
    let server = Server::on(&store);
    for length in [BODY_MAX + 1, 200_000, 1_000_000] {
        for _ in 0..5 {
            too_large(&server.post_form("/chat/room", &padded(length)));
        }
    }
    let data = format!("message={}", "x".repeat(900_000));
    let dir = TempDir::new();
    let file = dir.file("large.form");
    std::fs::write(&file, data).expect("written");
    let url = format!("http://{}/chat/room", server.address);
    let file = format!("@{}", file.display());
    let output = run_tool("curl", &["-sS", "-m", "20", "-H", "Expect:", "-d", &file, &url]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl never saw the answer: {said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("the body"), "{output:?}");
}

/// An answer to a body that was read whole leaves the connection open for the next request.
#[test]
fn refusals_keep_alive() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    for _ in 0..3 {
        let bad = client.request("POST", "/chat/room", &[FORM], b"username=&message=");
        refused(&bad, 400, &[]);
        let good = form("omri", "hi");
        created(&client.request("POST", "/chat/room", &[FORM], good.as_bytes()));
        assert_eq!(client.request("GET", "/no/such", &[], b"").status, 404);
        let kind = ("Content-Type", "application/json");
        let early = client.request("POST", "/chat/room", &[kind], b"{}");
        refused(&early, 415, &[]);
        if early.header("connection") == Some("close") {
            client = server.connect();
        }
    }
    assert_eq!(server.get("/chat/room").text().lines().count(), 3);
}

/// A post whose body ends before its length is stored nowhere.
#[test]
fn cut_off_body() {
    let store = Store::new();
    let server = Server::on(&store);
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client: Client = server.connect();
        client.send((head(fields) + &chunk(&form("omri", "hi"))).as_bytes());
        client.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        if let Ok(answer) = client.answer_of_any_kind("POST") {
            assert_eq!(answer.status, 400, "{answer:?}");
        }
    }
    assert!(store.rooms().is_empty());
}
