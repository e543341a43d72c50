//! Several servers of one store, killed and started again while others post and read.

use super::client::Client;
use super::eventually;
use super::random::Random;
use super::screen::Screen;
use super::server::{Posted, Server};
use super::store::Store;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

/// The room that they serve.
pub const LOG: &str = "/chat/room";

/// How the last line of it ends.
pub const END: &str = "the end\n";

/// Servers of one store, each killed and started again while the others serve.
pub struct Servers<'a> {
    store: &'a Store,
    /// Locked by whoever replaces one, and by whoever wants to know where they listen.
    pub running: Mutex<Vec<Server>>,
    /// How many posters still write.
    pub posting: AtomicUsize,
}

impl<'a> Servers<'a> {
    /// Starts so many, for so many posters.
    pub fn start(store: &'a Store, count: usize, posters: usize) -> Servers<'a> {
        let running = Mutex::new((0..count).map(|_| Server::on(store)).collect());
        Servers { store, running, posting: AtomicUsize::new(posters) }
    }

    /// Where they listen now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let running = self.running.lock().expect("no panic while locked");
        running.iter().map(|server| server.address).collect()
    }

    /// Kills one with SIGKILL, and starts another in its place once the log has grown.
    pub fn kill_and_restart(&self, number: usize) {
        self.running.lock().expect("no panic while locked")[number].kill();
        self.grown(1_000);
        let next = Server::on(self.store);
        self.running.lock().expect("no panic while locked")[number] = next;
    }

    /// Waits until the log has grown by so many bytes.
    pub fn grown(&self, more: u64) {
        let before = self.length();
        eventually("the log grows", || self.all_posted() || self.length() >= before + more);
    }

    /// The log's length, asked of the first that answers.
    fn length(&self) -> u64 {
        let answer = self.addresses().into_iter().find_map(|address| {
            let mut client = Client::try_connect(address).ok()?;
            let head = client.try_request("HEAD", LOG, &[], b"").ok()?;
            (head.status == 200).then_some(head)
        });
        answer.map_or(0, |head| head.cursor().length)
    }

    /// Readers that are cut off again and again until they have read the last line.
    pub fn readers<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        count: usize,
        random: &mut Random,
    ) -> Vec<ScopedJoinHandle<'scope, Screen>> {
        let start = |mut random: Random| {
            scope.spawn(move || {
                let mut screen = Screen::default();
                screen.read_cut_off(|| self.addresses(), LOG, END, &mut random);
                screen
            })
        };
        (0..count).map(|_| start(random.fork())).collect()
    }

    /// Whether all posters are done.
    pub fn all_posted(&self) -> bool {
        self.posting.load(Ordering::SeqCst) == 0
    }

    /// Posts to one of them what must be taken.
    pub fn say(&self, number: usize, message: &str) -> Posted {
        self.running.lock().expect("no panic while locked")[number].say("room", "omri", message)
    }
}
