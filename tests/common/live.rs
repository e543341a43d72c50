//! Readers of live streams: plain lines and server-sent events, cut off wherever a test wants.

use super::client::{Client, Response};
use super::random::Random;
use super::server::{Server, catchat};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a stream may be silent: longer than the time between two pings.
const SILENCE: Duration = Duration::from_secs(30);

/// After how long a client repeats what an outage refused.
pub const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Asks for server-sent events.
pub const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

/// A live stream, as it comes.
pub struct Live {
    pub client: Client,
    pub head: Response,
    /// The name in `event: server`.
    pub server: String,
    /// The cursor in `event: server`.
    pub start: String,
    chunked: bool,
    /// How many bytes are read before the test's own line is cut.
    budget: usize,
    /// What came, not yet taken out of its chunks.
    raw: Vec<u8>,
    /// What came, out of its chunks.
    body: Vec<u8>,
    ended: bool,
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Empty for a line.
    pub name: String,
    pub id: Option<String>,
    pub retry: Option<u64>,
    pub data: Vec<u8>,
}

impl Event {
    /// The data as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.data).expect("UTF-8")
    }
}

impl Live {
    /// Opens a stream of events, with more headers, and reads its first event.
    pub fn events(server: &Server, target: &str, headers: &[(&str, &str)]) -> Live {
        let headers = [&[EVENTS][..], headers].concat();
        Live::open(server.address, target, &headers, usize::MAX).expect("a stream of events")
    }

    /// Opens a stream of lines.
    pub fn lines(server: &Server, target: &str, headers: &[(&str, &str)]) -> Live {
        Live::open(server.address, target, headers, usize::MAX).expect("a stream of lines")
    }

    /// Opens any stream, of which only the first `budget` bytes will arrive.
    pub fn open(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
        budget: usize,
    ) -> io::Result<Live> {
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        let mut client = Client::try_connect(address)?;
        client.stream.write_all((request + "\r\n").as_bytes())?;
        Live::read(client, budget)
    }

    /// Reads the head, and the first event where there are events.
    pub fn read(mut client: Client, budget: usize) -> io::Result<Live> {
        client.stream.set_read_timeout(Some(SILENCE))?;
        let head = client.head()?;
        if head.status == 503 {
            return Err(io::Error::new(ErrorKind::HostUnreachable, "the store is away"));
        }
        assert_eq!(head.status, 200, "{head:?}");
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let mut live = Live {
            client,
            chunked,
            budget,
            head,
            server: String::new(),
            start: String::new(),
            raw: Vec::new(),
            body: Vec::new(),
            ended: false,
        };
        if live.head.header("content-type") == Some("text/event-stream") {
            let first = live.event()?.expect("a first event");
            assert_eq!(first.name, "server", "{first:?}");
            assert!(first.retry.is_some_and(|retry| (100..=10_000).contains(&retry)), "{first:?}");
            live.server = first.text().to_string();
            live.start = first.id.expect("where it begins");
        }
        Ok(live)
    }

