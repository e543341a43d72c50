//! The contract's section Live: who reads slowly costs no memory, loses nothing, holds nobody up.

mod common;

use common::client::Client;
use common::eventually;
use common::live::{EVENTS, Live, framed};
use common::server::{FORM, Server, form};
use common::store::Store;
use std::net::SocketAddr;
use std::thread;

const LOG: &str = "/chat/room";

/// How many subscribers never read, until they do.
const SILENT: usize = 200;

/// What one of them may cost, in KiB: generous, for a build without optimization.
const SUBSCRIBER_KIB: u64 = 24;

/// What the server may need besides for the posts themselves, in KiB.
const POSTING_KIB: u64 = 8_000;

/// The most memory that a server may come to while it streams a large log, in KiB.
const MEMORY_MAX_KIB: u64 = 60_000;

fn post_many(address: SocketAddr, name: &str, lines: usize) {
    let mut client = Client::connect(address);
    let text = "x".repeat(960);
    for number in 0..lines {
        let body = form(name, &format!("{number} {text}"));
        assert_eq!(client.request("POST", LOG, &[FORM], body.as_bytes()).status, 201);
    }
}

/// 200 subscribers that never read while 10,000 lines are posted: little memory, nobody waits
/// for them, and each gets every line when it reads again.
#[test]
fn never_reading() {
    let store = Store::new();
    // The end of a log stays in memory up to a limit, which this log is beyond.
    store.fill_lines("room", 12_000, 1_000);
    let server = Server::on(&store);
    let before = server.get(LOG);
    post_many(server.address, "first", 100);
    let start = server.head(LOG).cursor();
    let memory = server.memory_kib("VmRSS");
    let mut silent: Vec<Live> = (0..SILENT)
        .map(|number| match number % 2 {
            0 => Live::events(&server, "/chat/room?tail=0", &[]),
            _ => Live::lines(&server, "/chat/room?tail=0&follow", &[]),
        })
        .collect();
    let mut reader = Live::lines(&server, "/chat/room?tail=0&follow", &[]);
    let news = thread::scope(|scope| {
        for poster in 0..16 {
            let address = server.address;
            scope.spawn(move || post_many(address, &format!("poster{poster}"), 625));
        }
        let (mut seen, mut lines) = (Vec::new(), 0);
        while lines < 10_000 {
            let piece = reader.piece().expect("no cut").expect("more");
            lines += piece.iter().filter(|&&byte| byte == b'\n').count();
            seen.extend(piece);
        }
        seen
    });
    let grown = server.memory_kib("VmRSS").saturating_sub(memory);
    let bound = SILENT as u64 * SUBSCRIBER_KIB + POSTING_KIB;
    assert!(grown < bound, "{SILENT} silent subscribers cost {grown} KiB");
    let log = store.log("room");
    let from = start.length as usize;
    assert!(before.body.len() < from && log[from..] == news, "who reads has every line");
    let events = framed(&start.epoch, start.length, &news);
    for (number, live) in silent.iter_mut().enumerate() {
        live.expect_bytes(if number % 2 == 0 { &events } else { &news });
    }
    let grown = server.memory_kib("VmRSS").saturating_sub(memory);
    assert!(grown < bound, "{grown} KiB more after all have read");
    drop((silent, reader));
    eventually("all are forgotten", || server.metric("catchat_streams") == 0.0);
}

/// A log of 100 MB streams as events and as lines, byte for byte, in bounded memory.
#[test]
fn large_log() {
    let store = Store::new();
    store.fill_lines("room", 100_000, 1_000);
    let log = store.log("room");
    let server = Server::on(&store);
    let epoch = server.head(LOG).cursor().epoch;
    let events = framed(&epoch, 0, &log);
    thread::scope(|scope| {
        let (server, log, events) = (&server, &log, &events);
        for _ in 0..2 {
            scope.spawn(|| Live::events(server, LOG, &[]).expect_bytes(events));
            scope.spawn(|| Live::lines(server, "/chat/room?follow", &[]).expect_bytes(log));
        }
    });
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB at the most");
}

/// Opening a stream of a large log and leaving it, again and again, costs neither time nor memory.
#[test]
fn opened_and_left() {
    let store = Store::new();
    store.fill_lines("room", 50_000, 1_000);
    let server = Server::on(&store);
    for number in 0..100 {
        let target = format!("{LOG}?tail={}", number * 50);
        let live = Live::open(server.address, &target, &[EVENTS], 1_000).expect("a stream");
        drop(live);
    }
    eventually("all are forgotten", || server.metric("catchat_streams") == 0.0);
    let memory = server.memory_kib("VmHWM");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB at the most");
}
