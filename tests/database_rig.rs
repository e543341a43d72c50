//! What all tests on a database lean on: each has its own, and it is gone with its test.

mod common;

use common::database::{Database, DatabaseServer, OwnServer, tested_server};
use std::panic::catch_unwind;

fn exists(name: &str) -> bool {
    let statement = format!("SHOW DATABASES LIKE '{}'", name.replace('_', "\\_"));
    !DatabaseServer::at(&tested_server()).query(&statement).expect("the databases").is_empty()
}

/// A database is there while its owner is, also when that one panics, and no longer.
#[test]
fn gone_with_its_owner() {
    let (one, another) = (Database::new(&tested_server()), Database::new(&tested_server()));
    let names = [one.name(), another.name()].map(String::from);
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| exists(name)));
    drop(one);
    assert!(!exists(&names[0]) && exists(&names[1]));
    let failed = catch_unwind(move || {
        let _owned = another;
        panic!("as a test that fails");
    });
    assert!(failed.is_err() && !exists(&names[1]));
}

/// What the client says of an error is told.
#[test]
fn errors_are_told() {
    let error =
        DatabaseServer::at(&tested_server()).query("SELECT nonsense").expect_err("an error");
    assert!(error.to_string().contains("nonsense"), "{error}");
}

/// Rooms are listed by the bytes of their names and removed one by one.
#[test]
fn rooms_of_a_database() {
    let (database, server) =
        (Database::new(&tested_server()), DatabaseServer::at(&tested_server()));
    let table = format!("{}.rooms", database.name());
    let made = format!("CREATE TABLE {table} (name VARCHAR(80) CHARACTER SET utf8mb4 PRIMARY KEY)");
    server.query(&made).expect("a table");
    server.query(&format!("INSERT INTO {table} VALUES ('b'), ('é'), ('a b')")).expect("rows");
    assert_eq!(database.rooms(), ["a b", "b", "é"]);
    database.remove("b");
    assert_eq!(database.rooms(), ["a b", "é"]);
}

/// A database server of a test's own is killed and comes back with all that was committed.
#[test]
fn killed_and_restarted() {
    let own = OwnServer::start();
    let server = DatabaseServer::at(&own.url);
    let database = Database::new(&own.url);
    let table = format!("{}.rooms", database.name());
    server.query(&format!("CREATE TABLE {table} (name VARCHAR(80) PRIMARY KEY)")).expect("made");
    for name in ["a", "b"] {
        server.query(&format!("INSERT INTO {table} VALUES ('{name}')")).expect("a row");
        own.kill();
        assert!(server.query("SELECT 1").is_err(), "it is gone");
        own.restart();
        assert_eq!(database.rooms().last().map(String::as_str), Some(name));
    }
    assert_eq!(database.rooms(), ["a", "b"]);
}
