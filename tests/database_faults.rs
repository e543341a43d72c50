//! A database whose connections are lost at the worst moments, again and again under load: what
//! was acknowledged stands once, in its order and at its cursor; nothing stands twice.

mod common;

use common::check::is_line;
use common::cli::run;
use common::database::{Database, tested_server};
use common::dir::TempDir;
use common::eventually;
use common::faults::{Ends, keeps_the_secret, one_server, proxied, refuses};
use common::live::{Live, length, unquoted, write_log};
use common::poster::each_once;
use common::proxy::Cut;
use common::screen::Screen;
use common::server::{Posted, Server, form};
use common::servers::{END, LOG};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Who posts, all at once, and how much each.
const NAMES: [&str; 8] = ["anna", "ben", "cleo", "dan", "eve", "fay", "gus", "hana"];
const POSTS: usize = 25;

/// How often all connections of a server are killed.
const KILLS: usize = 12;

fn message(number: usize) -> String {
    format!("line {number} {}", "x".repeat(number * 7 % 300))
}

/// Posts one message after the other to the servers in turn, each once, while `more` says so.
/// All must be taken: what is lost comes back in time.
fn post(servers: &[Server], name: &str, more: impl Fn(usize) -> bool) -> Vec<Posted> {
    let numbers = (0..).take_while(|&number| more(number));
    numbers.map(|n| servers[n % servers.len()].say("room", name, &message(n))).collect()
}

/// Opens a stream of the room that reads up to the last line.
fn read_all(server: &Server) -> Screen {
    let mut screen = Screen::default();
    let mut live = screen.resume(server.address, LOG, usize::MAX).expect("a stream");
    screen.read_until(&mut live, END).expect("a stream that stays open");
    screen
}

/// Checks that the log has each poster's lines once, in order and where the cursors say, that
/// every reader has the log, and that nobody was told the password.
fn check(database: &Database, servers: &[Server], posted: &[Vec<Posted>], screens: &[Screen]) {
    let log = database.log("room");
    let epoch = servers[0].get(LOG).cursor().epoch;
    for (name, posted) in NAMES.iter().zip(posted) {
        each_once(&log, &[name], posted.len(), message);
        for posted in posted {
            let before = &log[..posted.cursor.length as usize];
            assert!(before.ends_with(posted.line.as_bytes()), "{posted:?}");
            assert_eq!(posted.cursor.epoch, epoch);
        }
    }
    let all: usize = posted.iter().map(Vec::len).sum();
    assert_eq!(log.split_inclusive(|&byte| byte == b'\n').count(), all + 1, "and the end");
    for screen in screens {
        assert!(screen.log == log, "a reader has another log");
        assert_eq!(screen.resets, 0);
    }
    for server in servers {
        assert!(server.get(LOG).body == log, "a server has another log");
        keeps_the_secret(database, server);
    }
}

/// Has all post at once while every n-th commit is cut.
fn crowd(servers: usize, every: usize, cuts: &[Cut]) {
    let (database, proxy, url) = proxied();
    let servers: Vec<Server> = (0..servers).map(|_| Server::on(&url)).collect();
    proxy.cut_every(every, cuts);
    let (posted, screens) = thread::scope(|scope| {
        let screens: Vec<_> =
            servers.iter().map(|server| scope.spawn(|| read_all(server))).collect();
        let posters =
            NAMES.map(|name| scope.spawn(|| post(&servers, name, |number| number < POSTS)));
        let posted = posters.map(|poster| poster.join().expect("posted"));
        servers[0].say("room", "omri", "the end");
        let screens: Vec<_> =
            screens.into_iter().map(|screen| screen.join().expect("read")).collect();
        (posted, screens)
    });
    assert!(proxy.cuts() >= 5, "{} cuts", proxy.cuts());
    check(&database, &servers, &posted, &screens);
}

/// The answer to every single commit is lost: each is looked up, and none is repeated.
#[test]
fn every_answer_lost() {
    crowd(1, 1, &[Cut::Answer]);
}

/// Every other commit does not reach the database: it is repeated.
#[test]
fn commits_lost() {
    crowd(1, 2, &[Cut::Before]);
}

/// Every other commit arrives when the server looks for it already.
#[test]
fn commits_under_way() {
    crowd(1, 2, &[Cut::UnderWay]);
}

/// Two servers write to the same room, and meet all of it.
#[test]
fn two_servers() {
    crowd(2, 3, &[Cut::Answer, Cut::Before, Cut::UnderWay]);
}

