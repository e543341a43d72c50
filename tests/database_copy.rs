//! A copy into a database that others write to meanwhile.

mod common;

use common::cli::run;
use common::database::{Database, tested_server};
use common::dir::TempDir;
use common::eventually;
use common::server::Server;
use std::fs;
use std::thread;

const FIRST: &str = "[2018-02-25 14:00:51] omri: first\n";

/// A line that is to be copied, and the message of one as long as it.
const COPIED: &str = "[2018-02-25 14:00:52] omri: from a file\n";
const POSTED: &str = "by somebody";

/// A post takes the place of the line that is copied, and is as long: the room is named as another
/// one. It was taken for the copy's own line, whose answer had been lost.
#[test]
fn as_long_as_what_is_copied() {
    let database = Database::new(&tested_server());
    let dir = TempDir::new();
    let copy = || run(&["copy", dir.to_str().expect("UTF-8"), &database.url()], &[]);
    fs::write(dir.file("room.log"), FIRST).expect("written");
    assert!(copy().status.success());
    fs::write(dir.file("room.log"), format!("{FIRST}{COPIED}")).expect("written");
    let server = Server::on(database.url());
    let lock = database.lock(&["room"]);
    let (posted, copied) = thread::scope(|scope| {
        let post = scope.spawn(|| server.say("room", "omri", POSTED));
        eventually("the post waits", || database.running("FOR UPDATE") == 1);
        let copying = scope.spawn(copy);
        eventually("so does the copy", || database.running("FOR UPDATE") == 2);
        drop(lock);
        (post.join().expect("posted"), copying.join().expect("copied"))
    });
    assert_eq!(posted.line.len(), COPIED.len());
    assert_eq!(database.log("room"), format!("{FIRST}{}", posted.line).as_bytes());
    assert_eq!(copied.status.code(), Some(1), "{copied:?}");
    let said = String::from_utf8(copied.stderr).expect("UTF-8");
    assert!(said.contains("room"), "{said}");
}
