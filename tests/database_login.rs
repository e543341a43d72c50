//! Where the database is and how to log in: one line for each thing that is wrong, which never
//! shows the password, and what a fresh account needs.

mod common;

use common::cli::fails;
use common::database::{Database, DatabaseServer, tested_server};
use common::dir::TempDir;
use common::server::{Server, catchat};
use std::fs;
use std::io::{self, Write};

/// A password that no sentence contains by chance.
const PASSWORD: &str = "hunter2-hunter3";

/// Checks that a server does not start, with one line that shows nothing of a password.
fn refused(args: &[&str], env: &[(&str, &str)], code: i32, says: &[&str]) {
    let args = [&["--listen", "127.0.0.1:0"], args].concat();
    let said = fails(&args, env, code, says);
    assert!(!said.contains("hunter"), "{said}");
}

/// A file that does not say where the store is, named with what is wrong with it.
#[test]
fn bad_files() {
    let dir = TempDir::new();
    for (name, content, says) in [
        ("empty", "", "empty"),
        ("blank", " \n\n", "empty"),
        ("nowhere", "mysql://me:hunter2@127.0.0.1:3306\n", "no database"),
        ("half", "mysql:/me:hunter2@127.0.0.1:3306/chat", "mysql://USER"),
        ("kind", "mysqls://me:hunter2@127.0.0.1:3306/chat", "mysqls"),
        ("port", "mysql://me:hunter2@127.0.0.1:port/chat", "cannot be read"),
        ("slash", "mysql://me:1/hunter2@127.0.0.1:3306/chat", "cannot be read"),
        ("hash", "mysql://me:1#hunter2@127.0.0.1:3306/chat", "cannot be read"),
        ("question", "mysql://me:1?hunter2@127.0.0.1:3306/chat", "unknown parameter"),
        ("lines", "mysql://me:x@127.0.0.1:3306/chat\nhunter2", "cannot be read"),
    ] {
        let path = dir.file(name);
        fs::write(&path, content).expect("written");
        let path = path.to_str().expect("UTF-8");
        refused(&[], &[("CATCHAT_STORE_FILE", path)], 2, &["CATCHAT_STORE_FILE", path, says]);
        refused(&["--store", &format!("@{path}")], &[], 2, &["--store: @", path, says]);
    }
    let missing = dir.file("missing");
    for path in [missing.to_str().expect("UTF-8"), dir.to_str().expect("UTF-8")] {
        refused(&[], &[("CATCHAT_STORE_FILE", path)], 2, &["CATCHAT_STORE_FILE", path]);
    }
}

/// A file and a variable: which of them counts is not guessed. A flag counts before both.
#[test]
fn file_and_variable() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let path = dir.file("url");
    fs::write(&path, "mysql://me:hunter2@127.0.0.1:1/chat").expect("written");
    let path = path.to_str().expect("UTF-8");
    let both = [("CATCHAT_STORE", "mysql://me:hunter3@x/y"), ("CATCHAT_STORE_FILE", path)];
    refused(&[], &both, 2, &["CATCHAT_STORE and CATCHAT_STORE_FILE", "set one"]);
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0", "--store", &database.url()]).envs(both);
    Server::spawn(&mut command).say("room", "omri", "hi");
    assert_eq!(database.rooms(), ["room"]);
}

/// A file that says it, with a line end as editors leave it.
#[test]
fn good_file() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let path = dir.file("url");
    fs::write(&path, database.account(PASSWORD, "BY") + "\n").expect("written");
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0"]).env("CATCHAT_STORE_FILE", &path);
    let server = Server::spawn(&mut command);
    server.say("room", "omri", "hi");
    assert_eq!(database.rooms(), ["room"]);
    let said = server.said().join("\n");
    assert!(said.contains(&database.shown()) && !said.contains(PASSWORD), "{said}");
    let server = Server::on(format!("@{}", path.display()));
    assert_eq!(server.get("/chat/room").status, 200);
    let said = server.said().join("\n") + server.get("/-/metrics").text();
    assert!(said.contains(&database.shown()) && !said.contains(PASSWORD), "{said}");
}

/// A password that the database does not take is told at once, without it.
#[test]
fn wrong_password() {
    let database = Database::new(&tested_server());
    let right = database.account(PASSWORD, "BY");
    let wrong = right.replace(PASSWORD, "hunter4");
    for url in [&wrong, &format!("{wrong}?ssl-mode=DISABLED")] {
        refused(&["--store", url], &[], 1, &[&database.shown(), "Access denied"]);
        refused(&[], &[("CATCHAT_STORE", url)], 1, &[&database.shown(), "Access denied"]);
    }
}

/// A password may have every character, escaped in the URL.
#[test]
fn odd_password() {
    let database = Database::new(&tested_server());
    let url = database.account("a:/?#@&%20+é", "BY");
    let url = url.replace("a:/?#@&%20+é", "a%3A%2F%3F%23%40%26%2520%2B%C3%A9");
    Server::on(url).say("room", "omri", "hi");
    assert_eq!(database.rooms(), ["room"]);
}

/// The first login of a fresh account, which MySQL cannot check without the password itself: it is
/// encrypted for that, where the connection is not.
#[test]
fn first_login() {
    let kind = DatabaseServer::at(&tested_server()).kind();
    if kind != "mysql" {
        // Past what the test runner keeps to itself.
        let said = format!("NOT HERE: caching_sha2_password is MySQL's, and this is {kind}\n");
        io::stderr().write_all(said.as_bytes()).expect("said");
        return;
    }
    let database = Database::new(&tested_server());
    let url = database.account(PASSWORD, "WITH caching_sha2_password BY");
    let server = Server::on(format!("{url}?ssl-mode=DISABLED"));
    server.say("room", "omri", "hi");
    assert_eq!(database.rooms(), ["room"]);
}
