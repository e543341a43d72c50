//! Servers and their database killed with SIGKILL in mid-load and started again: what was
//! acknowledged stands, once and in its order, and every cursor goes on.

mod common;

use common::check::refused;
use common::database::OwnServer;
use common::eventually;
use common::live::{Live, length, unquoted};
use common::poster::{Poster, each_once};
use common::random::Random;
use common::screen::Screen;
use common::server::Server;
use common::servers::{END, LOG, Servers};
use common::store::Store;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// How long all of the load may take, with all that is killed meanwhile.
const LOAD_WITHIN: Duration = Duration::from_secs(120);

/// How often the database is killed, each time with one server or none.
const KILLS: usize = 4;

/// What a poster had acknowledged: each line, and the cursor after it.
type Acknowledged = Vec<(String, String)>;

fn message(number: usize) -> String {
    format!("line {number} {}", "x".repeat(number * 7 % 300))
}

/// Posts until it is told to stop, each message again until it is answered.
fn post(servers: &Servers, name: &str, mut random: Random) -> Acknowledged {
    let mut poster = Poster::new(name);
    poster.through_outages = true;
    let mut acknowledged = Vec::new();
    while !servers.all_posted() {
        let text = message(acknowledged.len());
        let line = poster.post(|| servers.addresses(), "room", &text, &mut random);
        acknowledged.push((line, poster.after.clone()));
    }
    acknowledged
}

/// Reads one stream to the last line: no outage of the database may end it.
fn read_on(mut screen: Screen, mut live: Live) -> Screen {
    let start = Instant::now();
    while !screen.log.ends_with(END.as_bytes()) {
        assert!(start.elapsed() < LOAD_WITHIN, "{END:?} does not come");
        let event = live.event().expect("a stream that stays open");
        screen.take(&event.expect("a stream without an end"));
    }
    screen
}

/// Comes again wherever it is cut off, also while the database is away.
fn read_cut_off(servers: &Servers, mut random: Random) -> Screen {
    let mut screen = Screen::through_outages();
    screen.read_cut_off(|| servers.addresses(), LOG, END, &mut random);
    screen
}

/// Kills the database again and again, with one of the servers or with none, the first excepted.
fn kill_again_and_again(own: &OwnServer, servers: &Servers) {
    for turn in 0..KILLS {
        servers.grown(4_000);
        let killed = (turn % 2 == 1).then_some(1 + turn / 2 % 2);
        if let Some(number) = killed {
            servers.running.lock().expect("no panic while locked")[number].kill();
        }
        own.kill();
        own.restart();
        servers.grown(1_000);
        servers.kill_and_restart(killed.unwrap_or(1));
    }
}

/// Every 201 stands in the log exactly once and at its cursor, in each poster's order, and each
/// reader has exactly the log, without a reset.
#[test]
fn killed_in_mid_load() {
    let own = OwnServer::start();
    let store = Store::at(&own.url);
    let servers = Servers::start(&store, 3, 1);
    let mut random = Random::new();
    let names = ["anna", "ben", "cleo", "dan"];
    let keeper = servers.addresses()[0];
    let (acknowledged, screens) = thread::scope(|scope| {
        let steady = [LOG, "/chat/room?tail=0"].map(|target| {
            let mut screen = Screen::default();
            let live = screen.resume(keeper, target, usize::MAX).expect("a stream");
            scope.spawn(move || read_on(screen, live))
        });
        let cut_off = [(); 2].map(|()| {
            let (servers, random) = (&servers, random.fork());
            scope.spawn(move || read_cut_off(servers, random))
        });
        let posters = names.map(|name| {
            let (servers, random) = (&servers, random.fork());
            scope.spawn(move || post(servers, name, random))
        });
        kill_again_and_again(&own, &servers);
        servers.posting.store(0, Ordering::SeqCst);
        let acknowledged = posters.map(|poster| poster.join().expect("posted"));
        servers.say(0, "the end");
        let screens: Vec<Screen> =
            steady.into_iter().chain(cut_off).map(|reader| reader.join().expect("read")).collect();
        (acknowledged, screens)
    });
    let log = store.log("room");
    assert!(Server::on(&store).get(LOG).body == log, "a new server has another log");
    for (name, acknowledged) in names.iter().zip(&acknowledged) {
        each_once(&log, &[name], acknowledged.len(), message);
        for (line, cursor) in acknowledged {
            assert!(log[..length(cursor) as usize].ends_with(line.as_bytes()), "{line} {cursor}");
            let epoch = |cursor: &str| cursor.split('-').next().map(String::from);
            assert_eq!(epoch(cursor), epoch(&acknowledged[0].1));
        }
    }
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
}

/// While the database is away: posts are refused for a while, health says so, streams stay open
/// and nobody is told of another log; when it is back, all goes on by itself.
#[test]
fn away_for_a_while() {
    let own = OwnServer::start();
    let store = Store::at(&own.url);
    let server = Server::on(&store);
    let first = server.say("room", "omri", "first");
    let mut live = Live::events(&server, LOG, &[]);
    live.expect_line(&first.line);
    own.kill();
    eventually("health says so", || server.get("/-/health").status == 503);
    let answer = server.post("room", "omri", "lost");
    refused(&answer, 503, &[]);
    let seconds = answer.header("retry-after").expect("Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
    refused(&server.get(LOG), 503, &[]);
    own.restart();
    eventually("all is well", || server.get("/-/health").status == 200);
    assert_eq!(server.get(LOG).etag(), first.etag);
    let second = server.say("room", "omri", "second");
    assert_eq!(second.cursor.epoch, first.cursor.epoch);
    assert_eq!(live.expect_line(&second.line), unquoted(&second.etag));
    assert_eq!(store.log("room"), (first.line + &second.line).as_bytes());
    let said = server.said().join("\n");
    assert!(store.password().is_none_or(|password| !said.contains(password)), "{said}");
}
