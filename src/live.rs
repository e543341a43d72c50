//! Live streams: one small task a subscriber, which holds a cursor and no queue.
//!
//! History and what comes are one loop: read from my cursor to the log's end,
//! send, wait until it grows. The stream's socket has left hyper, whose buffers
//! are most of what an idle connection costs.

pub mod frame;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::cursor::Cursor;
use crate::live::frame::{Chunk, Frame, Kind, LAST_CHUNK};
use crate::rooms::Watched;
use crate::server::Phase;
use crate::store::StoreError;
use crate::store::snapshot::{LogId, Snapshot};

/// After this much silence a stream of events says that it is still there.
const PING_AFTER: Duration = Duration::from_secs(15);
/// Over how long the streams of a server that stops end, in milliseconds, so that
/// the clients do not all come back at once.
const ENDINGS_MILLIS: u64 = 1_500;
/// How long a client may take to read the end of its stream.
const ENDING: Duration = Duration::from_secs(1);
/// How much the kernel holds of a stream that is not on its way, in bytes.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;
/// How long a stream waits before it asks a store again that failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A stream to be: what a request asked for, checked.
#[derive(Debug)]
pub struct Subscription {
    /// The room, watched so that others' lines are noticed.
    pub room: Watched,
    /// How lines are framed.
    pub kind: Kind,
    /// Where the stream begins.
    pub start: Cursor,
    /// How many lines come first when the log is replaced by another one.
    pub tail: Option<u64>,
    /// Whether the client knows chunks: HTTP/1.1.
    pub chunked: bool,
    /// The response's head and the first events.
    pub greeting: Bytes,
}

/// A subscriber: where it is in the log, and what of the next bytes is sent.
struct Subscriber {
    room: Watched,
    socket: TcpStream,
    kind: Kind,
    chunked: bool,
    tail: Option<u64>,
    /// Everything before this is sent.
    at: Cursor,
    /// The log that it was sent of, and its number; `None` where that is not known.
    log: Option<(LogId, u64)>,
    /// Whether what is known of the log could not be read: the store is to be asked.
    in_doubt: bool,
    /// Whether a line begins there: only then can an event of another kind come.
    line_start: bool,
    /// The frame that is sent in part.
    partial: Option<Partial>,
    /// What is sent before the next frame: a head, a ping; mostly nothing.
    notice: Bytes,
    /// When to break the silence.
    ping: Pin<Box<Sleep>>,
}

/// What is kept of a frame that is sent in part: enough to make it again.
#[derive(Clone, Copy)]
struct Partial {
    log: LogId,
    /// Where in the log it ends.
    end: u64,
    /// How many bytes it has on the wire, and how many of them are sent.
    size: usize,
    sent: usize,
}

/// What came of sending.
enum Sent {
    /// All there is.
    All,
    /// What the socket took; there is more.
    Part,
    /// Nothing: the store does not work at the moment.
    Nothing,
}

/// What ended a wait.
enum Woken {
    /// The log has grown, or the store is to be asked again.
    More,
    Writable,
    Silence,
    Stop,
    End,
    Closed,
}

/// Why a stream ends.
enum End {
    /// The server stops.
    Stop,
    /// The client has gone, or the log was replaced in the middle of a line.
    Cut,
}

/// Streams until the client goes or the server stops.
pub async fn stream(
    subscription: Subscription,
    socket: TcpStream,
    mut phases: watch::Receiver<Phase>,
) {
    let Subscription { room, kind, start, tail, chunked, greeting } = subscription;
    // What the client does not read stays in the log, not in the kernel's memory.
    let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    let mut subscriber = Subscriber {
        room,
        socket,
        kind,
        chunked,
        tail,
        at: start,
        log: None,
        in_doubt: false,
        line_start: true,
        partial: None,
        notice: greeting,
        ping: Box::pin(sleep(PING_AFTER)),
    };
    if let End::Stop = subscriber.run(&mut phases).await {
        // Who does not read the end takes the stream up from its last cursor.
        let _ = Box::pin(timeout(ENDING, subscriber.finish())).await;
    }
}

