//! A server on a replica, which lags behind the database that others write to: who comes with a cursor
//! from there is waited for, and told of a reset only where the replica does not catch up in time.
//!
//! On MariaDB: a replica of MySQL in a container would first have to reach the other container.

mod common;

use common::check::refused;
use common::client::Response;
use common::database::{Database, DatabaseServer, OwnServer, tested_server};
use common::live::{Live, length, unquoted};
use common::proxy::Proxy;
use common::server::{Posted, Server, Setup};
use common::servers::LOG;
use common::{DEADLINE, eventually};
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

/// The question how long a room's log is, which is asked again and again while it lags.
const QUESTION: &str = "SELECT id, length, epoch FROM rooms WHERE name";

/// How long a replica may lag before what it lacks counts as gone; and how long it surely may, on a
/// machine that does other things too.
const LAG_WAIT: Duration = Duration::from_millis(500);
const LAG_MAX: Duration = Duration::from_millis(400);

/// When it is told too late, on such a machine.
const LATE: Duration = Duration::from_secs(10);

/// A database, a replica of it, and a server on each.
struct Pair {
    primary: Server,
    secondary: Server,
    /// Before the replica.
    proxy: Proxy,
    replica: DatabaseServer,
    database: Database,
    _servers: [OwnServer; 2],
}

impl Pair {
    fn start() -> Pair {
        let servers = [&["--log-bin=log", "--server-id=1"], &["--log-bin=log", "--server-id=2"]]
            .map(|options| OwnServer::start_with(options));
        let replica = DatabaseServer::at(&servers[1].url);
        let database = Database::new(&servers[0].url);
        replica.query(&format!("CREATE DATABASE {}", database.name())).expect("a database");
        replica.follow(database.server());
        let primary = Server::on(database.url());
        let proxy = Proxy::before(replica.address());
        let (login, _) = servers[1].url.rsplit_once('@').expect("a login");
        let url = format!("{login}@{}/{}?ssl-mode=DISABLED", proxy.address, database.name());
        catch_up(&replica, database.server());
        // Names are unique on one database only.
        let secondary = Setup::on(url).name("replica").start();
        Pair { primary, secondary, proxy, replica, database, _servers: servers }
    }

    /// Has the replica apply nothing for now.
    fn lag(&self) {
        self.replica.query("STOP SLAVE SQL_THREAD").expect("stopped");
    }

    /// Has it go on, and waits until it has all.
    fn catch_up(&self) {
        self.replica.query("START SLAVE SQL_THREAD").expect("started");
        catch_up(&self.replica, self.database.server());
    }

    /// Posts where it is written to.
    fn say(&self, message: &str) -> Posted {
        self.primary.say("room", "omri", message)
    }

    /// Goes on at the replica's server after this line.
    fn resume(&self, after: &Posted) -> Live {
        Live::events(&self.secondary, &format!("{LOG}?after={}", unquoted(&after.etag)), &[])
    }

    /// Asks the replica's server for the log.
    fn get(&self, headers: &[(&str, &str)]) -> Response {
        self.secondary.send("GET", LOG, headers, b"")
    }
}

/// Waits until a replica has all that its primary has now.
fn catch_up(replica: &DatabaseServer, primary: &DatabaseServer) {
    let end = primary.query("SELECT @@gtid_binlog_pos").expect("a place in its log");
    let waited = replica.query(&format!("SELECT MASTER_GTID_WAIT('{}', 30)", end.trim()));
    assert_eq!(waited.expect("waited").trim(), "0", "it catches up");
}

/// A replica that catches up in time: the stream that came with a cursor from beyond its end goes on
/// there, with the next line, and so does a poll.
fn goes_on(pair: &Pair) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE, "it always lags for too long");
        pair.lag();
        let [seen, next] = ["seen elsewhere", "the next"].map(|text| pair.say(text));
        let asked = pair.proxy.asked(QUESTION);
        let came = Instant::now();
        let range = format!("bytes={}-", seen.cursor.length);
        let (mut live, polled, took) = thread::scope(|scope| {
            let opening = scope.spawn(|| pair.resume(&seen));
            let poll = || pair.get(&[("If-None-Match", &seen.etag), ("Range", &range)]);
            let polling = scope.spawn(poll);
            eventually("it is waited for", || pair.proxy.asked(QUESTION) > asked + 4);
            pair.catch_up();
            let took = came.elapsed();
            (opening.join().expect("a stream"), polling.join().expect("an answer"), took)
        });
        if took < LAG_MAX {
            let new = if polled.status == 304 { "" } else { &next.line };
            assert!(polled.text() == new && [304, 206].contains(&polled.status), "{polled:?}");
            assert_eq!(live.start, unquoted(&seen.etag));
            assert_eq!(live.expect_line(&next.line), unquoted(&next.etag));
            live.expect_line(&pair.say("and on").line);
            return;
        }
    }
}

/// A replica that does not catch up in time: the stream is told so, begins anew with what there is,
/// and gets the rest when it comes.
fn is_told(pair: &Pair) {
    pair.lag();
    let before = pair.get(&[]).text().to_string();
    let lines = ["seen elsewhere", "the next"].map(|text| pair.say(text));
    let start = Instant::now();
    let mut live = pair.resume(&lines[0]);
    assert_eq!(length(&live.expect_reset()), 0);
    assert!((LAG_WAIT..LATE).contains(&start.elapsed()), "after {:?}", start.elapsed());
    for line in before.split_inclusive('\n') {
        live.expect_line(line);
    }
    pair.catch_up();
    for posted in &lines {
        assert_eq!(live.expect_line(&posted.line), unquoted(&posted.etag));
    }
    live.expect_line(&pair.say("and on").line);
}

/// Who only asks for the log of a replica that lags for longer gets what that has, under its own
/// `ETag`, and is not told that there was nothing new.
fn is_read(pair: &Pair) {
    catch_up(&pair.replica, pair.database.server());
    pair.lag();
    let before = pair.get(&[]);
    let [seen, next] = ["seen elsewhere", "the next"].map(|text| pair.say(text));
    let range = format!("bytes={}-", seen.cursor.length);
    let range = ("Range", range.as_str());
    for headers in
        [&[("If-None-Match", seen.etag.as_str())][..], &[range, ("If-Range", &seen.etag)]]
    {
        let answer = pair.get(headers);
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        assert_eq!((answer.text(), answer.etag()), (before.text(), before.etag()));
    }
    let answer = pair.get(&[range]);
    refused(&answer, 416, &[]);
    let length = before.body.len();
    assert_eq!(answer.header("content-range"), Some(format!("bytes */{length}").as_str()));
    pair.catch_up();
    assert_eq!(pair.get(&[("If-None-Match", &next.etag)]).status, 304);
    let answer = pair.get(&[range]);
    assert_eq!((answer.status, answer.text()), (206, next.line.as_str()));
}

/// A replica that lags, for less and for longer than it is waited for.
#[test]
fn lagging() {
    let kind = DatabaseServer::at(&tested_server()).kind();
    if kind != "mariadb" {
        // Past what the test runner keeps to itself.
        let said = format!("NOT HERE: the replica is MariaDB's, and this is {kind}\n");
        io::stderr().write_all(said.as_bytes()).expect("said");
        return;
    }
    let pair = Pair::start();
    pair.say("first");
    goes_on(&pair);
    is_read(&pair);
    is_told(&pair);
}
