//! Readers of live streams: plain lines and server-sent events, cut off wherever a test wants.

use super::DEADLINE;
use super::client::{Client, Response, is_timeout};
use super::server::{Server, catchat};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a stream may be silent: longer than the time between two pings.
pub const SILENCE: Duration = Duration::from_secs(30);

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
        Live::over(Client::try_connect(address)?, target, headers, budget)
    }

    /// Opens a stream of events whose server soon has to wait for this client.
    pub fn narrow(server: &Server, target: &str) -> Live {
        let client = Client::narrow(server.address);
        Live::over(client, target, &[EVENTS], usize::MAX).expect("a stream of events")
    }

    fn over(
        mut client: Client,
        target: &str,
        headers: &[(&str, &str)],
        budget: usize,
    ) -> io::Result<Live> {
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
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

    /// Reads until nothing comes for so long; what has come is there for the next read.
    pub fn read_until_silence(&mut self, silence: Duration) {
        self.client.stream.set_read_timeout(Some(silence)).expect("set");
        let start = Instant::now();
        while !self.ended {
            assert!(start.elapsed() < silence + DEADLINE, "it is never silent for {silence:?}");
            match self.fill() {
                Err(error) if is_timeout(&error) => break,
                come => come.expect("no cut"),
            }
        }
        self.client.stream.set_read_timeout(Some(SILENCE)).expect("set");
    }

    /// What has come of a chunk that is not whole.
    pub fn torn(&self) -> &[u8] {
        &self.raw
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
