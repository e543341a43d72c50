//! A database that answers nothing, waits for others, or takes no lines for a while: posts are
//! refused in time, all else goes on, and so do posts afterwards.

mod common;

use common::check::{created, parse_line};
use common::database::{Database, DatabaseServer, OwnServer, tested_server};
use common::eventually;
use common::faults::{ANSWERED_WITHIN, Ends, keeps_the_secret, one_server, refuses};
use common::live::{Live, unquoted};
use common::screen::Screen;
use common::server::{Posted, Server, form};
use common::servers::{END, LOG};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long what nobody holds up may take, which is less than what is held up takes.
const PROMPT: Duration = Duration::from_secs(3);

/// More rooms than a server has connections for posts.
const MANY: usize = 14;

/// Reads and posts elsewhere while a room is held up; gives how often.
fn goes_on(server: &Server, first: &Posted, until: impl Fn() -> bool) -> usize {
    let mut turns = 0;
    while !until() {
        let start = Instant::now();
        server.say("other", "anna", "goes on");
        server.say(&format!("new-{turns}"), "anna", "begins");
        assert_eq!(server.get(LOG).text(), first.line);
        assert!(start.elapsed() < PROMPT, "held up for {:?}", start.elapsed());
        turns += 1;
    }
    turns
}

/// A room whose row somebody holds: its posts are refused in time, also those that come when others
/// wait already, and are nowhere; other rooms, readers and health go on.
#[test]
fn room_locked() {
    let database = Database::new(&tested_server());
    let server = Server::on(database.url());
    let first = server.say("room", "omri", "first");
    let mut live = Live::events(&server, LOG, &[]);
    live.expect_line(&first.line);
    let lock = database.lock(&["room"]);
    thread::scope(|scope| {
        let post = || refuses(&server, LOG, &form("omri", "refused"), &["try again"]);
        let waiting = scope.spawn(post);
        eventually("it waits", || database.running("FOR UPDATE") > 0);
        let later = scope.spawn(post);
        let turns = goes_on(&server, &first, || waiting.is_finished() && later.is_finished());
        assert!(turns > 5, "{turns} turns");
        for post in [waiting, later] {
            post.join().expect("refused in time");
        }
    });
    assert_eq!(server.get("/-/health").status, 200);
    drop(lock);
    let second = server.say("room", "omri", "second");
    assert_eq!(live.expect_line(&second.line), unquoted(&second.etag));
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}

/// A room that is held for a moment only: its post waits, and is taken.
#[test]
fn room_locked_for_a_moment() {
    let database = Database::new(&tested_server());
    let server = Server::on(database.url());
    let first = server.say("room", "omri", "first");
    let lock = database.lock(&["room"]);
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.say("room", "omri", "second"));
        eventually("the post waits", || database.running("FOR UPDATE") > 0);
        drop(lock);
        waiting.join().expect("taken")
    });
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
}

/// A backup locks the tables for longer than posts wait, and posts keep coming: they are refused, and
/// what has waited does not stay behind in the database, holding a connection of it for a day.
#[test]
fn tables_locked() {
    let database = Database::new(&tested_server());
    let server = Server::on(database.url());
    let first = server.say("room", "omri", "first");
    let lock = database.lock_tables();
    refuses(&server, LOG, &form("omri", "refused"), &["try again"]);
    assert_eq!(server.get(LOG).text(), first.line);
    thread::scope(|scope| {
        scope.spawn(|| refuses(&server, "/chat/other", &form("omri", "refused"), &["try again"]));
        eventually("it waits", || database.running("FOR UPDATE") > 0);
    });
    eventually("nothing waits any more", || database.running("FOR UPDATE") == 0);
    drop(lock);
    let mut second = None;
    eventually("posts are taken", || {
        let answer = server.post("room", "omri", "second");
        second = (answer.status == 201).then(|| created(&answer));
        second.is_some()
    });
    let second = second.expect("taken").line;
    assert_eq!(database.log("room"), (first.line + &second).as_bytes());
}

