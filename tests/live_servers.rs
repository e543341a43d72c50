//! The contract's section Live on two and three servers: whoever is cut off resumes on another.

mod common;

use common::live::{Live, unquoted, without_notices};
use common::poster::{Poster, each_once};
use common::random::Random;
use common::screen::Screen;
use common::server::{FORM, Server, form};
use common::servers::{END, LOG, Servers};
use common::store::Store;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// When a line that one server took is late on any other's screens, on a busy machine.
const LATE: Duration = Duration::from_secs(2);

/// Cut off at random moments and resumed on random servers, while posters write and servers
/// are killed and started again: each reader has exactly the file, and each post is there once.
#[test]
fn cut_off_and_killed() {
    let store = Store::new();
    let servers = Servers::start(&store, 3, 4);
    let mut random = Random::new();
    let (names, messages) = (["anna", "ben", "cleo", "dan"], 250);
    let message = |number: usize| format!("line {number} {}", "x".repeat(number * 7 % 300));
    let mut kills = 0;
    let screens: Vec<Screen> = thread::scope(|scope| {
        let readers = servers.readers(scope, 5, &mut random);
        let posters = names.map(|name| {
            let (servers, mut random) = (&servers, random.fork());
            scope.spawn(move || {
                let mut poster = Poster::new(name);
                for number in 0..messages {
                    poster.post(|| servers.addresses(), "room", &message(number), &mut random);
                }
                servers.posting.fetch_sub(1, Ordering::SeqCst);
            })
        });
        while kills < 10 && !servers.all_posted() {
            servers.grown(4_000);
            servers.kill_and_restart(random.in_range(0..3));
            kills += 1;
        }
        posters.into_iter().for_each(|poster| poster.join().expect("posted"));
        servers.say(0, "the end");
        readers.into_iter().map(|reader| reader.join().expect("read")).collect()
    });
    assert!(kills > 2, "killed only {kills} times while posters wrote");
    let log = store.log("room");
    each_once(&log, &names, messages, message);
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
}

/// A reader that is slow, cut off in the middle of what waits for it, has exactly the file too.
#[test]
fn slow_and_cut_off() {
    let store = Store::new();
    let servers = Servers::start(&store, 2, 2);
    let mut random = Random::new();
    let long = "x".repeat(8_000);
    let mut screen = Screen::default();
    for round in 0..12 {
        let addresses = servers.addresses();
        let live = screen.resume(addresses[round % 2], LOG, random.in_range(1..400_000));
        // Posted while nobody reads: more than the sockets on the way hold.
        for number in 0..60 {
            let running = servers.running.lock().expect("no panic while locked");
            running[number % 2].say("room", "omri", &format!("{round} {number} {long}"));
        }
        if round % 4 == 3 {
            let mut running = servers.running.lock().expect("no panic while locked");
            running[round % 2].kill();
            running[round % 2] = Server::on(&store);
        }
        let cut = live.and_then(|mut live| screen.read_until(&mut live, END));
        assert!(cut.is_err(), "it ends without an end");
        let log = store.log("room");
        assert!(log.starts_with(&screen.log), "what is read so far is how the log begins");
    }
    servers.say(0, "the end");
    let mut live = screen.resume(servers.addresses()[1], LOG, usize::MAX).expect("a stream");
    screen.read_until(&mut live, END).expect("no cut");
    assert!(screen.log == store.log("room") && screen.resets == 0);
}

/// Readers that are cut off while the log is rotated or removed under posters have the last log.
#[test]
fn replaced_and_cut_off() {
    for removed in [false, true] {
        let store = Store::new();
        let servers = Servers::start(&store, 2, 2);
        let mut random = Random::new();
        let screens: Vec<Screen> = thread::scope(|scope| {
            let posters: Vec<_> = servers
                .addresses()
                .into_iter()
                .map(|address| scope.spawn(move || post_plainly(address, 600)))
                .collect();
            let readers = servers.readers(scope, 4, &mut random);
            for _ in 0..4 {
                servers.grown(3_000);
                match removed {
                    true => store.remove("room"),
                    false => store.rotate("room"),
                }
            }
            posters.into_iter().for_each(|poster| poster.join().expect("posted"));
            servers.running.lock().expect("no panic while locked")[0]
                .say("room", "omri", "the end");
            readers.into_iter().map(|reader| reader.join().expect("read")).collect()
        });
        let log = store.log("room");
        for screen in screens {
            assert!(screen.log == log, "a reader has another log than the last one");
        }
    }
}

fn post_plainly(address: SocketAddr, lines: usize) {
    let mut client = common::client::Client::connect(address);
    for number in 0..lines {
        let body = form("omri", &format!("from {address}: {number}"));
        assert_eq!(client.request("POST", LOG, &[FORM], body.as_bytes()).status, 201);
    }
}

/// Torn lines that dead writers leave, again and again, are on no screen; the log is.
#[test]
fn torn_and_cut_off() {
    let store = Store::new();
    let servers = Servers::start(&store, 2, 2);
    let mut random = Random::new();
    let screens: Vec<Screen> = thread::scope(|scope| {
        let readers = servers.readers(scope, 4, &mut random);
        for number in 0..200 {
            store.die_in_mid_write("room");
            let running = servers.running.lock().expect("no panic while locked");
            running[random.in_range(0..2)].say("room", "omri", &format!("whole {number}"));
        }
        servers.say(0, "the end");
        readers.into_iter().map(|reader| reader.join().expect("read")).collect()
    });
    let log = store.log("room");
    assert!(!String::from_utf8_lossy(&log).contains("dead:"));
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
}

/// What is posted on one server is soon on the others' screens: mostly as soon as the store lets
/// it, and always within a while, also on a server that nobody tells.
#[test]
fn seen_on_another() {
    let store = Store::new();
    let servers = [Server::on(&store), Server::on(&store), without_notices(&store)];
    let mut streams: Vec<Live> =
        servers.iter().map(|server| Live::events(server, LOG, &[])).collect();
    let mut told = Vec::new();
    for number in 0..20 {
        let start = Instant::now();
        let posted = servers[number % 2].say("room", "omri", &format!("line {number}"));
        for (slot, live) in streams.iter_mut().enumerate() {
            assert_eq!(live.expect_line(&posted.line), unquoted(&posted.etag));
            if slot == 1 {
                told.push(start.elapsed());
            }
        }
        assert!(start.elapsed() < LATE, "a line takes {:?} to the other servers", start.elapsed());
    }
    told.sort_unstable();
    assert!(told[17] < store.foreign_line(), "lines take {told:?} to another server");
}

/// Readers on a server without notices lose nothing, however fast two others write and rotate.
#[test]
fn without_any_notice() {
    let store = Store::new();
    let writers = [Server::on(&store), Server::on(&store)];
    let server = without_notices(&store);
    let (mut screen, mut tail) = (Screen::default(), Screen::default());
    let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
    let mut live_tail = tail.resume(server.address, "/chat/room?tail=0", usize::MAX).expect("one");
    thread::scope(|scope| {
        for writer in &writers {
            scope.spawn(|| post_plainly(writer.address, 400));
        }
    });
    writers[0].say("room", "omri", "the end");
    for (screen, live) in [(&mut screen, &mut live), (&mut tail, &mut live_tail)] {
        screen.read_until(live, END).expect("no cut");
        assert!(screen.log == store.log("room") && screen.resets == 0);
    }
}
