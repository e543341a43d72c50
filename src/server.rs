//! The server loop: accepts connections up to a limit, serves each, and drains
//! them all when it is told to stop.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};

use crate::config::{Config, Timeouts};
use crate::handlers::{App, Handoff, serve};
use crate::live;
use crate::report;
use crate::store::lock;
use crate::stream::{self, Stream};

/// How many connections the kernel holds until they are accepted.
const BACKLOG: u32 = 4096;
/// The largest segment, in bytes: far above what networks take. The loopback
/// interface would take 64 KiB, which does not fit into the window of a client
/// that begins to read again, so that Linux waits for a window probe, which after
/// a long silence may be minutes away.
const SEGMENT_BYTES_MAX: u32 = 16 * 1024;
/// The most bytes of a request's head, and of an answer that waits to be written.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// How long a server that stops takes what the kernel has queued.
const QUEUE_TIME: Duration = Duration::from_millis(100);
/// How long it then answers on connections that are open.
const LINGER_TIME: Duration = Duration::from_millis(500);
/// How long a connection then has to notice what has arrived before it closes.
const CLOSING_TIME: Duration = Duration::from_millis(20);
/// How long what is being answered after that may take, all together.
const DRAIN_TIME: Duration = Duration::from_secs(9);
/// The pause after an accept that failed, at first and at the most.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long a client may take to read that there is no place for it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Binds the first of the addresses that this name has. The port may be 0.
pub fn bind(listen: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in listen.to_socket_addrs()? {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So that a restart does not wait for the last one's connections (tcp(7)).
    socket.set_reuseaddr(true)?;
    // Connections inherit it: a peer that is gone without a word is noticed.
    socket.set_keepalive(true)?;
    // Where it cannot be set, streams to this same machine may pause.
    let _ = socket2::SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES_MAX);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where the server is in its life. Written by [`run`], read by every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Running,
    /// It stops: answers say that their connection closes, and streams end.
    Draining,
    /// What is idle closes.
    Closing,
}

/// What accepting a connection needs.
struct Server {
    app: Arc<App>,
    /// One permit a connection, and one for each that is told that there is none.
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    phases: watch::Receiver<Phase>,
    timeouts: Timeouts,
}

/// Serves until `shutdown` is ready and all connections have ended, or the drain's
/// deadline is over; how many connections were cut off then.
///
/// A proxy must see no broken answer from a server that stops: first every answer
/// says that its connection closes, and what is queued is accepted; then the
/// listener closes, so that the proxy is refused and goes elsewhere; what is idle
/// closes last, when the proxy has nothing on its way to it any more.
pub async fn run(
    listener: TcpListener,
    app: Arc<App>,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> usize {
    // Every connection holds a receiver: when all are gone, the drain is over.
    let (phase, phases) = watch::channel(Phase::Running);
    let server = Server {
        app: app.clone(),
        places: Arc::new(Semaphore::new(config.connections_max)),
        refusals: Arc::new(Semaphore::new(config.refusals_max)),
        phases,
        timeouts: config.timeouts,
    };
    {
        let mut accepting = pin!(server.accept_all(&listener));
        let mut shutdown = pin!(shutdown);
        poll_fn(|cx| {
            let _ = accepting.as_mut().poll(cx);
            shutdown.as_mut().poll(cx)
        })
        .await;
        app.drain();
        phase.send_replace(Phase::Draining);
        let _ = timeout(QUEUE_TIME, accepting).await;
    }
    drop((listener, server));
    let _ = timeout(LINGER_TIME, phase.closed()).await;
    phase.send_replace(Phase::Closing);
    match timeout(DRAIN_TIME, phase.closed()).await {
        Ok(()) => 0,
        Err(_) => phase.receiver_count(),
    }
}

impl Server {
    async fn accept_all(&self, listener: &TcpListener) {
        let mut pause = ACCEPT_PAUSES.0;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    pause = ACCEPT_PAUSES.0;
                    self.take(socket);
                }
                Err(error) if of_one_connection(&error) => {}
                Err(error) => {
                    report::line(format_args!("accept: {error}; trying again in {pause:?}"));
                    sleep(pause).await;
                    pause = ACCEPT_PAUSES.1.min(pause * 2);
                }
            }
        }
    }

    /// Serves a connection if there is a place for it, or tells it that there is none.
    fn take(&self, socket: TcpStream) {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            let place = Place::new(self.app.clone(), permit);
            tokio::spawn(connection(socket, place, self.phases.clone(), self.timeouts));
        } else if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            let app = self.app.clone();
            tokio::spawn(async move {
                let _ = timeout(REFUSAL_TIME, refuse(socket, &app.name())).await;
                drop(permit);
            });
        }
    }
}

