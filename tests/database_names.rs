//! A server that lost its claim on its name, which a database takes from whoever is cut off: it
//! keeps the name that nobody took, and goes on under another one where somebody did.

mod common;

use common::client::Response;
use common::database::{Database, DatabaseServer, OwnServer, tested_server};
use common::live::Live;
use common::poster::each_once;
use common::server::{Server, Setup};
use common::store::Store;
use common::{DEADLINE, eventually};
use std::collections::HashSet;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For how long another holds a lock: a server asks for its own several times meanwhile.
const HELD_FOR: Duration = Duration::from_secs(8);

/// The claims on names in a store, as an operator of its database sees them.
struct Claims {
    server: DatabaseServer,
    database: String,
}

/// A client of the database that waits for a lock, and holds it then until this is dropped.
struct Holder(Child);

impl Claims {
    fn of(store: &Store) -> Claims {
        let (_, database) = store.argument().rsplit_once('/').expect("a database");
        let server = DatabaseServer::at(&tested_server());
        Claims { server, database: database.to_string() }
    }

    fn query(&self, statement: &str) -> String {
        self.server.query(statement).expect("an answer").trim_end().to_string()
    }

    /// The lock that a name is claimed by.
    fn lock(&self, name: &str) -> String {
        DatabaseServer::name_lock(&self.database, name)
    }

    /// The connection that holds a name; `NULL` where there is none.
    fn connection(&self, name: &str) -> String {
        self.server.name_holder(&self.database, name)
    }

    /// Ends the connection that holds a name, and waits until another has it or none.
    fn kill(&self, name: &str) {
        let held = self.connection(name);
        self.query(&format!("KILL {held}"));
        eventually("the lock is free", || self.connection(name) != held);
    }

    /// Lets a client wait for a name, so that nobody else gets it next.
    fn wait_for(&self, name: &str) -> Holder {
        let mut client = self.server.client();
        let child = client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("runs");
        let statement = format!("SELECT GET_LOCK('{}', 60)", self.lock(name));
        let mut stdin = child.stdin.as_ref().expect("its input");
        writeln!(stdin, "{statement};").expect("written");
        let holder = Holder(child);
        eventually("it waits", || self.query("SHOW FULL PROCESSLIST").contains(&statement));
        holder
    }

    /// Takes a name from the server that has it, as another server does that finds it free.
    fn take(&self, name: &str) -> Holder {
        let holder = self.wait_for(name);
        self.kill(name);
        let Claims { database, .. } = self;
        self.query(&format!("UPDATE {database}.servers SET holder = 1 WHERE name = '{name}'"));
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn name_in(answer: &Response) -> &str {
    answer.header("server-name").expect("a name")
}

/// The name in the header, which refusals, streams and the page must say too.
fn name(server: &Server) -> String {
    let name = name_in(&server.get("/chat/room")).to_string();
    assert_eq!(name_in(&server.get("/no/such")), name);
    let mut client = server.connect();
    client.send(b"no request\r\n\r\n");
    assert_eq!(name_in(&client.answer("GET").expect("a refusal")), name);
    assert_eq!(Live::events(server, "/chat/room", &[]).server, name);
    let page = server.get("/room");
    assert!(page.text().contains(&format!(">{name}<")), "{name} is not on the page");
    name
}

fn names<const N: usize>(servers: [&Server; N]) -> [String; N] {
    let names = servers.map(name);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), N, "{names:?}");
    names
}

/// What a server said of its name since it started.
fn said(server: &Server) -> Vec<String> {
    server.said().into_iter().skip(1).filter(|line| line.contains("name")).collect()
}

fn change(before: &str, after: &str) -> String {
    format!("catchat: the name {before} is held by another server now; this one goes on as {after}")
}