/// One commit is lost, and a second later the answer to the next: what is told of the line, and
/// what readers and streams get, is the line of the attempt that took place, with its time.
#[test]
fn lost_and_then_unanswered() {
    let (database, proxy, server, first) = one_server();
    let mut live = Live::events(&server, "/chat/room?tail=0", &[]);
    proxy.cut_every(1, &[Cut::Answer, Cut::Late]);
    let second = server.say("room", "omri", "second");
    assert_eq!(proxy.cuts(), 2);
    let log = database.log("room");
    assert_eq!(log, (first.line + &second.line).as_bytes());
    assert_eq!(server.get(LOG).body, log);
    live.expect_line(&second.line);
}

/// No commit reaches the database: the post is refused in time, and is nowhere.
#[test]
fn no_commit_arrives() {
    let (database, proxy, server, first) = one_server();
    proxy.cut_every(1, &[Cut::Before]);
    refuses(&server, LOG, &form("omri", "lost"), &["look whether it is there"]);
    assert!(proxy.cuts() > 3, "tried again {} times", proxy.cuts());
    proxy.is_back();
    assert_eq!(server.get(LOG).text(), first.line);
    let second = server.say("room", "omri", "second");
    assert_eq!(database.log("room"), (first.line + &second.line).as_bytes());
    keeps_the_secret(&database, &server);
}

/// The database commits and is gone before it says so: the post is refused as doubtful, stands
/// once, and the repeat finds it.
#[test]
fn gone_with_the_answer() {
    let (database, proxy, server, first) = one_server();
    let mut live = Live::events(&server, LOG, &[]);
    live.expect_line(&first.line);
    proxy.cut_then_away(Cut::Answer);
    let body = form("omri", "doubtful") + "&after=" + unquoted(&first.etag);
    refuses(&server, LOG, &body, &["look whether it is there"]);
    proxy.is_back();
    eventually("it answers again", || server.get(LOG).status == 200);
    let repeat = server.post_form(LOG, &body);
    assert_eq!(repeat.status, 200, "{repeat:?}");
    is_line(repeat.text(), "omri", "doubtful");
    let log = first.line + repeat.text();
    assert_eq!(database.log("room"), log.as_bytes());
    assert_eq!(length(unquoted(repeat.etag())), log.len() as u64);
    assert_eq!(live.expect_line(repeat.text()), unquoted(repeat.etag()));
    keeps_the_secret(&database, &server);
}

/// A copy of files whose commits meet all of it stores each line once.
#[test]
fn copied() {
    let (database, proxy, url) = proxied();
    let dir = TempDir::new();
    let rooms = ["one", "two", "three"];
    for room in rooms {
        write_log(&dir.file(&format!("{room}.log")), 3_000, 1_000);
    }
    proxy.cut_every(2, &[Cut::Answer, Cut::Before, Cut::UnderWay]);
    let output = run(&["copy", dir.to_str().expect("UTF-8"), &url], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(database.password()), "{said}");
    assert!(proxy.cuts() >= 3, "{} cuts", proxy.cuts());
    for room in rooms {
        assert!(database.log(room) == dir.read(&format!("{room}.log")), "{room} is another log");
    }
}

/// All connections of a server to this database.
fn kill_connections(database: &Database) -> usize {
    let name = database.name();
    let statement = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}'");
    let ids = database.server().query(&statement).expect("the connections");
    let kills: Vec<String> = ids.lines().map(|id| format!("KILL {id}")).collect();
    if let Err(error) = database.server().query(&kills.join("; ")) {
        let gone = error.to_string().contains("Unknown thread id");
        assert!(gone, "{error}");
    }
    kills.len()
}

/// All connections are killed again and again while all post: nobody notices.
#[test]
fn connections_killed() {
    let database = Database::new(&tested_server());
    let servers = [Server::on(database.url())];
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = |_| {
        count.fetch_add(1, Ordering::SeqCst);
        !done.load(Ordering::SeqCst)
    };
    let (posted, screens) = thread::scope(|scope| {
        let screens = [(); 3].map(|()| scope.spawn(|| read_all(&servers[0])));
        let posters = NAMES.map(|name| {
            let (servers, more) = (&servers, &more);
            scope.spawn(move || post(servers, name, more))
        });
        let ends = Ends(&done);
        let mut killed = 0;
        for _ in 0..KILLS {
            let before = count.load(Ordering::SeqCst);
            eventually("posts go on", || count.load(Ordering::SeqCst) >= before + NAMES.len());
            killed += kill_connections(&database);
        }
        drop(ends);
        let posted = posters.map(|poster| poster.join().expect("posted"));
        servers[0].say("room", "omri", "the end");
        assert!(killed >= KILLS, "{killed} connections killed");
        (posted, screens.map(|screen| screen.join().expect("read")))
    });
    check(&database, &servers, &posted, &screens);
}
