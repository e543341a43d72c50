//! Clients that mean harm or know no better: each gets its answer or its end, others go on.

mod common;

use common::check::refused;
use common::client::{Client, is_timeout};
use common::server::{FORM, Server, Setup, form};
use common::store::Store;
use common::{DEADLINE, eventually};
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

const LOG: &str = "/chat/room";

/// The timeouts of servers here: as short as a busy machine allows.
const TIMEOUT_MS: u32 = 1_000;

/// The most memory that a server may come to, whatever its clients do.
const MEMORY_MAX_KIB: u64 = 60_000;

fn post_head(fields: &str) -> String {
    format!("POST {LOG} HTTP/1.1\r\nHost: x\r\n{}: {}\r\n{fields}\r\n", FORM.0, FORM.1)
}

/// Sends a byte now and then until the server ends the connection.
fn drip(client: &mut Client, bytes: impl Iterator<Item = u8>) {
    let start = Instant::now();
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
    for byte in bytes {
        if client.stream.write_all(&[byte]).is_err() {
            return;
        }
        match client.stream.read(&mut [0; 1024]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => return,
        }
        assert!(start.elapsed() < DEADLINE, "a slow client is never sent away");
    }
    panic!("all was sent, and the connection still stands");
}

/// A head that comes a byte at a time is not waited for.
#[test]
fn slow_head() {
    let store = Store::new();
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let mut slow = server.connect();
    let head = format!("GET {LOG} HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(2_000));
    thread::scope(|scope| {
        scope.spawn(|| drip(&mut slow, head.bytes()));
        server.say("room", "omri", "others are not held up");
    });
    assert!(server.connect().ends(), "a client that says nothing is sent away too");
}

/// A body that comes a byte at a time is not waited for, and nothing of it is stored.
#[test]
fn slow_body() {
    let store = Store::new();
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut slow = server.connect();
            slow.send(post_head("Content-Length: 2000\r\n").as_bytes());
            drip(&mut slow, form("omri", "hi&x=").bytes().chain([b'x'; 1_900]));
        });
        scope.spawn(|| {
            let mut slow = server.connect();
            slow.send(post_head("Transfer-Encoding: chunked\r\n").as_bytes());
            drip(&mut slow, b"1\r\nx\r\n".iter().copied().cycle());
        });
        scope.spawn(|| {
            let mut silent = server.connect();
            silent.send(post_head("Content-Length: 2000\r\n").as_bytes());
            assert!(silent.ends());
        });
    });
    assert_eq!(server.get(LOG).text(), "");
}

/// A client that never reads its answer costs bounded memory, and is sent away in the end.
#[test]
fn never_reads() {
    let store = Store::new();
    store.fill_lines("room", 50_000, 1_000);
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"GET /chat/room HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    server.say("another", "omri", "others are not held up");
    eventually("all are sent away", || server.metric("catchat_connections") <= 1.0);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for clients that never read");
    let answer = clients[0].answer("GET");
    assert!(answer.is_err(), "an answer that was cut off is not a whole one");
}

