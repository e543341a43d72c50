//! A client's socket: with a limit on how long nothing of an answer may be taken,
//! and with our words in the place of hyper's where hyper answers by itself.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::handlers::App;

/// What hyper answers by itself has a status, a date and a length.
const BARE_ANSWER_BYTES_MAX: usize = 200;

/// The fields and the body of an answer that is given without a service, after
/// which the connection ends.
pub fn own_answer(name: &str, sentence: &str) -> String {
    let (date, length) = (httpdate::HttpDate::from(SystemTime::now()), sentence.len());
    format!(
        "content-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\nserver-name: {name}\r\n\
         content-length: {length}\r\nconnection: close\r\ndate: {date}\r\n\r\n{sentence}"
    )
}

/// A socket whose writes fail when the client reads nothing for too long: a
/// client that never reads would keep its connection for ever.
#[derive(Debug)]
pub struct Stream {
    socket: TokioIo<TcpStream>,
    patience: Duration,
    app: Arc<App>,
    /// Runs while a write waits; there is none as long as all writes go through.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// Takes the socket; `patience` is how long one write may wait.
    pub fn new(socket: TcpStream, patience: Duration, app: Arc<App>) -> Stream {
        Stream { socket: TokioIo::new(socket), patience, app, waiting: None }
    }

    /// The socket itself.
    pub fn into_socket(self) -> TcpStream {
        self.socket.into_inner()
    }

    /// What hyper answers to what it cannot read has neither our name nor a
    /// sentence; such an answer is replaced. It is always written in one piece.
    fn replaces(&self, answer: &[u8]) -> bool {
        if answer.len() > BARE_ANSWER_BYTES_MAX
            || !answer.starts_with(b"HTTP/1.1 4")
            || !answer.ends_with(b"\r\n\r\n")
            || memmem::find(answer, b"server-name: ").is_some()
        {
            return false;
        }
        let status =
            &answer[..answer.iter().position(|&byte| byte == b'\n').unwrap_or_default() + 1];
        let sentence = match status.get(9..12) {
            Some(b"431") => {
                "the request's head is too large: 131072 bytes and 100 fields are allowed\n"
            }
            Some(b"414") => "the request's target is too long: 65534 bytes are allowed\n",
            _ => "not a request of HTTP/1.1 or HTTP/1.0\n",
        };
        let ours = [status, own_answer(&self.app.name(), sentence).as_bytes()].concat();
        // The connection ends after this, so it either goes out now or is lost.
        let _ = self.socket.inner().try_write(&ours);
        true
    }

    /// Gives up when a write has waited for too long.
    fn timed<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.timed(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [first, ..] = bytes
            && this.replaces(first)
        {
            return Poll::Ready(Ok(first.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        this.timed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