/// More rooms are held than there are connections for posts: readers do not notice.
#[test]
fn many_rooms_locked() {
    let database = Database::new(&tested_server());
    let server = Server::on(database.url());
    let rooms: Vec<String> = (0..MANY).map(|number| format!("room-{number}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let first: Vec<Posted> = rooms.iter().map(|room| server.say(room, "omri", "first")).collect();
    let lock = database.lock(&rooms);
    thread::scope(|scope| {
        let server = &server;
        let post = |room| {
            let body = form("omri", "refused");
            refuses(server, &format!("/chat/{room}"), &body, &["try again"]);
        };
        let waiting: Vec<_> = rooms.iter().map(|room| scope.spawn(move || post(room))).collect();
        while !waiting.iter().all(|post| post.is_finished()) {
            for (room, first) in rooms.iter().zip(&first) {
                let start = Instant::now();
                assert_eq!(server.get(&format!("/chat/{room}")).text(), first.line);
                assert!(start.elapsed() < PROMPT, "held up for {:?}", start.elapsed());
            }
        }
        for post in waiting {
            post.join().expect("refused in time");
        }
    });
    drop(lock);
    for (room, first) in rooms.iter().zip(first) {
        let second = server.say(room, "omri", "second");
        assert_eq!(database.log(room), (first.line + &second.line).as_bytes());
    }
}

/// What became of a post.
enum Outcome {
    Taken(Posted),
    Refused,
    /// Refused, and perhaps taken.
    Doubtful,
}

fn message(number: usize) -> String {
    format!("line {number}")
}

/// Posts each message once until `done` says so.
fn post(server: &Server, name: &str, refusals: &AtomicUsize, done: &AtomicBool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut start = Instant::now();
    while !done.load(Ordering::SeqCst) {
        let answer = server.post("room", name, &message(outcomes.len()));
        assert!(start.elapsed() < ANSWERED_WITHIN, "only after {:?}", start.elapsed());
        start = Instant::now();
        outcomes.push(match answer.status {
            201 => Outcome::Taken(created(&answer)),
            status => {
                assert_eq!(status, 503, "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refusals.fetch_add(1, Ordering::SeqCst);
                match answer.text().contains("look whether it is there") {
                    true => Outcome::Doubtful,
                    false => Outcome::Refused,
                }
            }
        });
    }
    outcomes
}

/// Checks that what was taken stands once, where its cursor says; what was refused nowhere; what
/// is doubtful once at the most; and all in order.
fn check(log: &[u8], name: &str, outcomes: &[Outcome]) {
    let text = std::str::from_utf8(log).expect("UTF-8");
    let said = text.split_inclusive('\n').map(parse_line).filter(|line| line.0 == name);
    let mut said = said.map(|line| line.1).peekable();
    for (number, outcome) in outcomes.iter().enumerate() {
        let is_next = said.next_if(|&said| said == message(number)).is_some();
        match outcome {
            Outcome::Taken(posted) => {
                assert!(is_next, "{name} has lost {number}");
                let before = &log[..posted.cursor.length as usize];
                assert!(before.ends_with(posted.line.as_bytes()), "{posted:?}");
            }
            Outcome::Refused => assert!(!is_next, "{number} of {name} was refused and is there"),
            Outcome::Doubtful => {}
        }
    }
    assert_eq!(said.next(), None, "what {name} did not say there");
}

/// The database says nothing for longer than a post waits, in mid-load, and then goes on where it
/// was: streams stay open and get every line once.
#[test]
fn frozen() {
    let (database, proxy, server, _) = one_server();
    let (refusals, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let names = ["anna", "ben", "cleo", "dan"];
    let mut screen = Screen::default();
    let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
    let outcomes = thread::scope(|scope| {
        let posters = names.map(|name| {
            let (server, refusals, done) = (&server, &refusals, &done);
            scope.spawn(move || post(server, name, refusals, done))
        });
        let ends = Ends(&done);
        eventually("posts are taken", || server.head(LOG).cursor().length > 1_000);
        proxy.freeze(true);
        eventually("health says so", || server.get("/-/health").status == 503);
        eventually("posts are refused", || refusals.load(Ordering::SeqCst) >= names.len());
        proxy.freeze(false);
        eventually("all is well", || server.get("/-/health").status == 200);
        let before = server.get(LOG).cursor().length;
        eventually("posts are taken", || server.head(LOG).cursor().length > before + 1_000);
        drop(ends);
        posters.map(|poster| poster.join().expect("posted"))
    });
    server.say("room", "omri", "the end");
    let log = database.log("room");
    for (name, outcomes) in names.iter().zip(&outcomes) {
        check(&log, name, outcomes);
    }
    screen.read_until(&mut live, END).expect("a stream that stays open");
    assert!(screen.log == log && screen.resets == 0, "a reader has another log");
    keeps_the_secret(&database, &server);
}

/// All connections are lost without a word, as when a host vanishes and another takes its address:
/// new ones are made in time, and a stream goes on.
#[test]
fn vanished() {
    let (database, proxy, server, first) = one_server();
    let mut live = Live::events(&server, LOG, &[]);
    live.expect_line(&first.line);
    proxy.silence();
    let body = form("omri", "second") + "&after=" + unquoted(&first.etag);
    eventually("a post is taken", || server.post_form(LOG, &body).status != 503);
    let answer = server.post_form(LOG, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(live.expect_line(answer.text()), unquoted(answer.etag()));
    assert_eq!(database.log("room"), (first.line + answer.text()).as_bytes());
    eventually("health says so", || server.get("/-/health").status == 200);
}

/// Connections are lost without a word just when they are given back, more of them than a server
/// may have: it has them back, and does not wait for them without end.
#[test]
fn vanished_when_idle() {
    let (_database, proxy, server, first) = one_server();
    let _live = Live::events(&server, LOG, &[]);
    proxy.silence_pings(MANY);
    eventually("all are lost", || {
        server.get(LOG);
        proxy.pings() == 0
    });
    eventually("reading goes on", || server.get(LOG).status == 200);
    assert_eq!(server.get(LOG).text(), first.line);
}

/// The database takes no writes, as one that was failed over from: posts are refused, which the
/// operator is told in one line each, and reading goes on, also of what an administrator writes.
#[test]
fn read_only() {
    let own = OwnServer::start();
    let database = Database::new(&own.url);
    let [root, server] = [database.url(), database.account("not-roots", "BY")].map(Server::on);
    let first = server.say("room", "omri", "first");
    let mut live = Live::events(&server, LOG, &[]);
    live.expect_line(&first.line);
    let set = |on: u8| {
        let statement = format!("SET GLOBAL read_only = {on}");
        DatabaseServer::at(&own.url).query(&statement).expect("set");
    };
    set(1);
    refuses(&server, LOG, &form("omri", "refused"), &["try again"]);
    eventually("why is told", || server.said().join("\n").contains("--read-only"));
    eventually("health says so", || server.get("/-/health").status == 503);
    assert_eq!(server.get(LOG).text(), first.line);
    let second = root.say("room", "omri", "second");
    assert_eq!(live.expect_line(&second.line), unquoted(&second.etag));
    let failures = server.said().iter().filter(|line| line.contains("--read-only")).count();
    assert!(failures <= 3, "more than a line each: {:?}", server.said());
    set(0);
    eventually("all is well", || server.get("/-/health").status == 200);
    let third = server.say("room", "omri", "third");
    assert_eq!(live.expect_line(&third.line), unquoted(&third.etag));
    assert_eq!(database.log("room"), (first.line + &second.line + &third.line).as_bytes());
    keeps_the_secret(&database, &server);
}