/// A client that reads slowly, but reads, gets all of its answer.
#[test]
fn reads_slowly() {
    let store = Store::new();
    store.fill_lines("room", 30_000, 1_000);
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let mut client = server.connect();
    client.send(b"GET /chat/room HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().expect("a head").status, 200);
    let mut count = client.some().expect("the beginning").len();
    let mut piece = vec![0; 1_000_000];
    while count < 30_000_000 {
        thread::sleep(Duration::from_millis(100)); // What makes this client slow.
        client.stream.read_exact(&mut piece[..(30_000_000 - count).min(1_000_000)]).expect("more");
        count += (30_000_000 - count).min(1_000_000);
    }
}

/// A client that sends requests and reads no answer is not read from without end.
#[test]
fn asks_and_never_reads() {
    let store = Store::new();
    store.fill_lines("room", 100, 1_000);
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let mut client = server.connect();
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("set");
    let asks = "GET /chat/room HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let blocked = (0..10_000).any(|_| client.stream.write_all(asks.as_bytes()).is_err());
    assert!(blocked, "the server takes requests without end");
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for answers that nobody reads");
    assert_eq!(server.get(LOG).body.len(), 100_000);
}

/// What comes back, if anything, from bytes that are no request.
fn answer_to(server: &Server, garbage: &[u8]) -> Option<String> {
    let mut client = server.connect();
    for piece in garbage.chunks(16_384) {
        if client.stream.write_all(piece).is_err() {
            break; // The server had enough of it.
        }
    }
    let mut bytes = Vec::new();
    match client.stream.read_to_end(&mut bytes) {
        Err(error) if is_timeout(&error) => panic!("neither an answer nor an end"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Ok(_) => {}
    }
    (!bytes.is_empty()).then(|| String::from_utf8(bytes).expect("an answer in UTF-8"))
}

const GARBAGE: &[&[u8]] = &[
    b"\r\n\r\n",
    b"\0",
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1 more\r\nHost: x\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET general HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n A: folded\r\n\r\n",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\nx",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\nx",
    b"POST /chat/room HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nx",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    b"\x80\x81\x82\xff\xfe\xfd\n\n\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nnever ends",
];

/// Garbage is answered by a refusal or an end, never by silence or a success.
#[test]
fn garbage() {
    let store = Store::new();
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    for bytes in GARBAGE {
        let shown = String::from_utf8_lossy(bytes);
        if let Some(answer) = answer_to(&server, bytes) {
            let refused = answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5");
            assert!(refused, "{shown:?} is answered by {answer:?}");
        }
    }
    assert_eq!(server.get("/").status, 200);
    assert!(store.rooms().is_empty());
}

/// Every response carries `Server-Name`, also a refusal of what is no request.
#[test]
fn garbage_learns_the_name() {
    let store = Store::new();
    let server = Setup::on(&store).name("tango-7").timeout_ms(TIMEOUT_MS).start();
    for bytes in GARBAGE {
        let shown = String::from_utf8_lossy(bytes);
        if let Some(answer) = answer_to(&server, bytes) {
            let named = answer.to_ascii_lowercase().contains("server-name: tango-7\r\n");
            assert!(named, "{shown:?} is answered by {answer:?}");
        }
    }
}

/// A request of HTTP/1.1 without `Host` is a 400 (RFC 9112, 3.2), of HTTP/1.0 it is good.
#[test]
fn without_host() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    client.send(b"GET /chat/room HTTP/1.1\r\n\r\n");
    refused(&client.answer("GET").expect("an answer"), 400, &["Host"]);
    let mut old = server.connect();
    old.send(b"GET /chat/room HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer("GET").expect("an answer").status, 200);
    assert!(old.ends(), "HTTP/1.0 keeps no connection unasked");
}

/// Heads without measure are refused or cut off, in bounded memory.
#[test]
fn endless_heads() {
    let store = Store::new();
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let long = "x".repeat(20_000_000);
    let many: String = (0..200_000).map(|number| format!("X-{number}: y\r\n")).collect();
    for garbage in [
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        long.clone(),
        "\r\n".repeat(10_000_000),
    ] {
        if let Some(answer) = answer_to(&server, garbage.as_bytes()) {
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
        }
    }
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for endless heads");
    assert_eq!(server.get("/").status, 200);
}

/// Frames without end are cut off too: chunks of one byte, their extensions, trailers.
#[test]
fn endless_frames() {
    let store = Store::new();
    let server = Setup::on(&store).timeout_ms(TIMEOUT_MS).start();
    let chunked = post_head("Transfer-Encoding: chunked\r\n");
    let start = chunked.clone() + "5\r\nx=hi&\r\n";
    for garbage in [
        chunked.clone() + &"1\r\nx\r\n".repeat(1_000_000),
        chunked.clone() + &format!("1;{}\r\nx\r\n", "x".repeat(5_000_000)),
        chunked.clone() + &"1;x=y\r\nx\r\n".repeat(1_000_000),
        start.clone() + "0\r\n" + &"X: y\r\n".repeat(1_000_000),
        start + &"0".repeat(5_000_000),
    ] {
        if let Some(answer) = answer_to(&server, garbage.as_bytes()) {
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
        }
    }
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB for endless frames");
    assert!(store.rooms().is_empty());
}