/// A server that slept while a new one took its name takes the first free one when it is back,
/// and keeps that: also when the old one is free again.
#[test]
fn taken_while_it_slept() {
    let store = Store::new();
    let claims = Claims::of(&store);
    let (first, second) = (Server::on(&store), Server::on(&store));
    assert_eq!(names([&first, &second]), ["alpha", "bravo"]);
    first.signal("STOP");
    claims.kill("alpha");
    let mut third = Server::on(&store);
    assert_eq!(names([&second, &third]), ["bravo", "alpha"]);
    first.signal("CONT");
    eventually("it has another name", || name_in(&first.get("/")) != "alpha");
    assert_eq!(names([&first, &second, &third]), ["charlie", "bravo", "alpha"]);
    assert_eq!(said(&first), [change("alpha", "charlie")]);
    third.kill();
    store.notices_that_it_is_gone("alpha");
    let fourth = Server::on(&store);
    assert_eq!(names([&first, &second, &fourth]), ["charlie", "bravo", "alpha"]);
    claims.kill("charlie");
    eventually("it is held again", || claims.connection("charlie") != "NULL");
    assert_eq!(names([&first, &second, &fourth]), ["charlie", "bravo", "alpha"]);
    for server in [&second, &fourth] {
        assert_eq!(said(server), [""; 0]);
    }
    let rows = format!("SELECT name FROM {}.servers ORDER BY name", claims.database);
    assert_eq!(claims.query(&rows), "alpha\nbravo\ncharlie");
}

/// Whatever a server does goes on while its name changes, a given one too, and its new name is
/// free again when it stops.
#[test]
fn taken_while_it_serves() {
    let store = Store::new();
    let claims = Claims::of(&store);
    let mut server = Setup::on(&store).name("my server").start();
    let (changed, mut seen) = (AtomicBool::new(false), Vec::new());
    let mut live = Live::events(&server, "/chat/room", &[]);
    let holder = thread::scope(|scope| {
        let posting = scope.spawn(|| {
            let start = Instant::now();
            let mut lines = Vec::new();
            while !changed.load(Ordering::SeqCst) && start.elapsed() < 2 * DEADLINE {
                let posted = server.say("room", "omri", &lines.len().to_string());
                let read = server.get("/chat/room");
                assert!(read.status == 200 && read.text().ends_with(&posted.line));
                seen.push(name_in(&read).to_string());
                lines.push(posted.line);
            }
            lines
        });
        let holder = claims.take("my server");
        eventually("it has another name", || name_in(&server.get("/")) != "my server");
        // One more of them is posted and read under the new name.
        let count = server.get("/chat/room").cursor();
        eventually("it goes on", || server.get("/chat/room").cursor() != count);
        changed.store(true, Ordering::SeqCst);
        for line in posting.join().expect("posted") {
            live.expect_line(&line);
        }
        holder
    });
    each_once(&store.log("room"), &["omri"], seen.len(), |number| number.to_string());
    seen.dedup();
    assert_eq!(seen, ["my server", "alpha"]);
    assert_eq!(said(&server), [change("my server", "alpha")]);
    drop(holder);
    eventually("the given name is free", || claims.connection("my server") == "NULL");
    let given = Setup::on(&store).name("my server").start();
    assert_eq!(names([&server, &given]), ["alpha", "my server"]);
    server.signal("TERM");
    assert!(server.exit(DEADLINE).success());
    assert_eq!(names([&given, &Server::on(&store)]), ["my server", "alpha"]);
}

/// A name that no other server took is kept, even where its lock is not to be had for a while:
/// what holds it may be the server's own lost connection, which the database has not missed yet.
#[test]
fn kept_where_nobody_took_it() {
    let store = Store::new();
    let claims = Claims::of(&store);
    let server = Server::on(&store);
    claims.kill("alpha");
    eventually("it is held again", || claims.connection("alpha") != "NULL");
    let holder = claims.wait_for("alpha");
    claims.kill("alpha");
    let (held, start) = (claims.connection("alpha"), Instant::now());
    while start.elapsed() < HELD_FOR {
        assert_eq!(name_in(&server.get("/")), "alpha");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(claims.connection("alpha"), held);
    drop(holder);
    eventually("it is held again", || {
        ![held.as_str(), "NULL"].contains(&&*claims.connection("alpha"))
    });
    assert_eq!(names([&server, &Server::on(&store)]), ["alpha", "bravo"]);
    assert_eq!(said(&server), [""; 0]);
}

/// Where a database goes by its name in any case, a server of each spelling has a name of its own:
/// both were called alpha.
#[test]
fn the_database_in_another_case() {
    let own = OwnServer::start_with(&["--lower-case-table-names=1"]);
    let database = Database::new(&own.url);
    let (url, name) = (database.url(), database.name());
    let first = Server::on(&url);
    let second = Server::on(url.replace(name, &name.to_uppercase()));
    assert_eq!(names([&first, &second]), ["alpha", "bravo"]);
}
