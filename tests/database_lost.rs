//! A database that loses the end of a log: a replica that lagged took over, or an older backup was
//! restored, under servers that run on. And one that only lags, or has many rooms removed.

mod common;

use common::DEADLINE;
use common::cli::run;
use common::database::{Database, tested_server};
use common::dir::TempDir;
use common::live::{Live, length, unquoted, write_log};
use common::server::{Posted, Server, form};
use common::servers::LOG;
use std::time::{Duration, Instant};

/// What others write in the place of what was lost.
const OTHER: &str = "[2018-02-25 14:00:51] dana: written where a line was lost, and longer than it";

/// How long a node lags, and when that is so long that what it lacks may count as gone.
const LAG: Duration = Duration::from_millis(300);
const LAG_MAX: Duration = Duration::from_millis(450);

/// When a line that another server took is late, on a busy machine.
const LATE: Duration = Duration::from_secs(5);

/// Two servers that have read three lines, of which the last two are about to be lost.
fn about_to_lose() -> (Database, [Server; 2], Vec<Posted>) {
    let database = Database::new(&tested_server());
    let servers = [Server::on(database.url()), Server::on(database.url())];
    let posted = ["kept", "lost", "lost too"].map(|text| servers[0].say("room", "omri", text));
    for server in &servers {
        assert_eq!(server.get(LOG).etag(), posted[2].etag);
    }
    (database, servers, posted.into())
}

/// Puts rooms into a database that together are more than a server has in memory.
fn large_rooms(database: &Database) -> Vec<String> {
    let dir = TempDir::new();
    let rooms: Vec<String> = (0..9).map(|number| format!("large-{number}")).collect();
    for room in &rooms {
        write_log(&dir.file(&format!("{room}.log")), 1_000, 8_000);
    }
    let copied = run(&["copy", dir.to_str().expect("UTF-8"), &database.url()], &[]);
    assert!(copied.status.success(), "{copied:?}");
    rooms
}

/// Has a server read all of them, so that it lets go of what it had in memory before.
fn forgets(server: &Server, rooms: &[String]) {
    for room in rooms {
        assert_eq!(server.get(&format!("/chat/{room}")).status, 200);
    }
    server.head("/chat/large-8");
}

/// Checks that all servers have the log that the database has.
fn check(database: &Database, servers: &[Server]) {
    let log = String::from_utf8(database.log("room")).expect("UTF-8");
    for server in servers {
        let read = server.get(LOG);
        assert_eq!(read.text(), log);
        assert_eq!(length(unquoted(read.etag())), log.len() as u64);
    }
}

/// What was lost is gone for readers, for streams, and for who asks whether a line is there.
#[test]
fn gone_everywhere() {
    let (database, servers, posted) = about_to_lose();
    let kept = &posted[0];
    let beyond = [("Last-Event-ID", unquoted(&posted[2].etag))];
    let mut streams = servers.each_ref().map(|server| Live::events(server, LOG, &beyond));
    database.lose("room", kept.cursor.length, &[]);
    for live in &mut streams {
        assert_eq!(length(&live.expect_reset()), 0);
        live.expect_line(&kept.line);
    }
    check(&database, &servers);
    // A cursor of what is gone is beyond the end.
    let mut resumed = Live::events(&servers[0], LOG, &beyond);
    assert_eq!(length(&resumed.expect_reset()), 0);
    let lost = format!("{}&after={}", form("omri", "lost"), unquoted(&kept.etag));
    let again = servers[0].post_form(LOG, &lost);
    assert_eq!(again.status, 201, "it is not there any more");
    for live in &mut streams {
        assert_eq!(live.expect_line(again.text()), unquoted(again.etag()));
    }
    check(&database, &servers);
}

/// Lines that were written where others were lost, before any server looked: the log is not
/// shorter than it was, and yet another one. A reader, and who asks for a line, have the new one.
#[test]
fn written_over_before_a_look() {
    let line = "[2018-02-25 14:00:51] dana: as long as that";
    for (lost, instead) in [
        (OTHER.replace("written", "between lines"), vec![OTHER, OTHER]),
        // Each line begins where one began before.
        (line.replace("that", "this"), vec![line, OTHER]),
    ] {
        let (database, servers, posted) = about_to_lose();
        let start = posted[0].cursor.length;
        database.lose("room", start, &[&lost]);
        check(&database, &servers);
        database.lose("room", start, &instead);
        check(&database, &servers);
        let body = format!("{}&after={}", form("omri", "lost"), unquoted(&posted[0].etag));
        assert_eq!(servers[1].post_form(LOG, &body).status, 201, "it is not there");
        check(&database, &servers);
    }
}

