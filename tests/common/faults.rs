//! A server and a database that fails it: what stands between them, and what is owed then.

use super::check::refused;
use super::database::{Database, tested_server};
use super::proxy::Proxy;
use super::server::{Posted, Server};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a post is answered whatever the database does: five seconds of attempts, the last
/// of which waits for a connection and a statement.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(14);

/// A database and a proxy before it.
pub fn proxied() -> (Database, Proxy, String) {
    let database = Database::new(&tested_server());
    let proxy = Proxy::before(database.server().address());
    let url = database.url_at(proxy.address);
    (database, proxy, url)
}

/// A server whose database is behind a proxy, and the first line there.
pub fn one_server() -> (Database, Proxy, Server, Posted) {
    let (database, proxy, url) = proxied();
    let server = Server::on(&url);
    let first = server.say("room", "omri", "first");
    (database, proxy, server, first)
}

/// Posts once what must be refused for now, in time.
pub fn refuses(server: &Server, target: &str, body: &str, says: &[&str]) {
    let start = Instant::now();
    let answer = server.post_form(target, body);
    assert!(start.elapsed() < ANSWERED_WITHIN, "only after {:?}", start.elapsed());
    refused(&answer, 503, says);
    let seconds = answer.header("retry-after").expect("Retry-After");
    assert!(seconds.parse::<u32>().is_ok(), "{seconds}");
}

/// Checks that nobody is told the password.
pub fn keeps_the_secret(database: &Database, server: &Server) {
    let told = server.said().join("\n") + server.get("/-/metrics").text();
    assert!(!told.contains(database.password()), "{told}");
}

/// Tells threads to end when it is dropped: also when a test fails that would wait for them.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