impl Subscriber {
    async fn run(&mut self, phases: &mut watch::Receiver<Phase>) -> End {
        let room = self.room.room().clone();
        let mut stop = pin!(phases.wait_for(|phase| *phase != Phase::Running));
        let mut ending: Option<Pin<Box<Sleep>>> = None;
        loop {
            // From here on no growth is missed, however long the sending takes.
            let mut grown = pin!(room.grown());
            let Ok(sent) = self.send().await else { return End::Cut };
            let more = matches!(sent, Sent::Part);
            let mut pause = match sent {
                Sent::Nothing => Some(Box::pin(sleep(STORE_PAUSE))),
                _ => None,
            };
            let woken = poll_fn(|cx| {
                let ended = match &mut ending {
                    Some(ending) => ending.as_mut().poll(cx).map(|()| Woken::End),
                    None => stop.as_mut().poll(cx).map(|_| Woken::Stop),
                };
                if ended.is_ready() {
                    return ended;
                }
                let again = match &mut pause {
                    Some(pause) => pause.as_mut().poll(cx).is_ready(),
                    None => !more && grown.as_mut().poll(cx).is_ready(),
                };
                if again {
                    return Poll::Ready(Woken::More);
                }
                self.poll_socket(cx, more)
            })
            .await;
            match woken {
                Woken::Stop => ending = Some(Box::pin(sleep(self.time_to_end()))),
                Woken::End => return End::Stop,
                Woken::Closed => return End::Cut,
                Woken::Silence => self.break_silence(),
                Woken::More | Woken::Writable => {}
            }
        }
    }

    /// How long this stream goes on when the server stops: each another time.
    fn time_to_end(&self) -> Duration {
        let port = self.socket.peer_addr().map_or(0, |address| address.port());
        let scattered = u64::from(port).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Duration::from_millis(scattered % ENDINGS_MILLIS)
    }

    /// Sends the rest, and says that this is the end.
    async fn finish(&mut self) -> io::Result<()> {
        while let Sent::Part = self.send().await? {
            self.socket.writable().await?;
        }
        // In the middle of a frame, the client is to see that it is cut.
        if self.chunked && self.partial.is_none() {
            self.socket.try_write(LAST_CHUNK)?;
        }
        poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await
    }

    /// Waits for the socket: for its end, for room to write, for the next ping.
    fn poll_socket(&mut self, cx: &mut Context<'_>, writing: bool) -> Poll<Woken> {
        let mut asked = [0; 512];
        while self.socket.poll_read_ready(cx).is_ready() {
            match self.socket.try_read(&mut asked) {
                Ok(0) => return Poll::Ready(Woken::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Woken::Closed),
            }
        }
        if writing {
            return self.socket.poll_write_ready(cx).map(|_| Woken::Writable);
        }
        self.ping.as_mut().poll(cx).map(|()| Woken::Silence)
    }

    fn break_silence(&mut self) {
        self.ping.as_mut().reset(Instant::now() + PING_AFTER);
        // A frame may be sent in part while the store does not say how it goes on.
        if self.kind == Kind::Events && self.line_start && self.partial.is_none() {
            self.notice = self.event("ping", self.at);
        }
    }

    fn event(&self, name: &str, cursor: Cursor) -> Bytes {
        // A reset is a place to resume at; a ping only says where one is.
        let id = if name == "reset" { format!("id: {cursor}\n") } else { String::new() };
        Chunk::new(format!("event: {name}\n{id}data: {cursor}\n\n").as_bytes()).wire(self.chunked)
    }

    /// Sends what there is, as far as the socket takes it.
    async fn send(&mut self) -> io::Result<Sent> {
        loop {
            if !self.notice.is_empty() {
                let sent = self.write(&self.notice.clone())?;
                self.notice = self.notice.slice(sent..);
                if !self.notice.is_empty() {
                    return Ok(Sent::Part);
                }
            }
            let Ok(now) = self.now().await else { return Ok(Sent::Nothing) };
            let Some(now) = now else { return Ok(Sent::All) };
            let Ok(follows) = self.follows(&now).await else { return Ok(Sent::Nothing) };
            if !follows {
                let Ok(start) = self.beginning(&now).await else { return Ok(Sent::Nothing) };
                self.reset(start, &now)?;
                continue;
            }
            if self.at.length == now.cursor.length {
                return Ok(Sent::All);
            }
            self.at.epoch = now.cursor.epoch;
            // The store is away, or the log is another one by now: the next round says so.
            let Ok(frame) = self.frame(&now).await else {
                self.room.room().close();
                self.in_doubt = true;
                return Ok(Sent::Nothing);
            };
            if !self.send_frame(&frame, &now)? {
                return Ok(Sent::Part);
            }
        }
    }