/// The same under streams: they begin anew, and have no line of which a part is another's; also
/// where the room is no longer in memory.
#[test]
fn written_over_under_a_stream() {
    let (database, servers, posted) = about_to_lose();
    let rooms = large_rooms(&database);
    let at_end = [("Last-Event-ID", unquoted(&posted[2].etag))];
    let mut streams = servers.each_ref().map(|server| Live::events(server, LOG, &at_end));
    forgets(&servers[0], &rooms);
    database.lose("room", posted[0].cursor.length, &[OTHER, OTHER]);
    for live in &mut streams {
        assert_eq!(length(&live.expect_reset()), 0);
        for line in [posted[0].line.as_str(), OTHER, OTHER] {
            live.expect_line(&format!("{}\n", line.trim_end()));
        }
    }
    check(&database, &servers);
}

/// A server's own post is the first that comes after the loss, be it shorter than what was lost
/// or longer: what it had in memory is not what the line follows on.
#[test]
fn posted_after_the_loss() {
    for text in ["s".to_string(), "longer than all that was lost ".repeat(5)] {
        let (database, servers, posted) = about_to_lose();
        let at_end = [("Last-Event-ID", unquoted(&posted[2].etag))];
        let mut live = Live::events(&servers[1], LOG, &at_end);
        database.lose("room", posted[0].cursor.length, &[]);
        let new = servers[0].say("room", "omri", &text);
        assert_eq!(new.cursor.length, (posted[0].line.len() + new.line.len()) as u64);
        check(&database, &servers);
        assert_eq!(length(&live.expect_reset()), 0);
        live.expect_line(&posted[0].line);
        live.expect_line(&new.line);
    }
}

/// A node that lags for a moment has lost nothing, also where the room is no longer in memory.
#[test]
fn lagging_is_not_losing() {
    let (database, servers, posted) = about_to_lose();
    let rooms = large_rooms(&database);
    let at_end = [("Last-Event-ID", unquoted(&posted[2].etag))];
    let (before, now) = (posted[1].cursor.length, posted[2].cursor.length);
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE, "it always lags for too long");
        let mut live = Live::events(&servers[0], LOG, &at_end);
        forgets(&servers[0], &rooms);
        if database.lag("room", before, now, LAG) < LAG_MAX {
            let posted = servers[0].say("room", "omri", "after it lagged");
            live.expect_line(&posted.line);
            return;
        }
    }
}

/// Many watched rooms that are removed at once do not hold up the lines of another one.
#[test]
fn many_removed_at_once() {
    let database = Database::new(&tested_server());
    let servers = [Server::on(database.url()), Server::on(database.url())];
    let names: Vec<String> = (0..80).map(|number| format!("gone-{number}")).collect();
    let removed = names.iter().map(|name| {
        let posted = servers[1].say(name, "omri", "hi");
        let at_end = [("Last-Event-ID", unquoted(&posted.etag))];
        Live::events(&servers[0], &format!("/chat/{name}"), &at_end)
    });
    let removed: Vec<Live> = removed.collect();
    let mut live = Live::events(&servers[0], "/chat/room?tail=0", &[]);
    let statement = format!("DELETE FROM {}.rooms WHERE name LIKE 'gone-%'", database.name());
    database.server().query(&statement).expect("removed");
    let mut resets = removed.into_iter();
    let mut worst = Duration::ZERO;
    while resets.len() > 0 {
        let start = Instant::now();
        let posted = servers[1].say("room", "omri", "to the room that stays");
        live.expect_line(&posted.line);
        worst = worst.max(start.elapsed());
        for mut gone in resets.by_ref().take(4) {
            assert_eq!(gone.expect_reset(), "0-0");
        }
    }
    assert!(worst < LATE, "a line takes {worst:?} to another server");
}
