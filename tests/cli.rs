//! The command line: what it says of itself, and one line for each thing that is wrong.

mod common;

use common::dir::TempDir;
use common::server::{Server, Setup, catchat};
use std::fs;
use std::net::TcpListener;
use std::process::{Output, Stdio};

/// Runs the binary to its end; a server that starts instead would never end, so none does.
fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let dir = TempDir::new(); // Where nothing is given, `./data` shall not land in the tree.
    let mut command = catchat();
    command.args(args).envs(env.iter().copied()).current_dir(&*dir).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let start = std::time::Instant::now();
    while child.try_wait().expect("its state").is_none() {
        if start.elapsed() > common::DEADLINE {
            let _ = child.kill();
            panic!("{args:?} {env:?} still runs");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output")
}

/// Checks an exit code and that standard error is one line that says all of `says`.
fn fails(args: &[&str], env: &[(&str, &str)], code: i32, says: &[&str]) {
    let output = run(args, env);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?} {env:?}: {said}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {said:?}"));
    assert!(line.starts_with("catchat: "), "{line:?}");
    assert!(!line.chars().any(char::is_control), "more than one line: {said:?}");
    for word in says {
        assert!(line.contains(word), "{line:?} does not say {word:?}");
    }
    assert!(output.stdout.is_empty(), "{args:?} writes to standard output");
}

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
    ] {
        fails(args, &[], 2, &[says]);
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
    let dir = TempDir::new();
    let store = dir.to_str().expect("UTF-8");
    fails(&["--listen", &address, "--store", store], &[], 1, &[&address]);
    fails(&["--store", store], &[("CATCHAT_LISTEN", &address)], 1, &[&address]);
}

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

/// The first line says where it listens and where the rooms are, whose directory it makes.
#[test]
fn first_line() {
    let dir = TempDir::new();
    let store = dir.file("made/for it");
    let server = Server::on(&store);
    assert_ne!(server.address.port(), 0);
    let store_shown = store.to_str().expect("UTF-8");
    let expected =
        format!("catchat: listening on http://{}, rooms in {store_shown}", server.address);
    let said = server.said();
    assert!(said.len() == 1 && said[0].starts_with(&expected), "{said:?}");
    server.say("room", "omri", "hi");
    assert!(store.join("room.log").is_file());
}

/// Each flag has its twin in the environment; the flag counts where both are given.
#[test]
fn environment() {
    let (dir, other) = (TempDir::new(), TempDir::new());
    let mut command = catchat();
    command.arg("serve").env("CATCHAT_LISTEN", "127.0.0.1:0").env("CATCHAT_STORE", &*dir);
    let server = Server::spawn(command.env("CATCHAT_NAME", "from the environment"));
    let answer = server.post("room", "omri", "hi");
    assert_eq!(answer.header("server-name"), Some("from the environment"));
    assert_eq!(dir.logs(), ["room.log"]);
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0", "--name=by flag", "--store"]).arg(&*other);
    command.env("CATCHAT_LISTEN", "nope").env("CATCHAT_STORE", &*dir).env("CATCHAT_NAME", "x");
    let server = Server::spawn(&mut command);
    let answer = server.post("another", "omri", "hi");
    assert_eq!(answer.header("server-name"), Some("by flag"));
    assert_eq!((dir.logs().len(), other.logs().len()), (1, 1));
}

/// `--listen` takes IPv6 and host names as well.
#[test]
fn other_addresses() {
    let dir = TempDir::new();
    let store = dir.to_str().expect("UTF-8");
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
    let dir = TempDir::new();
    let server = Server::on(&dir);
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
