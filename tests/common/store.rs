//! The store under test: a directory of files or a database, of one test each, gone when it ends.
//!
//! `CATCHAT_TEST_STORE` says which: unset, a directory; `mysql://user:password@host:port`, a
//! database of its own on that server. Tests for every store know no more of it than this.

use super::database::Database;
use super::dir::TempDir;
use super::live::write_log;
use super::server::catchat;
use super::{DEADLINE, eventually, output_within};
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How soon a line that one server took is on another's screens: files tell of it, a database
/// is asked.
const FOREIGN_LINE_FILES: Duration = Duration::from_millis(250);
const FOREIGN_LINE_DATABASE: Duration = Duration::from_millis(500);

/// How long a copy of what a test wrote may take: the largest is of 100 MB.
const COPY_WITHIN: Duration = Duration::from_secs(120);

/// A fresh store, shared by all servers that a test starts on it.
pub struct Store {
    /// What `--store` takes.
    argument: OsString,
    kind: Kind,
}

enum Kind {
    Files(TempDir),
    Database(Database),
}

impl Store {
    /// Makes a store that no other test, in this process or another, uses.
    pub fn new() -> Store {
        match std::env::var("CATCHAT_TEST_STORE") {
            Ok(server) => Store::at(&server),
            Err(_) => {
                let dir = TempDir::new();
                Store { argument: dir.as_os_str().to_owned(), kind: Kind::Files(dir) }
            }
        }
    }

    /// Makes a database on this server, whatever store is under test.
    pub fn at(server: &str) -> Store {
        let database = Database::new(server);
        Store { argument: database.url().into(), kind: Kind::Database(database) }
    }

    /// What `--store` takes.
    pub fn argument(&self) -> &str {
        self.argument.to_str().expect("a store in UTF-8")
    }

    /// How soon a line that one server took must be on another's screens.
    pub fn foreign_line(&self) -> Duration {
        match &self.kind {
            Kind::Files(_) => FOREIGN_LINE_FILES,
            Kind::Database(_) => FOREIGN_LINE_DATABASE,
        }
    }

    /// How the first line of a server names it: without who may use it.
    pub fn shown(&self) -> String {
        match &self.kind {
            Kind::Files(dir) => dir.display().to_string(),
            Kind::Database(database) => database.shown(),
        }
    }

    /// The password in what `--store` takes, which nobody may be shown.
    pub fn password(&self) -> Option<&str> {
        match &self.kind {
            Kind::Files(_) => None,
            Kind::Database(database) => Some(database.password()),
        }
    }

    /// A room's whole log, as stored.
    pub fn log(&self, room: &str) -> Vec<u8> {
        assert!(is_plain(room), "{room:?} has another name as a file");
        match &self.kind {
            Kind::Files(dir) => dir.read(&format!("{room}.log")),
            Kind::Database(database) => database.log(room),
        }
    }

    /// The rooms that there are, sorted; those with odd names as their files are called.
    pub fn rooms(&self) -> Vec<String> {
        match &self.kind {
            Kind::Files(dir) => {
                let visible = dir.names().into_iter().filter(|name| !name.starts_with('.'));
                visible.map(|name| name.strip_suffix(".log").unwrap_or(&name).to_owned()).collect()
            }
            Kind::Database(database) => database.rooms(),
        }
    }

    /// All that is in it and has a name: of a directory what is no room's, too.
    pub fn contents(&self) -> Vec<String> {
        match &self.kind {
            Kind::Files(dir) => dir.names(),
            Kind::Database(_) => self.rooms(),
        }
    }

    /// Puts a log where no log is.
    pub fn fill(&self, room: &str, log: &[u8]) {
        self.fill_by(room, |path| fs::write(path, log).expect("written"));
    }

    /// Puts a log of these many lines of this length where no log is.
    pub fn fill_lines(&self, room: &str, lines: usize, line_len: usize) {
        self.fill_by(room, |path| write_log(path, lines, line_len));
    }

    /// How many lines of which length make a log that is larger than any server's memory: in a
    /// database, where each line is a row, fewer and longer ones.
    pub fn large_log(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Files(_) => (3_000_000, 100),
            Kind::Database(_) => (100_000, 1_000),
        }
    }

    /// Puts a log, which is written to a file, where no log is.
    fn fill_by(&self, room: &str, write: impl Fn(&Path)) {
        assert!(is_plain(room), "{room:?} has another name as a file");
        let file = format!("{room}.log");
        match &self.kind {
            Kind::Files(dir) => write(&dir.file(&file)),
            Kind::Database(_) => {
                let dir = TempDir::new();
                write(&dir.file(&file));
                copy(dir.as_os_str(), &self.argument);
            }
        }
    }

    /// Takes a log away: the room's next line begins another one.
    pub fn remove(&self, room: &str) {
        match &self.kind {
            Kind::Files(dir) => fs::remove_file(dir.file(&format!("{room}.log"))).expect("removed"),
            Kind::Database(database) => database.remove(room),
        }
    }

    /// Takes a log away and keeps it elsewhere, as `logrotate` does with files.
    pub fn rotate(&self, room: &str) {
        match &self.kind {
            Kind::Files(dir) => {
                let number = dir.names().len();
                let (log, kept) = (format!("{room}.log"), format!("{room}.log.{number}"));
                fs::rename(dir.file(&log), dir.file(&kept)).expect("rotated");
            }
            Kind::Database(database) => database.remove(room),
        }
    }

    /// Runs a statement in it, where it is a database.
    pub fn query(&self, statement: &str) {
        let Kind::Database(database) = &self.kind else { return };
        let statement = format!("USE {}; {statement}", database.name());
        database.server().query(&statement).expect("done");
    }

    /// Waits until the name of a killed server is free: a database takes a moment to miss its
    /// connection.
    pub fn notices_that_it_is_gone(&self, name: &str) {
        if let Kind::Database(database) = &self.kind {
            let holder = || database.server().name_holder(database.name(), name);
            eventually("the name is free", || holder() == "NULL");
        }
    }

    /// Leaves behind what a writer does that dies in the middle of a line: in a file half of it,
    /// in a database nothing.
    pub fn die_in_mid_write(&self, room: &str) {
        let Kind::Files(dir) = &self.kind else { return };
        let Ok(mut log) = OpenOptions::new().append(true).open(dir.file(&format!("{room}.log")))
        else {
            return;
        };
        log.lock().expect("locked");
        log.write_all(b"[2018-02-25 14:00:51] dead: half a li").expect("written");
    }
}

impl AsRef<OsStr> for Store {
    fn as_ref(&self) -> &OsStr {
        &self.argument
    }
}

/// Whether a room's file has the room's name.
fn is_plain(room: &str) -> bool {
    room.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Copies all rooms from one store to another, with the program itself.
fn copy(from: &OsStr, to: &OsStr) {
    let output = output_within(catchat().arg("copy").args([from, to]), COPY_WITHIN.max(DEADLINE));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the copy ends with {}: {said}", output.status);
}
