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
use tokio::time::{sleep, timeout};

use crate::config::{Config, Timeouts};
use crate::handlers::{App, Handoff, serve};
use crate::live;
use crate::report;
use crate::store::lock;
use crate::stream::Stream;

/// How many connections the kernel holds until they are accepted.
const BACKLOG: u32 = 4096;
/// The most bytes of a request's head, and of an answer that waits to be written.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// How long all connections together may take to end after the signal to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// The pause after an accept that failed, at first and at the most.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How many connections beyond the limit are told so at a time; the rest is closed.
const REFUSALS_MAX: usize = 32;
/// How long such a client may take to read it.
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
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown` is ready and all connections have ended, or the drain's
/// deadline is over; how many connections were cut off then.
pub async fn run(
    listener: TcpListener,
    app: Arc<App>,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> usize {
    // Every connection holds a receiver: when all are gone, the drain is over.
    let (stop, stopped) = watch::channel(false);
    {
        let mut accepting = pin!(accept_all(listener, app, config, stopped));
        let mut shutdown = pin!(shutdown);
        poll_fn(|cx| {
            let _ = accepting.as_mut().poll(cx);
            shutdown.as_mut().poll(cx)
        })
        .await;
        // Here the listener closes.
    }
    stop.send_replace(true);
    match timeout(DRAIN_TIME, stop.closed()).await {
        Ok(()) => 0,
        Err(_) => stop.receiver_count(),
    }
}

async fn accept_all(
    listener: TcpListener,
    app: Arc<App>,
    config: &Config,
    stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut pause = ACCEPT_PAUSES.0;
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) if of_one_connection(&error) => continue,
            Err(error) => {
                report::line(format_args!("accept: {error}; trying again in {pause:?}"));
                sleep(pause).await;
                pause = ACCEPT_PAUSES.1.min(pause * 2);
                continue;
            }
        };
        pause = ACCEPT_PAUSES.0;
        if let Ok(permit) = places.clone().try_acquire_owned() {
            let place = Place::new(app.clone(), permit);
            tokio::spawn(connection(socket, place, stopped.clone(), config.timeouts));
        } else if let Ok(place) = refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _ = timeout(REFUSAL_TIME, refuse(socket)).await;
                drop(place);
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
async fn refuse(mut socket: TcpStream) -> io::Result<()> {
    const ANSWER: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
        content-length: 59\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
        too many connections: try again, or ask another server now\n";
    // A new socket's buffer takes this at once.
    socket.writable().await?;
    socket.try_write(ANSWER.as_bytes())?;
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
    mut stopped: watch::Receiver<bool>,
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
        .serve_connection(Stream::new(socket, timeouts.write), service);
    let subscription = {
        let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
        let mut stopping = false;
        poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
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
            live::stream(subscription, socket, stopped).await;
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
