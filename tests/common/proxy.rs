//! A proxy before a database that reads along: it cuts connections at a COMMIT, freezes them, or
//! leaves them without an end and without an answer; and it tells what was asked.
//!
//! The URL of what connects through it says `ssl-mode=DISABLED`: it looks at the bytes.

use super::asked::{Asked, Talk};
use super::{DEADLINE, eventually};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// A packet of seven bytes, the first of a command: the query COMMIT.
const COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

/// The same for one byte: a ping.
const PING: &[u8] = b"\x01\0\0\0\x0e";

/// How a connection is cut at a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the database sees it.
    Before,
    /// The same, after so long that the clock shows another second.
    Late,
    /// When the database has answered: the answer is lost.
    Answer,
    /// While it is under way: the database gets it after the server knows of the cut.
    UnderWay,
    /// Not at all: it stays open, and nothing goes through it any more.
    Silent,
}

/// What a proxy does with what comes.
#[derive(Default)]
struct Plan {
    /// Every n-th COMMIT is cut, in these ways in turn.
    every: usize,
    cuts: Vec<Cut>,
    /// How many it saw, and how many of them it has cut.
    commits: usize,
    cut: usize,
    /// Whether a cut is the last, and no connection is taken after it.
    then_away: bool,
    away: bool,
    /// How many pings to come are not answered, nor anything after them.
    pings: usize,
    /// How many connections it took, and how many of them, the first, are silent.
    taken: usize,
    silent: usize,
    frozen: bool,
    ended: bool,
}

/// A plan, locked by each connection at whatever comes; who is frozen waits for its change.
#[derive(Default)]
struct Shared {
    plan: Mutex<Plan>,
    changed: Condvar,
    /// Written by each connection at whatever goes through.
    asked: Mutex<Asked>,
}

/// One connection, shared by its two directions.
struct Connection {
    number: usize,
    /// Whether no answer goes through any more.
    silenced: AtomicBool,
    talk: Mutex<Talk>,
}

/// A proxy, which ends with its owner.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy before the database at this address.
    pub fn before(database: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        let proxy = Proxy { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for server in listener.incoming().map_while(Result::ok) {
                let mut plan = shared.thawed(usize::MAX);
                if plan.ended {
                    return;
                }
                let number = plan.taken;
                plan.taken += 1;
                if !plan.away {
                    drop(plan);
                    // A database that takes no connection looks the same through the proxy.
                    let _ = connect(&shared, number, server, database);
                }
            }
        });
        proxy
    }

    /// From now on every n-th COMMIT is cut, in these ways in turn; none, where n is 0.
    pub fn cut_every(&self, n: usize, cuts: &[Cut]) {
        let mut plan = self.shared.lock();
        (plan.every, plan.cuts, plan.commits) = (n, cuts.to_vec(), 0);
    }

    /// The next COMMIT is cut so, and then the database is away until `is_back`.
    pub fn cut_then_away(&self, cut: Cut) {
        self.cut_every(1, &[cut]);
        self.shared.lock().then_away = true;
    }

    /// Takes connections again, and cuts none.
    pub fn is_back(&self) {
        self.cut_every(0, &[]);
        let mut plan = self.shared.lock();
        (plan.then_away, plan.away) = (false, false);
    }

    /// Holds all that comes back, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.shared.lock().frozen = frozen;
        self.shared.changed.notify_all();
    }

    /// So many pings to come are not answered, nor anything after them.
    pub fn silence_pings(&self, pings: usize) {
        self.shared.lock().pings = pings;
    }

    /// How many of those are still to come.
    pub fn pings(&self) -> usize {
        self.shared.lock().pings
    }

    /// Nothing goes through the connections of now any more; those to come are fine.
    pub fn silence(&self) {
        let mut plan = self.shared.lock();
        plan.silent = plan.taken;
    }

    /// How many connections it has cut.
    pub fn cuts(&self) -> usize {
        self.shared.lock().cut
    }

    /// How often each statement went through, and `PING`.
    pub fn statements(&self) -> BTreeMap<String, usize> {
        self.shared.asked().statements.clone()
    }

    /// How many statements went through that contain this.
    pub fn asked(&self, part: &str) -> usize {
        let asked = self.shared.asked();
        let counts = asked.statements.iter().filter(|(statement, _)| statement.contains(part));
        counts.map(|(_, count)| count).sum()
    }

    /// How many errors of this number came back.
    pub fn errors(&self, number: u16) -> usize {
        self.shared.asked().errors.iter().filter(|&&error| error == number).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(self.address); // Wakes the thread that accepts.
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no panic while locked")
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().expect("no panic while locked")
    }

    /// The plan, once nothing of this connection is held back.
    fn thawed(&self, number: usize) -> MutexGuard<'_, Plan> {
        let frozen = |plan: &mut Plan| (plan.frozen || number < plan.silent) && !plan.ended;
        self.changed.wait_while(self.lock(), frozen).expect("no panic while locked")
    }

    /// How to cut at what a server sends; `None` where it goes on.
    fn cut_at(&self, number: usize, sent: &[u8]) -> Option<Cut> {
        let mut plan = self.thawed(number);
        if plan.pings > 0 && sent == PING {
            plan.pings -= 1;
            return Some(Cut::Silent);
        }
        if plan.every == 0 || !sent.ends_with(COMMIT) {
            return None;
        }
        plan.commits += 1;
        if !plan.commits.is_multiple_of(plan.every) {
            return None;
        }
        plan.cut += 1;
        plan.away = plan.then_away;
        Some(plan.cuts[plan.cut % plan.cuts.len()])
    }
}

