//! A small HTTP/1.1 client that hides nothing: it keeps alive, and lets a test send any bytes.

use super::DEADLINE;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// How much the kernel takes at once for a client that leaves it little room, in bytes.
const NARROW_BYTES: usize = 4096;

/// One connection to a server.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    host: String,
    deadline: Instant,
}

/// One answer, whole.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The statuses of the interim answers before it, such as 100.
    pub interim: Vec<u16>,
}

/// The state of a room's log, as `ETag` carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: String,
    pub length: u64,
}

impl Client {
    /// Connects; nothing is sent yet.
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("a connection")
    }

    /// Connects with so little room for what comes that a server soon has to wait.
    pub fn narrow(address: SocketAddr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(NARROW_BYTES).expect("set");
        socket.connect(&address.into()).expect("a connection");
        Client::over(socket.into(), address).expect("a connection")
    }

    /// Connects where the server still listens.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect_timeout(&address, DEADLINE)?, address)
    }

    fn over(stream: TcpStream, address: SocketAddr) -> io::Result<Client> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let (host, deadline) = (address.to_string(), Instant::now() + DEADLINE);
        Ok(Client { stream, buffer: Vec::new(), host, deadline })
    }

    /// Sends a request and reads its answer, which must come and carry `Server-Name`.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let answer = self.try_request(method, target, headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// The same for a server that may be killed meanwhile.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            head += &format!("Host: {}\r\n", self.host);
        }
        let lengthless = has("transfer-encoding") || has("content-length");
        if !lengthless && (!body.is_empty() || method == "POST") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)?;
        self.answer(method)
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// Reads an answer, which must carry `Server-Name` as every one does.
    pub fn answer(&mut self, method: &str) -> io::Result<Response> {
        let response = self.answer_of_any_kind(method)?;
        assert!(response.header("server-name").is_some_and(|n| !n.is_empty()), "{response:?}");
        Ok(response)
    }

    /// Reads an answer to a request of this method.
    pub fn answer_of_any_kind(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.head()?;
        let mut interim = Vec::new();
        while response.status < 200 {
            interim.push(response.status);
            response = self.head()?;
        }
        response.interim = interim;
        if method == "HEAD" || response.status == 204 || response.status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some() {
            response.body = self.chunks()?;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a length");
            response.body = self.take(length)?;
        } else {
            response.body = self.rest()?;
        }
        Ok(response)
    }

    /// Reads one head, interim or final, and leaves the body where it is.
    pub fn head(&mut self) -> io::Result<Response> {
        self.deadline = Instant::now() + DEADLINE;
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = status.and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new(), interim: Vec::new() });
            }
            let (name, value) = line.split_once(':').expect("a header line");
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
    }

    /// Reads up to the end of what has come, at least one byte unless the stream ended.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        self.deadline = Instant::now() + DEADLINE;
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads a large body without keeping it; gives its length and its last `kept` bytes.
    pub fn stream(&mut self, target: &str, kept: usize) -> (usize, Vec<u8>) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let head = self.head().expect("a head");
        assert_eq!(head.status, 200);
        let length = head.header("content-length").expect("a length");
        let length: usize = length.parse().expect("a number");
        let (mut count, mut end) = (0, Vec::new());
        while count < length {
            let piece = self.some().expect("more");
            assert!(!piece.is_empty(), "it ends after {count} of {length} bytes");
            count += piece.len();
            end.extend_from_slice(&piece);
            end.drain(..end.len().saturating_sub(kept));
        }
        (count, end)
    }

    /// Whether the server ends the connection, by a close or a reset, within the deadline.
    pub fn ends(&mut self) -> bool {
        self.deadline = Instant::now() + DEADLINE;
        loop {
            self.buffer.clear();
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !is_timeout(&error),
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        if Instant::now() > self.deadline {
            return Err(io::Error::new(ErrorKind::TimedOut, "the answer takes too long"));
        }
        let mut piece = [0; 65_536];
        // A read with a time limit is not taken up again when the process was stopped (signal(7)).
        let count = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8(line).expect("a head in UTF-8"));
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let size = size.split(';').next().expect("a first part").trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            assert_eq!(self.take(2)?, b"\r\n");
        }
    }
}

impl Response {
    /// A header by its name, which may stand there only once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands twice in {:?}", self.headers);
        value
    }

    /// The `ETag`, in its quotes as the server sent it.
    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag: {self:?}"))
    }

    /// The cursor in the `ETag`, whose form is checked: `<epoch>-<length>`.
    pub fn cursor(&self) -> Cursor {
        let etag = self.etag();
        let token = etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let parts = token.and_then(|token| token.split_once('-'));
        let (epoch, digits) = parts.unwrap_or_else(|| panic!("not a cursor: {etag}"));
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(epoch == "0" || epoch.len() == 8 && epoch.chars().all(hex), "epoch of {etag}");
        let length: u64 = digits.parse().unwrap_or_else(|_| panic!("length of {etag}"));
        assert_eq!(length.to_string(), digits, "{etag}");
        Cursor { epoch: epoch.to_string(), length }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }
}

/// Whether an error says that nothing came, rather than that the connection ended.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
