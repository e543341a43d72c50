//! A server killed in mid-write, again and again: what was acknowledged stands, once and whole.

mod common;

use common::check::{created, parse_line};
use common::client::Client;
use common::eventually;
use common::server::{FORM, Posted, Server, form};
use common::store::Store;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const LOG: &str = "/chat/room";
const POSTERS: usize = 6;
const KILLS: usize = 24;

/// What posters, readers and the killer share.
struct Field {
    /// Written by the killer when a server is back, read by everyone who connects.
    addresses: [Mutex<SocketAddr>; 2],
    /// How many posts were acknowledged, so that the killer waits for work and not for time.
    acknowledged: AtomicUsize,
    stop: AtomicBool,
}

impl Field {
    fn connect(&self, server: usize) -> io::Result<Client> {
        let address = *self.addresses[server % 2].lock().expect("no panic while locked");
        Client::try_connect(address)
    }
}

/// Posts numbered messages to both servers in turn, each once; gives what was acknowledged.
fn post(field: &Field, poster: usize) -> Vec<(usize, Posted)> {
    let mut acknowledged = Vec::new();
    let mut clients = [None, None];
    let mut number = 0;
    while !field.stop.load(Ordering::Relaxed) {
        let slot = (poster + number) % 2;
        if clients[slot].is_none() {
            clients[slot] = field.connect(slot).ok();
        }
        let body = form(&format!("poster{poster}"), &format!("line {number}"));
        let answer = match &mut clients[slot] {
            None => Err(io::ErrorKind::NotConnected.into()),
            Some(client) => client.try_request("POST", LOG, &[FORM], body.as_bytes()),
        };
        match answer {
            Ok(response) => {
                acknowledged.push((number, created(&response)));
                field.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => clients[slot] = None,
        }
        number += 1;
    }
    acknowledged
}

/// Reads on and on, from whichever server is there: nothing seen is ever taken back or torn.
fn read(field: &Field) -> usize {
    let mut seen = Vec::new();
    let mut reads = 0;
    for turn in 0.. {
        if field.stop.load(Ordering::Relaxed) {
            break;
        }
        let headers = [("Range", &*format!("bytes={}-", seen.len()))];
        let Ok(mut client) = field.connect(turn) else {
            continue;
        };
        let Ok(news) = client.try_request("GET", LOG, &headers, b"") else {
            continue;
        };
        match news.status {
            206 => seen.extend_from_slice(&news.body),
            416 => {
                assert_eq!(news.header("content-range"), Some(&*format!("bytes */{}", seen.len())))
            }
            status => assert!(status == 200 && seen.is_empty(), "{status} at {}", seen.len()),
        }
        assert!(seen.is_empty() || seen.ends_with(b"\n"), "a torn line was served");
        reads += 1;
    }
    seen.len() + reads
}

/// Kills one server or both when some posts were made, and starts them again.
fn kill_again_and_again(store: &Store, field: &Field, servers: &mut [Server; 2]) {
    let mut seed = std::process::id() as usize;
    for turn in 0..KILLS {
        let before = field.acknowledged.load(Ordering::Relaxed);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let work = before + 20 + seed / 65_536 % 50;
        eventually("posts go on", || field.acknowledged.load(Ordering::Relaxed) >= work);
        let both = turn % 4 == 3;
        if both {
            servers[(turn + 1) % 2].kill();
        }
        servers[turn % 2].kill();
        if turn % 3 == 1 {
            store.die_in_mid_write("room");
        }
        for slot in [turn % 2, (turn + 1) % 2] {
            if slot == turn % 2 || both {
                servers[slot] = Server::on(store);
                *field.addresses[slot].lock().expect("no panic while locked") =
                    servers[slot].address;
            }
        }
    }
}

/// Stops the threads even when the killer fails, so that the failure is told.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every 201 stands in the log exactly once, in each client's order, and nothing is torn.
#[test]
fn killed_in_mid_write() {
    let store = Store::new();
    let mut servers = [Server::on(&store), Server::on(&store)];
    let field = Field {
        addresses: [Mutex::new(servers[0].address), Mutex::new(servers[1].address)],
        acknowledged: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let posted: Vec<Vec<(usize, Posted)>> = thread::scope(|scope| {
        let stop = StopAtEnd(&field.stop);
        let field = &field;
        let posters: Vec<_> =
            (0..POSTERS).map(|poster| scope.spawn(move || post(field, poster))).collect();
        let reader = scope.spawn(|| read(field));
        kill_again_and_again(&store, field, &mut servers);
        drop(stop);
        assert!(reader.join().expect("a reader that saw nothing wrong") > 0);
        posters.into_iter().map(|poster| poster.join().expect("posted")).collect()
    });
    servers.iter_mut().for_each(Server::kill);
    let server = Server::on(&store);
    let last = server.say("room", "end", "all is over");
    let log = store.log("room");
    assert!(server.get(LOG).body == log);
    assert_eq!(last.cursor.length, log.len() as u64);
    check_log(&log, &posted, &last.cursor.epoch);
}

fn check_log(log: &[u8], posted: &[Vec<(usize, Posted)>], epoch: &str) {
    let text = std::str::from_utf8(log).expect("UTF-8");
    let mut stored: HashMap<&str, Vec<usize>> = HashMap::new();
    for line in text.split_inclusive('\n') {
        let (username, message) = parse_line(line);
        if let Some(number) = message.strip_prefix("line ") {
            stored.entry(username).or_default().push(number.parse().expect("a number"));
        } else {
            assert_eq!(message, "all is over", "a line that nobody posted");
        }
    }
    for (poster, acknowledged) in posted.iter().enumerate() {
        let numbers = &stored[format!("poster{poster}").as_str()];
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "each once, in the client's order: {numbers:?}"
        );
        for (number, posted) in acknowledged {
            assert!(numbers.binary_search(number).is_ok(), "acknowledged and lost: {posted:?}");
            assert!(log[..posted.cursor.length as usize].ends_with(posted.line.as_bytes()));
            assert_eq!(posted.cursor.epoch, epoch);
        }
    }
}

/// A server killed while many rooms get their first lines leaves only whole rooms behind.
#[test]
fn killed_while_rooms_begin() {
    let store = Store::new();
    let mut posted = Vec::new();
    for turn in 0..4 {
        let mut server = Server::on(&store);
        let mut client = server.connect();
        for number in 0..25 {
            let room = format!("room{}", turn * 100 + number);
            let body = form("omri", &room);
            let target = format!("/chat/{room}");
            let answer = client.request("POST", &target, &[FORM], body.as_bytes());
            posted.push((room, created(&answer)));
        }
        server.kill();
    }
    let server = Server::on(&store);
    for (room, posted) in &posted {
        let log = server.get(&format!("/chat/{room}"));
        assert_eq!((log.text(), log.etag()), (posted.line.as_str(), posted.etag.as_str()));
    }
}