/// Connects a server to its database, with a thread for each direction.
fn connect(
    shared: &Arc<Shared>,
    number: usize,
    server: TcpStream,
    database: SocketAddr,
) -> io::Result<()> {
    let database = TcpStream::connect_timeout(&database, DEADLINE)?;
    for stream in [&server, &database] {
        stream.set_nodelay(true)?;
    }
    let connection = Connection { number, silenced: false.into(), talk: Mutex::default() };
    let connection = Arc::new(connection);
    let one = (Arc::clone(shared), server.try_clone()?, database.try_clone()?, connection.clone());
    let other = (Arc::clone(shared), server, database, connection);
    thread::spawn(move || {
        let (shared, server, database, connection) = one;
        let _ = connection.forward(&shared, &server, &database);
        if !connection.silenced.load(Ordering::SeqCst) {
            close(&server, &database);
        }
    });
    thread::spawn(move || {
        let (shared, server, database, connection) = other;
        let _ = connection.answer(&shared, &server, &database);
        close(&server, &database);
    });
    Ok(())
}

fn close(server: &TcpStream, database: &TcpStream) {
    for stream in [server, database] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// The second that the clock shows.
fn second() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Connection {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().expect("no panic while locked")
    }

    /// Forwards what the server says, up to a cut; where a last answer is to come, the other thread
    /// closes when it has come.
    fn forward(
        &self,
        shared: &Shared,
        mut server: &TcpStream,
        mut database: &TcpStream,
    ) -> io::Result<()> {
        let mut piece = [0; 65_536];
        loop {
            let count = server.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            let sent = &piece[..count];
            let cut = shared.cut_at(self.number, sent);
            match cut {
                None => {}
                Some(Cut::Before) => return Ok(()),
                Some(Cut::Late) => {
                    let began = second();
                    eventually("another second", || second() > began);
                    return Ok(());
                }
                Some(Cut::Silent) => {
                    while server.read(&mut piece)? > 0 {}
                    return Ok(());
                }
                Some(Cut::Answer) => self.silenced.store(true, Ordering::SeqCst),
                Some(Cut::UnderWay) => {
                    self.silenced.store(true, Ordering::SeqCst);
                    // Its end of the connection tells that the server knows.
                    server.shutdown(Shutdown::Write)?;
                    server.set_read_timeout(Some(DEADLINE))?;
                    while matches!(server.read(&mut [0; 1024]), Ok(1..)) {}
                }
            }
            self.talk().sends(sent, &mut shared.asked());
            database.write_all(sent)?;
            if cut.is_some() {
                return Ok(());
            }
        }
    }

    /// Forwards what the database says, up to the answer that a cut holds back.
    fn answer(
        &self,
        shared: &Shared,
        mut server: &TcpStream,
        mut database: &TcpStream,
    ) -> io::Result<()> {
        let mut piece = [0; 65_536];
        loop {
            let count = database.read(&mut piece)?;
            drop(shared.thawed(self.number));
            if count == 0 || self.silenced.load(Ordering::SeqCst) {
                return Ok(());
            }
            let came = &piece[..count];
            self.talk().comes(came, &mut shared.asked());
            server.write_all(came)?;
        }
    }
}