    /// The log as it was seen last; `None` where it was closed since and all is sent.
    async fn now(&mut self) -> Result<Option<Arc<Snapshot>>, StoreError> {
        let room = self.room.room().clone();
        match room.latest().filter(|_| !self.in_doubt) {
            Some(now) => Ok(Some(now)),
            None if !self.in_doubt && room.is_still_at(self.at) => Ok(None),
            None => {
                let now = Box::pin(room.snapshot()).await?;
                self.in_doubt = false;
                Ok(Some(now))
            }
        }
    }

    /// Whether what is sent so far is the beginning of this log.
    async fn follows(&mut self, now: &Snapshot) -> Result<bool, StoreError> {
        let end = self.partial.map_or(self.at.length, |partial| partial.end);
        let same_log = |partial: Partial| now.id() == Some(partial.log);
        let fits = end == 0
            || (self.at.epoch == now.cursor.epoch
                && end <= now.cursor.length
                && self.partial.is_none_or(same_log));
        let log = now.opened();
        let fits = fits
            && match now.id() {
                // It may be a copy that goes on where the other one ended, or be edited,
                // also before the first look.
                Some(id @ LogId::File(_)) if self.log != log && !self.is_in_the_middle_of(id) => {
                    Box::pin(now.is_line_end(self.at.length)).await?
                }
                Some(LogId::File(_)) => true,
                _ => end == 0 || self.log.is_none() || self.log == log,
            };
        if fits {
            self.log = log;
        }
        Ok(fits)
    }

    /// Whether a line of this file is sent in part.
    fn is_in_the_middle_of(&self, id: LogId) -> bool {
        let in_a_line = !self.line_start || self.partial.is_some();
        in_a_line && self.log.is_some_and(|(known, _)| known == id)
    }

    /// Where the stream begins in another log.
    async fn beginning(&self, now: &Snapshot) -> Result<u64, StoreError> {
        match self.tail {
            Some(lines @ 1..) => Box::pin(now.tail(lines)).await,
            // All of the new log is news, also to who wanted nothing of the old one.
            Some(0) | None => Ok(0),
        }
    }

    /// Another log took the place of the one that was sent.
    fn reset(&mut self, start: u64, now: &Snapshot) -> io::Result<()> {
        if !self.line_start || self.partial.is_some() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at = Cursor { length: start, ..now.cursor };
        self.log = now.opened();
        if self.kind == Kind::Events {
            self.notice = self.event("reset", self.at);
        }
        Ok(())
    }

    /// The frame that begins where this subscriber is.
    async fn frame(&self, now: &Snapshot) -> Result<Arc<Frame>, StoreError> {
        let Some(log) = now.log() else { return Err(StoreError::Failed("the log is gone".into())) };
        let end = self.partial.map_or(now.cursor.length, |partial| partial.end);
        let range = self.at.length..end;
        let room = self.room.room();
        let exact = self.partial.is_some();
        if let Some(frame) = room.shared_frame(self.kind, log.number(), range.clone(), exact) {
            return Ok(frame);
        }
        let bytes = match log.piece(range.clone()) {
            Some(bytes) => bytes,
            None => Box::pin(log.read(range)).await?,
        };
        let frame = Arc::new(Frame::new(self.kind, log.number(), self.at, self.line_start, &bytes));
        room.share_frame(frame.clone());
        Ok(frame)
    }

    /// Writes the frame, or what is left of it; whether all of it is sent.
    fn send_frame(&mut self, frame: &Frame, now: &Snapshot) -> io::Result<bool> {
        let wire = frame.wire(self.chunked);
        // Somebody has changed the file in its place.
        if self.partial.is_some_and(|partial| partial.size != wire.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = self.partial.map_or(0, |partial| partial.sent);
        let sent = before + self.write(&wire[before..])?;
        if sent < wire.len() {
            let end = frame.range.end;
            self.partial = now.id().map(|log| Partial { log, end, size: wire.len(), sent });
            return Ok(false);
        }
        self.partial = None;
        self.at.length = frame.range.end;
        self.line_start = frame.ends_line;
        Ok(true)
    }

    /// Writes as much as the socket takes now, which may be nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.try_write(bytes) {
            Ok(sent) => {
                self.ping.as_mut().reset(Instant::now() + PING_AFTER);
                Ok(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }
}
