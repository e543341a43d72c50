//! The command line where the store is a directory: what is said of one that is not to be used.

mod common;

use common::cli::fails;
use common::dir::TempDir;
use common::server::{Server, Setup};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

/// A store that cannot be written is named, with exit code 1.
#[test]
fn unwritable_store() {
    let dir = TempDir::new();
    let file = dir.file("a file");
    fs::write(&file, "").expect("written");
    let below = file.join("below");
    for store in [file.to_str().expect("UTF-8"), below.to_str().expect("UTF-8"), "/proc/rooms"] {
        fails(&["--listen", "127.0.0.1:0", "--store", store], &[], 1, &[store]);
    }
    assert_eq!(fs::read(&file).expect("the file"), b"", "it is not touched");
    fails(&["--listen", "127.0.0.1:0", "--store", ""], &[], 1, &["--store"]);
}

/// `health` of a server that is ill, silent or not there: exit code 1.
#[test]
fn unhealthy() {
    let dir = TempDir::new();
    let store = dir.file("store");
    let server = Setup::on(&store).start();
    fs::remove_dir_all(&store).expect("removed");
    let url = format!("http://{}", server.address);
    fails(&["health", &url], &[], 1, &["503"]);
    drop(server);
    fails(&["health", &url], &[], 1, &[url.trim_start_matches("http://")]);
    fails(&["health", "ftp://127.0.0.1/"], &[], 1, &["ftp://127.0.0.1/"]);
    fails(&["health", "http://"], &[], 1, &["http://"]);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("its address"));
    fails(&["health", &url], &[], 1, &[url.trim_start_matches("http://")]);
}

/// The directory is made where there is none, and holds the rooms.
#[test]
fn made() {
    let dir = TempDir::new();
    let store = dir.file("made/for it");
    let server = Server::on(&store);
    server.say("room", "omri", "hi");
    assert!(store.join("room.log").is_file());
}

/// Another path to the same directory is the same store, where each name is given once.
#[test]
fn another_path() {
    let (dir, other) = (TempDir::new(), TempDir::new());
    symlink(&*dir, other.file("link")).expect("a link");
    let servers = [Server::on(&dir), Server::on(other.file("link"))];
    let names =
        servers.each_ref().map(|server| server.get("/").header("server-name").map(String::from));
    assert_eq!(names, ["alpha", "bravo"].map(|name| Some(name.to_string())));
}
