//! The load client of the fan-out benchmarks: many subscribers, a few posters, one clock.
//!
//! `bench.py` starts it and drives it over standard input, a command a line:
//! `subscribe COUNT` opens that many more streams, `post RATE SECONDS` posts at that rate and
//! tells how long each message took to each subscriber. Every message carries the time at which
//! it was sent between two `~`, so the client reads any server's frames without knowing them.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

/// Streams that are being opened at once: below any server's backlog.
const OPENING: usize = 128;
/// Connections that posts go out on in turn, so that a slow answer does not delay the next post.
const POSTERS: u64 = 4;
/// How long all streams together may take to open.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// After the last post: give up when nothing has arrived for this long.
const QUIET: Duration = Duration::from_secs(2);
/// A server that does not answer a post for this long has failed.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Read at once; larger than what is on the way to one subscriber, which spares a second call.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Where subscribers and posters go; `{}` in a path is the number of the room.
struct Target {
    subscribe: SocketAddr,
    subscribe_path: String,
    post: SocketAddr,
    post_path: String,
    rooms: usize,
}

/// What all threads share.
struct Shared {
    target: Target,
    /// The zero of every time stamp.
    epoch: Instant,
    /// Streams whose 200 has arrived. Written by the subscribers, read by the commands.
    ready: AtomicUsize,
    /// Streams that failed or ended. Written by the subscribers, read by the commands.
    lost: AtomicUsize,
    /// Posts that were not answered 2xx. Written by the posters, read by the commands.
    failed: AtomicU64,
    /// How long deliveries took, in µs, and when each arrived, in µs after the epoch. Written by
    /// the one thread of subscribers, taken by the commands: the lock is all but never contended.
    arrivals: Mutex<Vec<(u32, u64)>>,
}

fn main() -> Anyhow<()> {
    let Some(target) = arguments()? else {
        println!(
            "fanout: the load client of benches/bench.py, which starts it; nothing to do alone"
        );
        return Ok(());
    };
    let shared = Arc::new(Shared {
        target,
        epoch: Instant::now(),
        ready: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
        failed: AtomicU64::new(0),
        arrivals: Mutex::new(Vec::new()),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let subscribers = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));

    for command in io::stdin().lock().lines() {
        let command = command?;
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["subscribe", count] => subscribe(&shared, &subscribers, count.parse()?)?,
            ["post", rate, seconds] => post(&shared, rate.parse()?, seconds.parse()?)?,
            _ => return Err(format!("unknown command: {command}").into()),
        }
    }
    Ok(())
}

