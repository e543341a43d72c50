//! The contract's section Server names: one friendly name a server, unique in its store.

mod common;

use common::live::Live;
use common::server::{Server, Setup, catchat};
use common::store::Store;
use std::collections::HashSet;
use std::process::Output;
use std::thread;

/// The name in the header, which the first line, the stream and the page must say too.
fn name(server: &Server) -> String {
    let page = server.get("/room");
    let name = page.header("server-name").expect("a name").to_string();
    assert_eq!(server.get("/-/health").header("server-name"), Some(name.as_str()));
    assert_eq!(server.get("/no/such").header("server-name"), Some(name.as_str()));
    let said = server.said().remove(0);
    assert!(said.ends_with(&format!(", name {name}")), "{said:?}");
    name
}

fn start(store: &Store, count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::on(store)).collect()
}

fn names(servers: &[Server]) -> Vec<String> {
    servers.iter().map(name).collect()
}

/// The list in its order, and after its end each name with a 2.
#[test]
fn in_order() {
    let store = Store::new();
    let servers = start(&store, 28);
    let names = names(&servers);
    assert_eq!(names[..5], ["alpha", "bravo", "charlie", "delta", "echo"]);
    assert_eq!(names[25..], ["zulu", "alpha-2", "bravo-2"]);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 28);
    assert!(store.rooms().is_empty(), "a name makes no room");
}

/// A name is free again the moment its server is gone, killed or stopped, and only then.
#[test]
fn free_again() {
    let store = Store::new();
    let mut servers = start(&store, 3);
    servers[1].kill();
    store.notices_that_it_is_gone("bravo");
    servers[1] = Server::on(&store);
    assert_eq!(names(&servers), ["alpha", "bravo", "charlie"]);
    servers[0].signal("TERM");
    assert!(servers[0].exit(common::DEADLINE).success());
    servers[2].kill();
    store.notices_that_it_is_gone("charlie");
    let more = start(&store, 3);
    assert_eq!(names(&more), ["alpha", "charlie", "delta"]);
    assert_eq!(name(&servers[1]), "bravo");
}

/// Servers that start at the same moment get names of their own.
#[test]
fn at_the_same_moment() {
    let store = Store::new();
    let servers: Vec<Server> = thread::scope(|scope| {
        let starts: Vec<_> = (0..10).map(|_| scope.spawn(|| Server::on(&store))).collect();
        starts.into_iter().map(|start| start.join().expect("started")).collect()
    });
    let names: HashSet<String> = names(&servers).into_iter().collect();
    assert_eq!(names.len(), 10, "{names:?}");
}

/// Another store has names of its own.
#[test]
fn another_store() {
    let (store, other) = (Store::new(), Store::new());
    let servers = [Server::on(&store), Server::on(&other), Server::on(&other)];
    assert_eq!(names(&servers), ["alpha", "alpha", "bravo"]);
}

fn run_named(store: &Store, name: &str) -> Output {
    let mut command = catchat();
    command.args(["--listen", "127.0.0.1:0", "--name", name, "--store"]).arg(store);
    command.output().expect("it ends")
}

/// A name that a living server has is refused with one line and exit code 1, given or not.
#[test]
fn in_use() {
    let store = Store::new();
    let mut named = Setup::on(&store).name("my server").start();
    let listed = Server::on(&store);
    for taken in ["my server", "alpha"] {
        let output = run_named(&store, taken);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(said.lines().count(), 1, "{said:?}");
        assert!(said.contains("--name") && said.contains(taken), "{said:?}");
    }
    assert_eq!((name(&named), name(&listed)), ("my server".into(), "alpha".into()));
    named.kill();
    store.notices_that_it_is_gone("my server");
    assert_eq!(name(&Setup::on(&store).name("my server").start()), "my server");
}

/// A given name from the list is skipped by those who take the first that is free.
#[test]
fn given_from_the_list() {
    let store = Store::new();
    let given = Setup::on(&store).name("bravo").start();
    let others = start(&store, 2);
    assert_eq!(names(&others), ["alpha", "charlie"]);
    assert_eq!(name(&given), "bravo");
}

/// Names that would be awkward as files are names like any other.
#[test]
fn awkward() {
    let store = Store::new();
    for given in [".", "..", "a.log", "%2E", "a%", "-", "<b>&\"'", "CON", "x".repeat(64).as_str()] {
        let server = Setup::on(&store).name(given).start();
        assert_eq!(name(&server), given);
        assert_eq!(run_named(&store, given).status.code(), Some(1), "{given}");
    }
    assert!(store.rooms().is_empty(), "a name makes no room");
}

/// The stream and the page say the name, the page beside the host's, both as text.
#[test]
fn shown() {
    let store = Store::new();
    let host = String::from_utf8(common::run_tool("uname", &["-n"]).stdout).expect("UTF-8");
    for given in ["bravo", "<b>&amp;"] {
        let server = Setup::on(&store).name(given).start();
        assert_eq!(Live::events(&server, "/chat/room", &[]).server, given);
        for page in ["/", "/room"] {
            let page = server.get(page);
            let shown = read_back(page.text());
            assert!(shown.contains(&format!(">{given}<")), "{given} is not on the page");
            assert!(shown.contains(host.trim()), "the host's name is not on the page");
            assert!(!page.text().contains("<b>&"), "a name is text and no markup");
        }
    }
}

/// Text as a browser shows it, in either of HTML's spellings of a special character.
fn read_back(html: &str) -> String {
    let spellings = [
        ("&#60;", "<"),
        ("&lt;", "<"),
        ("&#62;", ">"),
        ("&gt;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    // Once for each: what is read back is not read back again.
    let spelt = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    match html.contains("&#38;") {
        true => spellings[..5].iter().fold(html.to_string(), spelt),
        false => spellings.iter().fold(html.to_string(), spelt),
    }
}
