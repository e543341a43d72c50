//! A database that its administrator has set up in another way than most: the chat is the same.

mod common;

use common::cli::run;
use common::database::{Database, DatabaseServer, OwnServer};
use common::dir::TempDir;
use common::server::Server;
use std::fs;

/// Settings of a whole server that change what statements mean, or when they take place.
const SETTINGS: [(&str, &str); 8] = [
    ("autocommit", "0"),
    ("completion_type", "'CHAIN'"),
    ("sql_mode", "''"),
    ("sql_mode", "'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'"),
    ("sql_mode", "'TRADITIONAL'"),
    ("time_zone", "'+05:00'"),
    ("character_set_server", "latin1"),
    ("sql_select_limit", "2"),
];

/// Those that only MariaDB has.
const MARIADB: [(&str, &str); 2] =
    [("sql_mode", "'ORACLE'"), ("sql_mode", "'EMPTY_STRING_IS_NULL'")];

/// Lines that are stored in each way that there is, and an empty one.
const STRANGE: &[u8] = b"\xff not UTF-8\n\n[2018-02-25 14:00:51] omri: \n\
    [2018-02-25 14:00:51] omri: \\' \"; -- %s  \n[0000-00-00 00:00:00] x: y\n";

/// A database with autocommit off kept what a server wrote in transactions without an end: it never
/// came to be healthy, and its tables had no version. MariaDB's mode ORACLE begins a block with
/// BEGIN, and EMPTY_STRING_IS_NULL takes the text from an empty line.
#[test]
fn settings() {
    let own = OwnServer::start();
    let server = DatabaseServer::at(&own.url);
    let mut settings = SETTINGS.to_vec();
    if server.kind() == "mariadb" {
        settings.extend(MARIADB);
    }
    for (name, value) in settings {
        let before = server.query(&format!("SELECT @@GLOBAL.{name}")).expect("a value");
        let set = |value: &str| {
            server.query(&format!("SET GLOBAL {name} = {value}")).expect("set");
        };
        set(value);
        the_chat_is_the_same(&own, &format!("{name} = {value}"));
        match before.trim() {
            number if number.parse::<u64>().is_ok() => set(number),
            text => set(&format!("'{text}'")),
        }
    }
}

/// Copies there and back, posts, and starts once more on what is there then.
fn the_chat_is_the_same(own: &OwnServer, setting: &str) {
    let database = Database::new(&own.url);
    let url = database.url();
    let (from, back) = (TempDir::new(), TempDir::new());
    fs::write(from.file("room.log"), STRANGE).expect("written");
    let copy = |from: &str, to: &str| {
        let output = run(&["copy", from, to], &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{setting}: {said}");
    };
    copy(from.to_str().expect("UTF-8"), &url);
    copy(&url, back.to_str().expect("UTF-8"));
    assert!(back.read("room.log") == STRANGE, "{setting}: a copy is something else");
    let servers = [Server::on(&url), Server::on(&url)];
    let said = servers.each_ref().map(|server| server.say("room", "omri", "hi").line);
    let log = [STRANGE, said.concat().as_bytes()].concat();
    for server in &servers {
        assert_eq!(server.get("/-/health").status, 200, "{setting}");
        assert!(server.get("/chat/room").body == log, "{setting}: it has another log");
    }
    assert!(database.log("room") == log, "{setting}: another log is stored");
    drop(servers);
    assert!(Server::on(&url).get("/chat/room").body == log, "{setting}: another log is left");
}
