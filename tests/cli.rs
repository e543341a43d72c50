//! The command line: what it says of itself, and one line for each thing that is wrong.

mod common;

use common::cli::{fails, run};
use common::dir::TempDir;
use common::server::{Server, catchat};
use common::store::Store;
use std::fs;
use std::net::TcpListener;

/// `--help` is for a person who wants to learn the program from it.
#[test]
fn help() {
    for args in [&["--help"][..], &["-h"], &["serve", "--help"]] {
        let output = run(args, &[]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        for word in [
            "--listen",
            "--store",
            "--name",
            "--help",
            "--version",
            "health",
            "copy",
            "127.0.0.1:8080",
            "data",
            "CATCHAT_LISTEN",
            "CATCHAT_STORE",
            "CATCHAT_NAME",
        ] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
        assert!(text.ends_with('\n') && output.stderr.is_empty());
    }
}

/// `--version` names the program and its version.
#[test]
fn version() {
    for args in [&["--version"][..], &["-V"]] {
        let output = run(args, &[]);
        let expected = format!("catchat {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(output.status.code(), Some(0));
    }
}

/// What is not understood is named, with exit code 2.
#[test]
fn bad_usage() {
    for (args, says) in [
        (&["--nope"][..], "--nope"),
        (&["-x"], "-x"),
        (&["serve", "--nope"], "--nope"),
        (&["nope"], "nope"),
        (&["serve", "nope"], "nope"),
        (&["--listen"], "--listen"),
        (&["--store"], "--store"),
        (&["--name"], "--name"),
        (&["--listen", "nope"], "--listen"),
        (&["--listen", ""], "--listen"),
        (&["--listen", "127.0.0.1"], "--listen"),
        (&["--listen", "127.0.0.1:65536"], "--listen"),
        (&["--name", ""], "--name"),
        (&["--name", "a\nb"], "--name"),
        (&["--name", "a\u{1b}b"], "--name"),
        (&["health", "one", "two"], "health"),
        (&["health", "--nope"], "--nope"),
        (&["copy", "one"], "copy"),
        (&["copy", "one", "two", "three"], "copy"),
        (&["copy", "--store", "one", "two"], "copy"),
    ] {
        fails(args, &[], 2, &[says]);
    }
}

/// A URL with a slash too few, or of another kind, became a directory that was called like the
/// password in it, which the first line then told.
#[test]
fn mistyped_stores() {
    let dir = TempDir::new();
    for store in [
        "mysql:/u:hunter2@127.0.0.1/x",
        "MYSQL:/u:hunter2@127.0.0.1/x",
        "mysql//u:hunter2@127.0.0.1/x",
        "mariadb:/u:hunter2@127.0.0.1/x",
        "Mysql://u:hunter2@127.0.0.1/x",
        "mysql:hunter2",
        "mysq:/u:hunter2@127.0.0.1/x",
        "u:hunter2@127.0.0.1/x",
        "@mysql://u:hunter2@127.0.0.1/x",
        "@u:hunter2@127.0.0.1/x",
    ] {
        let path = dir.to_str().expect("UTF-8");
        for (args, env, says) in [
            (&["--listen", "127.0.0.1:0", "--store", store][..], &[][..], "--store: "),
            (&["--listen", "127.0.0.1:0"], &[("CATCHAT_STORE", store)], "CATCHAT_STORE: "),
            (&["copy", store, path], &[], "FROM: "),
            (&["copy", path, store], &[], "TO: "),
        ] {
            let said = fails(args, env, 2, &[says, "mysql://USER:PASSWORD@HOST"]);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

/// A URL that stands where something else is meant is told without its password.
#[test]
fn misplaced_stores() {
    let store = "mysql://u:hunter2@127.0.0.1/x";
    let listen = ["--listen", "127.0.0.1:0"];
    for (args, env) in [
        (&[store][..], &[][..]),
        (&["serve", store], &[]),
        (&["--listen", store], &[]),
        (&["--name", store], &[]),
        (&listen, &[("CATCHAT_STORE_FILE", store)]),
    ] {
        let said = fails(args, env, 2, &["127.0.0.1/x"]);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// What begins like a path is one, whatever it contains.
#[test]
fn odd_directories() {
    for name in ["a:b@c", "mysql:x", "@file"] {
        let dir = TempDir::new();
        let path = dir.file(name);
        let server = Server::on(&path);
        server.say("room", "omri", "hi");
        assert!(path.join("room.log").is_file(), "{path:?}");
    }
}

/// A store in a file, so that nobody who lists processes sees its password, means the same in every
/// place; it became a directory of this name.
#[test]
fn a_store_in_a_file() {
    let (store, dir) = (Store::new(), TempDir::new());
    let path = dir.file("store");
    fs::write(&path, format!("{}\n", store.argument())).expect("written");
    let argument = format!("@{}", path.display());
    let server = Server::on(&argument);
    let first = server.say("room", "omri", "hi");
    let said = server.said();
    assert!(store.password().is_none_or(|password| !said[0].contains(password)), "{said:?}");
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0"]).env("CATCHAT_STORE", &argument);
    assert_eq!(Server::spawn(&mut command).get("/chat/room").text(), first.line);
    let (empty, missing) = (dir.file("empty"), dir.file("missing"));
    fs::write(&empty, " \n").expect("written");
    for (path, says) in [(empty, "empty"), (missing, "No such file")] {
        let argument = format!("@{}", path.display());
        fails(&["--store", &argument], &[], 2, &["--store: @", says]);
        fails(&[], &[("CATCHAT_STORE", &argument)], 2, &["CATCHAT_STORE: @", says]);
    }
}

/// A bad value in the environment is named like a bad flag.
#[test]
fn bad_environment() {
    fails(&[], &[("CATCHAT_LISTEN", "nope")], 2, &["nope"]);
    fails(&[], &[("CATCHAT_NAME", "a\nb")], 2, &["name"]);
}

/// An address in use is named, with exit code 1.
#[test]
fn address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let store = Store::new();
    let store = store.argument();
    fails(&["--listen", &address, "--store", store], &[], 1, &[&address]);
    fails(&["--store", store], &[("CATCHAT_LISTEN", &address)], 1, &[&address]);
}

/// The first line says where it listens and where the rooms are, and nobody's password.
#[test]
fn first_line() {
    let store = Store::new();
    let server = Server::on(&store);
    assert_ne!(server.address.port(), 0);
    let shown = store.shown();
    let expected = format!("catchat: listening on http://{}, rooms in {shown}, ", server.address);
    let said = server.said();
    assert!(said.len() == 1 && said[0].starts_with(&expected), "{said:?}");
    assert!(store.password().is_none_or(|password| !said[0].contains(password)), "{said:?}");
}

/// Each flag has its twin in the environment; the flag counts where both are given.
#[test]
fn environment() {
    let (store, other) = (Store::new(), Store::new());
    let mut command = catchat();
    command.arg("serve").env("CATCHAT_LISTEN", "127.0.0.1:0").env("CATCHAT_STORE", &store);
    let server = Server::spawn(command.env("CATCHAT_NAME", "from the environment"));
    let answer = server.post("room", "omri", "hi");
    assert_eq!(answer.header("server-name"), Some("from the environment"));
    assert_eq!(store.rooms(), ["room"]);
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0", "--name=by flag", "--store"]).arg(&other);
    command.env("CATCHAT_LISTEN", "nope").env("CATCHAT_STORE", &store).env("CATCHAT_NAME", "x");
    let server = Server::spawn(&mut command);
    let answer = server.post("another", "omri", "hi");
    assert_eq!(answer.header("server-name"), Some("by flag"));
    assert_eq!((store.rooms().len(), other.rooms().len()), (1, 1));
}

/// `--listen` takes IPv6 and host names as well.
#[test]
fn other_addresses() {
    let store = Store::new();
    let store = store.argument();
    for listen in ["localhost:0", "[::1]:0", "0.0.0.0:0"] {
        if listen.starts_with('[') && TcpListener::bind(listen).is_err() {
            common::skip("this machine has no IPv6");
            continue;
        }
        let server = Server::spawn(catchat().args(["--listen", listen, "--store", store]));
        assert_eq!(server.get("/-/health").status, 200, "{listen}");
    }
}

/// `health` asks a server: exit code 0 where it is well.
#[test]
fn healthy() {
    let store = Store::new();
    let server = Server::on(&store);
    let url = format!("http://{}", server.address);
    for url in [url.clone(), format!("{url}/"), format!("{url}/-/health")] {
        let output = run(&["health", &url], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{url}: {said}");
    }
    let address = server.address.to_string();
    let output = run(&["health"], &[("CATCHAT_LISTEN", &address)]);
    assert_eq!(output.status.code(), Some(0), "it asks the address that the server listens on");
}
