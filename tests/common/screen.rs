//! A reader that resumes wherever it was, again and again.

use super::live::{EVENTS, Event, Live, SILENCE, length};
use super::random::Random;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// After how long a client repeats what an outage refused.
pub const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What a reader has on its screen: it resumes wherever it was, and checks every cursor.
#[derive(Default)]
pub struct Screen {
    pub log: Vec<u8>,
    pub cursor: Option<String>,
    pub resets: usize,
    /// Whether the store may be away for a while: then a 503 is a reason to come again.
    pub through_outages: bool,
    /// The length of the log before what is on the screen.
    base: u64,
}

impl Screen {
    /// An empty one, whose store may be away for a while.
    pub fn through_outages() -> Screen {
        Screen { through_outages: true, ..Screen::default() }
    }

    /// Opens a stream where this screen ends; only the first `budget` bytes will arrive.
    pub fn resume(&mut self, address: SocketAddr, target: &str, budget: usize) -> io::Result<Live> {
        let cursor = self.cursor.clone();
        let mut headers = vec![EVENTS];
        headers.extend(cursor.as_ref().map(|cursor| ("Last-Event-ID", cursor.as_str())));
        let live = Live::open(address, target, &headers, budget)?;
        if self.cursor.is_none() {
            self.base = length(&live.start);
        }
        Ok(live)
    }

    /// Who meets an outage comes again after a while, and leaves the processor to others.
    fn come_again(&self) {
        if self.through_outages {
            thread::sleep(AGAIN_AFTER);
        }
    }

    /// Takes one event in.
    pub fn take(&mut self, event: &Event) {
        match event.name.as_str() {
            "" => {
                self.log.extend_from_slice(&event.data);
                self.log.push(b'\n');
                self.cursor = event.id.clone();
                let cursor = self.cursor.as_ref().expect("a cursor");
                let here = self.base + self.log.len() as u64;
                assert_eq!(length(cursor), here, "a gap or a double before {:?}", event.text());
            }
            "reset" => {
                self.log.clear();
                self.base = length(event.text());
                self.cursor = event.id.clone();
                self.resets += 1;
            }
            "ping" => assert!(self.cursor.as_deref().is_none_or(|at| at == event.text())),
            other => panic!("event: {other}"),
        }
    }

    /// Reads until the last line on the screen ends so.
    pub fn read_until(&mut self, live: &mut Live, end: &str) -> io::Result<()> {
        let mut news = Instant::now();
        while !self.log.ends_with(end.as_bytes()) {
            assert!(news.elapsed() < SILENCE, "nothing comes, and {end:?} has not come");
            let ended = || io::Error::new(ErrorKind::UnexpectedEof, "the server ended the stream");
            let event = live.event()?.ok_or_else(ended)?;
            self.take(&event);
            if event.name != "ping" {
                news = Instant::now();
            }
        }
        Ok(())
    }

    /// Reads until the last line ends so, cut off again and again, each time going on at
    /// another of these servers, which may be killed and started again meanwhile.
    pub fn read_cut_off(
        &mut self,
        servers: impl Fn() -> Vec<SocketAddr>,
        target: &str,
        end: &str,
        random: &mut Random,
    ) -> usize {
        // How long all takes is the store's matter: what counts is that it goes on.
        let within = if self.through_outages { 2 * SILENCE } else { SILENCE };
        let mut news = (self.resets, self.log.len(), Instant::now());
        for cuts in 0.. {
            let (resets, at) = (self.resets, &self.cursor);
            if (news.0, news.1) != (resets, self.log.len()) {
                news = (resets, self.log.len(), Instant::now());
            }
            assert!(
                news.2.elapsed() < within,
                "nothing comes, and {end:?} has not come in {cuts} streams, {resets} resets, at {at:?}"
            );
            let budget = random.in_range(1..30_000);
            let address = *random.of(&servers());
            let mut live = match self.resume(address, target, budget) {
                Ok(live) => live,
                Err(error) => {
                    let away = error.kind() == ErrorKind::HostUnreachable;
                    assert!(!away || self.through_outages, "{error}");
                    self.come_again();
                    continue;
                }
            };
            match self.read_until(&mut live, end) {
                Ok(()) => return cuts,
                Err(error) => assert!(!super::client::is_timeout(&error), "{error}"),
            }
        }
        unreachable!("it reads until the end")
    }
}
