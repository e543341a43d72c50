//! The contract's section Live on two and three servers: whoever is cut off resumes on another.

mod common;

use common::dir::TempDir;
use common::eventually;
use common::live::{Live, Screen, unquoted, without_notices};
use common::poster::{Poster, each_once};
use common::random::Random;
use common::server::{FORM, Posted, Server, form};
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

const LOG: &str = "/chat/room";
const END: &str = "the end\n";

/// How soon a line that one server took must be on another's screens, on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// Servers of one directory, each killed and started again while the others serve.
struct Servers<'a> {
    dir: &'a TempDir,
    running: Mutex<Vec<Server>>,
    /// How many posters still write.
    posting: AtomicUsize,
}

impl<'a> Servers<'a> {
    fn start(dir: &'a TempDir, count: usize, posters: usize) -> Servers<'a> {
        let running = Mutex::new((0..count).map(|_| Server::on(dir)).collect());
        Servers { dir, running, posting: AtomicUsize::new(posters) }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let running = self.running.lock().expect("no panic while locked");
        running.iter().map(|server| server.address).collect()
    }

    /// Kills one with SIGKILL, and starts another in its place once the log has grown.
    fn kill_and_restart(&self, number: usize) {
        self.running.lock().expect("no panic while locked")[number].kill();
        self.grown(1_000);
        let next = Server::on(self.dir);
        self.running.lock().expect("no panic while locked")[number] = next;
    }

    fn grown(&self, more: u64) {
        let length = || fs::metadata(self.dir.file("room.log")).map_or(0, |log| log.len());
        let before = length();
        eventually("the log grows", || self.all_posted() || length() >= before + more);
    }

    /// Readers that are cut off again and again until they have read the last line.
    fn readers<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        random: &mut Random,
    ) -> Vec<ScopedJoinHandle<'scope, Screen>> {
        let start = |mut random: Random| {
            scope.spawn(move || {
                let mut screen = Screen::default();
                screen.read_cut_off(|| self.addresses(), LOG, END, &mut random);
                screen
            })
        };
        (0..count).map(|_| start(random.fork())).collect()
    }

    fn all_posted(&self) -> bool {
        self.posting.load(Ordering::SeqCst) == 0
    }

    fn say(&self, number: usize, message: &str) -> Posted {
        self.running.lock().expect("no panic while locked")[number].say("room", "omri", message)
    }
}

/// Cut off at random moments and resumed on random servers, while posters write and servers
/// are killed and started again: each reader has exactly the file, and each post is there once.
#[test]
fn cut_off_and_killed() {
    let dir = TempDir::new();
    let servers = Servers::start(&dir, 3, 4);
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
    let log = dir.read("room.log");
    each_once(&log, &names, messages, message);
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
}

/// A reader that is slow, cut off in the middle of what waits for it, has exactly the file too.
#[test]
fn slow_and_cut_off() {
    let dir = TempDir::new();
    let servers = Servers::start(&dir, 2, 2);
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
            running[round % 2] = Server::on(&dir);
        }
        let cut = live.and_then(|mut live| screen.read_until(&mut live, END));
        assert!(cut.is_err(), "it ends without an end");
        let log = dir.read("room.log");
        assert!(log.starts_with(&screen.log), "what is read so far is how the log begins");
    }
    servers.say(0, "the end");
    let mut live = screen.resume(servers.addresses()[1], LOG, usize::MAX).expect("a stream");
    screen.read_until(&mut live, END).expect("no cut");
    assert!(screen.log == dir.read("room.log") && screen.resets == 0);
}

/// Readers that are cut off while the log is rotated or removed under posters have the last log.
#[test]
fn replaced_and_cut_off() {
    for removed in [false, true] {
        let dir = TempDir::new();
        let servers = Servers::start(&dir, 2, 2);
        let mut random = Random::new();
        let screens: Vec<Screen> = thread::scope(|scope| {
            let posters: Vec<_> = servers
                .addresses()
                .into_iter()
                .map(|address| scope.spawn(move || post_plainly(address, 600)))
                .collect();
            let readers = servers.readers(scope, 4, &mut random);
            for number in 0..4 {
                servers.grown(3_000);
                match removed {
                    true => fs::remove_file(dir.file("room.log")).expect("removed"),
                    false => fs::rename(dir.file("room.log"), dir.file(&format!("{number}")))
                        .expect("rotated"),
                }
            }
            posters.into_iter().for_each(|poster| poster.join().expect("posted"));
            servers.running.lock().expect("no panic while locked")[0]
                .say("room", "omri", "the end");
            readers.into_iter().map(|reader| reader.join().expect("read")).collect()
        });
        let log = dir.read("room.log");
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
    let dir = TempDir::new();
    let servers = Servers::start(&dir, 2, 2);
    let mut random = Random::new();
    let screens: Vec<Screen> = thread::scope(|scope| {
        let readers = servers.readers(scope, 4, &mut random);
        for number in 0..200 {
            common::live::append(&dir.file("room.log"), "torn ".repeat(number % 40).as_bytes());
            let running = servers.running.lock().expect("no panic while locked");
            running[random.in_range(0..2)].say("room", "omri", &format!("whole {number}"));
        }
        servers.say(0, "the end");
        readers.into_iter().map(|reader| reader.join().expect("read")).collect()
    });
    let log = dir.read("room.log");
    assert!(!String::from_utf8_lossy(&log).contains("torn"));
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
}

/// What is posted on one server is soon on the others' screens, told by the kernel or not.
#[test]
fn seen_on_another() {
    let dir = TempDir::new();
    let servers = [Server::on(&dir), Server::on(&dir), without_notices(&dir)];
    let mut streams: Vec<Live> =
        servers.iter().map(|server| Live::events(server, LOG, &[])).collect();
    for number in 0..9 {
        let start = Instant::now();
        let posted = servers[number % 3].say("room", "omri", &format!("line {number}"));
        for live in &mut streams {
            assert_eq!(live.expect_line(&posted.line), unquoted(&posted.etag));
        }
        assert!(start.elapsed() < SOON, "a line takes {:?} to the other servers", start.elapsed());
    }
}

/// Readers on a server without notices lose nothing, however fast two others write and rotate.
#[test]
fn without_any_notice() {
    let dir = TempDir::new();
    let writers = [Server::on(&dir), Server::on(&dir)];
    let server = without_notices(&dir);
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
        assert!(screen.log == dir.read("room.log") && screen.resets == 0);
    }
}