/// The target, or none where it was started without arguments of its own.
fn arguments() -> Anyhow<Option<Target>> {
    let (mut subscribe, mut post, mut rooms) = (None, None, 1);
    let (mut subscribe_path, mut post_path) = (String::new(), String::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        use lexopt::prelude::*;
        match argument {
            Long("subscribe") => subscribe = Some(parser.value()?.parse()?),
            Long("subscribe-path") => subscribe_path = parser.value()?.string()?,
            Long("post") => post = Some(parser.value()?.parse()?),
            Long("post-path") => post_path = parser.value()?.string()?,
            Long("rooms") => rooms = parser.value()?.parse()?,
            Long("bench" | "test") => {} // what cargo passes
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(subscribe.zip(post).map(|(subscribe, post)| Target {
        subscribe,
        subscribe_path,
        post,
        post_path,
        rooms,
    }))
}

/// Open `count` more streams and print `ready` once all of them have their 200.
fn subscribe(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle, count: usize) -> Anyhow<()> {
    let opening = Arc::new(Semaphore::new(OPENING));
    let first = shared.ready.load(Ordering::Relaxed);
    let start = Instant::now();
    for number in first..first + count {
        let (shared, opening) = (shared.clone(), opening.clone());
        runtime.spawn(async move {
            let end = listen(&shared, number % shared.target.rooms, opening).await;
            if shared.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!(
                    "fanout: subscriber {number}: {}",
                    end.map_or_else(|e| e.to_string(), |()| "ended".into())
                );
            }
        });
    }
    while shared.ready.load(Ordering::Relaxed) < first + count {
        let lost = shared.lost.load(Ordering::Relaxed);
        if lost > 0 || start.elapsed() > OPEN_DEADLINE {
            return Err(format!("{lost} of {count} streams failed to open").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("ready subscribers={} took_ms={}", first + count, start.elapsed().as_millis());
    Ok(())
}

/// One subscriber: everything that its stream says, until it ends.
async fn listen(shared: &Shared, room: usize, opening: Arc<Semaphore>) -> io::Result<()> {
    let permit = opening.acquire().await.map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(shared.target.subscribe).await?;
    let mut request = String::new();
    let path = shared.target.subscribe_path.replace("{}", &room.to_string());
    let _ =
        write!(request, "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n");
    stream.writable().await?;
    if stream.try_write(request.as_bytes())? < request.len() {
        return Err(io::Error::other("the request did not fit"));
    }
    if !read_some(&mut stream, |bytes| bytes.starts_with(b"HTTP/1.1 200 ")).await?.unwrap_or(false)
    {
        return Err(io::Error::other("not answered 200"));
    }
    shared.ready.fetch_add(1, Ordering::Relaxed);
    drop(permit);
    let mut stamp = None;
    while read_some(&mut stream, |bytes| shared.scan(bytes, &mut stamp)).await?.is_some() {}
    Ok(())
}

/// Hand over what arrives next; none at the end. All streams share the thread's buffer.
async fn read_some<T>(
    stream: &mut TcpStream,
    mut see: impl FnMut(&[u8]) -> T,
) -> io::Result<Option<T>> {
    std::future::poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            Poll::Ready(Ok((!bytes.is_empty()).then(|| see(bytes))))
        })
    })
    .await
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Note every time stamp in the bytes; `stamp` is the one that the last bytes broke off in.
    fn scan(&self, mut bytes: &[u8], stamp: &mut Option<u64>) {
        loop {
            if stamp.is_none() {
                let Some(start) = bytes.iter().position(|&b| b == b'~') else {
                    return;
                };
                bytes = &bytes[start + 1..];
                *stamp = Some(0);
            }
            let Some(length) = bytes.iter().position(|b| !b.is_ascii_digit()) else {
                *stamp = stamp.map(|s| digits(s, bytes));
                return;
            };
            let sent = digits(stamp.take().unwrap_or(0), &bytes[..length]);
            if bytes[length] == b'~' {
                let now = self.now_us();
                let took = now.saturating_sub(sent).min(u32::MAX.into()) as u32;
                self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push((took, now));
            }
            bytes = &bytes[length + 1..];
        }
    }

    fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn digits(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0')))
}

/// Post `rate` messages a second for `seconds`, wait for the last ones, print what was measured.
fn post(shared: &Arc<Shared>, rate: f64, seconds: f64) -> Anyhow<()> {
    shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clear();
    shared.failed.store(0, Ordering::Relaxed);
    let start = Instant::now() + Duration::from_millis(50);
    let end = start + Duration::from_secs_f64(seconds);
    let posters: Vec<_> = (0..POSTERS)
        .map(|first| {
            let shared = shared.clone();
            std::thread::spawn(move || poster(&shared, first, rate, start, end))
        })
        .collect();
    let mut posted = 0;
    for poster in posters {
        posted += poster.join().map_err(|_| "a poster panicked")??;
    }
    let each = shared.ready.load(Ordering::Relaxed) / shared.target.rooms;
    let expected = posted as usize * each;
    let mut progress = (shared.arrived(), Instant::now());
    while progress.0 < expected && progress.1.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(5));
        let arrived = shared.arrived();
        if arrived > progress.0 {
            progress = (arrived, Instant::now());
        }
    }
    let arrivals =
        std::mem::take(&mut *shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    let end_us = end.duration_since(shared.epoch).as_micros() as u64;
    let in_time = arrivals.iter().filter(|(_, at)| *at <= end_us).count();
    let mut took: Vec<u32> = arrivals.iter().map(|(took, _)| *took).collect();
    took.sort_unstable();
    let percentile = |p: usize| {
        took.get((took.len() * p / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    println!(
        "result posted={posted} failed={} lost={} expected={expected} delivered={} per_second={:.0} p50_us={} p99_us={} max_us={}",
        shared.failed.load(Ordering::Relaxed),
        shared.lost.load(Ordering::Relaxed),
        took.len(),
        in_time as f64 / seconds,
        percentile(50),
        percentile(99),
        took.last().unwrap_or(&0),
    );
    Ok(())
}

/// Every `POSTERS`th message from the `first` one on, each at its time; gives how many.
fn poster(shared: &Shared, first: u64, rate: f64, start: Instant, end: Instant) -> io::Result<u64> {
    let mut stream = std::net::TcpStream::connect(shared.target.post)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let mut posted = 0;
    for number in (first..).step_by(POSTERS as usize) {
        let at = start + Duration::from_secs_f64(number as f64 / rate);
        if at.max(Instant::now()) >= end {
            break;
        }
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        // A stride that is prime to the number of rooms spreads the posts over all of them.
        let room = number as usize * 7919 % shared.target.rooms;
        let path = shared.target.post_path.replace("{}", &room.to_string());
        let body = format!("username=omri&message=hi+everybody+~{}~", shared.now_us());
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n", body.len());
        stream.write_all(
            format!("{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}")
                .as_bytes(),
        )?;
        posted += 1;
        if !answered(&mut stream)? {
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(posted)
}

/// Read one answer to its end; whether it is a 2xx.
fn answered(stream: &mut std::net::TcpStream) -> io::Result<bool> {
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    loop {
        let count = stream.read(&mut some)?;
        if count == 0 {
            return Err(io::Error::other("the server closed a poster's connection"));
        }
        answer.extend_from_slice(&some[..count]);
        let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        if answer.len() >= head + 4 + length {
            return Ok(text.starts_with("http/1.1 2"));
        }
    }
}