    /// The next bytes, or `None` at an end that the server said in order.
    pub fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        while self.body.is_empty() {
            if self.ended {
                return Ok(None);
            }
            self.fill()?;
        }
        Ok(Some(std::mem::take(&mut self.body)))
    }

    /// Reads until there is more of the body, or its end.
    fn fill(&mut self) -> io::Result<()> {
        if self.budget == 0 {
            return Err(io::Error::new(ErrorKind::ConnectionAborted, "cut off by the test"));
        }
        let mut came = self.client.some()?;
        came.truncate(self.budget);
        self.budget -= came.len();
        if came.is_empty() && self.chunked {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "no last chunk"));
        }
        self.ended = came.is_empty();
        if !self.chunked {
            self.body.extend(came);
            return Ok(());
        }
        self.raw.extend(came);
        while let Some(end) = self.raw.iter().take(18).position(|&byte| byte == b'\n') {
            let size = std::str::from_utf8(&self.raw[..end]).expect("a chunk size");
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk size");
            let whole = end + 1 + size + 2;
            if self.raw.len() < whole {
                break;
            }
            assert!(!self.ended, "something after the last chunk");
            assert_eq!(self.raw[whole - 2..whole], *b"\r\n", "the end of a chunk");
            self.body.extend_from_slice(&self.raw[end + 1..whole - 2]);
            self.raw.drain(..whole);
            self.ended = size == 0;
        }
        Ok(())
    }

    /// The next event, or `None` at an end that the server said in order.
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memmem::find(&self.body[searched..], b"\n\n") {
                let text: Vec<u8> = self.body.drain(..searched + end + 2).collect();
                return Ok(Some(parse(&text[..text.len() - 2])));
            }
            if self.ended {
                assert!(self.body.is_empty(), "the stream ends in the middle of an event");
                return Ok(None);
            }
            searched = self.body.len().saturating_sub(1);
            self.fill()?;
        }
    }

    /// The next event, which must come.
    pub fn next(&mut self) -> Event {
        self.event().expect("no cut").expect("an event")
    }

    fn next_but_pings(&mut self) -> Event {
        loop {
            match self.next() {
                event if event.name == "ping" => {}
                event => return event,
            }
        }
    }

    /// The next event but for pings must be this line, with its end; gives the
    /// cursor after it.
    pub fn expect_line(&mut self, line: &str) -> String {
        let event = self.next_but_pings();
        assert_eq!((event.name.as_str(), event.text()), ("", line.strip_suffix('\n').unwrap()));
        event.id.expect("a cursor")
    }

    /// The next event but for pings must be a reset; gives where the log goes on.
    pub fn expect_reset(&mut self) -> String {
        let event = self.next_but_pings();
        assert_eq!(event.name, "reset", "{event:?}");
        assert_eq!(event.id.as_deref(), Some(event.text()), "a reset is a place to resume at");
        event.text().to_string()
    }

    /// The next bytes of a stream of lines must be these.
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        let mut seen = 0;
        while seen < expected.len() {
            let piece = self.piece().expect("no cut").expect("more");
            let end = (seen + piece.len()).min(expected.len());
            let rest = &expected[seen..end];
            assert!(piece == rest, "after {seen} bytes: {:?}", String::from_utf8_lossy(&piece));
            seen = end;
        }
    }

    /// Reads to the end, which must be one that the server said in order.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece().expect("a clean end") {
            all.extend(piece);
        }
        all
    }
}

/// Takes an event apart as a browser does (WHATWG HTML, section 9.2.6).
fn parse(text: &[u8]) -> Event {
    assert!(!text.contains(&b'\r'), "a carriage return would end a field");
    let mut event = Event::default();
    let mut data: Option<Vec<u8>> = None;
    for field in text.split(|&byte| byte == b'\n') {
        let end = memchr::memmem::find(field, b": ").expect("a field");
        let value = &field[end + 2..];
        let text = || String::from_utf8(value.to_vec()).expect("UTF-8");
        match &field[..end] {
            b"data" => match &mut data {
                Some(data) => data.extend([b"\n", value].concat()),
                None => data = Some(value.to_vec()),
            },
            b"event" => event.name = text(),
            b"id" => event.id = Some(text()),
            b"retry" => event.retry = Some(text().parse().expect("milliseconds")),
            _ => panic!("an unknown field in {:?}", String::from_utf8_lossy(field)),
        }
    }
    event.data = data.expect("an event without data is none");
    event
}

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

/// The length in a cursor.
pub fn length(cursor: &str) -> u64 {
    let digits = cursor.split_once('-').expect("a cursor").1;
    digits.parse().expect("a length")
}

/// A cursor without the quotes of its `ETag`.
pub fn unquoted(etag: &str) -> &str {
    etag.trim_matches('"')
}

/// A server whose kernel tells it nothing of what others append.
pub fn without_notices(store: impl AsRef<OsStr>) -> Server {
    let mut command = catchat();
    command.env("CATCHAT_NOTIFY", "off");
    Server::spawn(command.args(["--listen", "127.0.0.1:0", "--store"]).arg(store.as_ref()))
}

/// Appends bytes as a script does: under the lock, in one write.
pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the log");
    file.lock().expect("the lock");
    file.write_all(bytes).expect("written");
}

/// Writes a log of these many lines of this length.
pub fn write_log(path: &Path, lines: usize, line_len: usize) {
    let mut file = io::BufWriter::new(File::create(path).expect("the log"));
    for number in 0..lines {
        let line =
            format!("[2018-02-25 14:00:51] omri: {number:0>width$}\n", width = line_len - 29);
        assert_eq!(line.len(), line_len);
        file.write_all(line.as_bytes()).expect("written");
    }
    file.flush().expect("written");
}

/// What a stream of events says of these lines, which begin at this length of the log.
pub fn framed(epoch: &str, mut at: u64, lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() * 2);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        at += line.len() as u64;
        let id = format!("id: {epoch}-{at}\n\n");
        out.extend([b"data: ", line, id.as_bytes()].concat());
    }
    out
}