/// Whether the error is about the connection that was to be accepted, and not
/// about accepting (accept(2), errors).
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Tells a client that there is no place for it, without reading what it asks.
async fn refuse(mut socket: TcpStream, name: &str) -> io::Result<()> {
    const SENTENCE: &str = "too many connections: try again, or ask another server\n";
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n{}",
        stream::own_answer(name, SENTENCE)
    );
    // A new socket's buffer takes this at once.
    socket.writable().await?;
    socket.try_write(answer.as_bytes())?;
    poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx)).await?;
    // A close with unread bytes would be a reset, which may overtake the answer.
    let mut asked = [0; 1024];
    loop {
        socket.readable().await?;
        if socket.try_read(&mut asked).is_ok_and(|read| read == 0) {
            return Ok(());
        }
    }
}

/// Serves one connection to its end.
async fn connection(
    socket: TcpStream,
    place: Place,
    mut phases: watch::Receiver<Phase>,
    timeouts: Timeouts,
) {
    // Answers go out at once; where this fails, they are only slower.
    let _ = socket.set_nodelay(true);
    let handoff = Arc::new(Handoff::default());
    let service = {
        let (app, handoff) = (place.app.clone(), handoff.clone());
        service_fn(move |request| serve(app.clone(), handoff.clone(), request))
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_buf_size(BUFFER_BYTES_MAX)
        // A client that has sent all it wants still wants the answer, as with nc.
        .half_close(true)
        .serve_connection(Stream::new(socket, timeouts.write, place.app.clone()), service);
    let subscription = {
        let mut stop = pin!(phases.wait_for(|phase| *phase == Phase::Closing));
        let (mut waiting, mut closed) = (false, false);
        let mut grace: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            // Once it waits, this is only asked again when there is reason to.
            if grace.is_none() && !closed && (!waiting || place.app.is_draining()) {
                waiting = true;
                if stop.as_mut().poll(cx).is_ready() {
                    grace = Some(Box::pin(sleep(CLOSING_TIME)));
                }
            }
            if grace.as_mut().is_some_and(|grace| grace.as_mut().poll(cx).is_ready()) {
                (grace, closed) = (None, true);
                // What has arrived already is read first, or it would be dropped.
                if Pin::new(&mut connection).poll(cx).is_ready() {
                    return Poll::Ready(lock(&handoff).take());
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
            // What ends a connection early (a reset, a time-out, nonsense) is the
            // client's affair: there is nobody left to tell.
            let served = Pin::new(&mut connection).poll(cx).map(|_| None);
            match lock(&handoff).take() {
                Some(subscription) => Poll::Ready(Some(subscription)),
                None => served,
            }
        })
        .await
    };
    if let Some(subscription) = subscription {
        // What the client sent behind its request is dropped with hyper's buffers.
        let socket = connection.into_parts().io.into_socket();
        tokio::spawn(async move {
            live::stream(subscription, socket, phases).await;
            drop(place);
        });
    }
}

/// One of the connections that are served at a time; given back when dropped.
struct Place {
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(app: Arc<App>, permit: OwnedSemaphorePermit) -> Place {
        app.rooms.shared.metrics.connections.add(1);
        Place { app, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.rooms.shared.metrics.connections.sub(1);
    }
}
