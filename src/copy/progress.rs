//! How far a copy is: a line that is drawn anew on a terminal, and one at the end.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::report;

/// How often the line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How many characters the bar has.
const BAR_CHARS: u64 = 24;
/// Goes to the start of the terminal's line and clears it.
const CLEAR: &str = "\r\x1b[K";
/// What a line is put between that is to end where the terminal does, and not go on in
/// the next row, which would then not be cleared.
const ONE_ROW: [&str; 2] = ["\x1b[?7l", "\x1b[?7h"];

/// What was done of a copy. Written by all who copy.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    terminal: bool,
    /// How many rooms there are, and how many bytes as they were listed.
    rooms: usize,
    bytes: u64,
    rooms_done: AtomicUsize,
    /// Bytes that were there before, and are the same.
    compared: AtomicU64,
    copied: AtomicU64,
    lines: AtomicU64,
}

impl Progress {
    /// Nothing yet of so many rooms and bytes.
    pub fn new(rooms: usize, bytes: u64) -> Progress {
        Progress {
            began: Instant::now(),
            terminal: io::stderr().is_terminal(),
            rooms,
            bytes,
            rooms_done: AtomicUsize::new(0),
            compared: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    /// A room is done with.
    pub fn room_done(&self) {
        self.rooms_done.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes more of a room are there already.
    pub fn compared(&self, bytes: u64) {
        self.compared.fetch_add(bytes, Ordering::Relaxed);
    }

    /// These lines were copied.
    pub fn copied(&self, lines: &[u8]) {
        let count = memchr::memchr_iter(b'\n', lines).count();
        self.lines.fetch_add(count as u64, Ordering::Relaxed);
        self.copied.fetch_add(lines.len() as u64, Ordering::Relaxed);
    }

    /// Draws the line again and again, where standard error is a terminal.
    pub fn show(self: &Arc<Progress>) -> Option<JoinHandle<()>> {
        let progress = self.terminal.then(|| self.clone())?;
        Some(tokio::spawn(async move {
            loop {
                let line = progress.line(progress.began.elapsed());
                let [begin, end] = ONE_ROW;
                let drawn = format!("{CLEAR}{begin}{line}{end}");
                let _ = io::stderr().lock().write_all(drawn.as_bytes());
                sleep(DRAW_EVERY).await;
            }
        }))
    }

    fn line(&self, took: Duration) -> String {
        let (compared, copied) = (&self.compared, &self.copied);
        let done = compared.load(Ordering::Relaxed) + copied.load(Ordering::Relaxed);
        let done = done.min(self.bytes);
        let share = |of: u64| (u128::from(done) * u128::from(of)).checked_div(self.bytes.into());
        let full = share(BAR_CHARS).map_or(BAR_CHARS as usize, |full| full as usize);
        let bar: String =
            (0..BAR_CHARS as usize).map(|at| if at < full { '#' } else { '.' }).collect();
        let percent = share(100).unwrap_or(100);
        let (rooms_done, rooms) = (self.rooms_done.load(Ordering::Relaxed), self.rooms);
        let rate = done as f64 / took.as_secs_f64().max(0.001);
        let left = match done {
            0 => String::new(),
            _ => {
                let seconds = ((self.bytes - done) as f64 / rate) as u64;
                format!(", {}:{:02} left", seconds / 60, seconds % 60)
            }
        };
        let (done, bytes, rate) = (MB(done as f64), MB(self.bytes as f64), MB(rate));
        format!(
            "[{bar}] {percent} %  {done} of {bytes} MB, {rooms_done} of {rooms} rooms, {rate} MB/s{left}"
        )
    }

    /// Says one line, above the one that is drawn.
    pub fn say(&self, text: impl Display) {
        self.clear();
        report::line(text);
    }

    /// Takes the line away that is drawn.
    pub fn clear(&self) {
        if self.terminal {
            let _ = io::stderr().lock().write_all(CLEAR.as_bytes());
        }
    }

    /// Says what was done in all, where nothing draws any more.
    pub fn end(&self, incomplete: usize) {
        self.clear();
        report::line(self.summary(incomplete, self.began.elapsed()));
    }

    fn summary(&self, incomplete: usize, took: Duration) -> String {
        let (copied, lines) =
            (self.copied.load(Ordering::Relaxed), self.lines.load(Ordering::Relaxed));
        let seconds = took.as_secs_f64();
        let rate = MB(copied as f64 / seconds.max(0.001));
        let rooms = self.rooms;
        let missing = match incomplete {
            0 => String::new(),
            some => format!(", {some} of them not to the end"),
        };
        format!(
            "{rooms} rooms{missing}: copied {lines} lines, {copied} bytes in {seconds:.1} s, {rate} MB/s"
        )
    }
}

/// A number of bytes, written in millions of them.
struct MB(f64);

impl Display for MB {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.1}", self.0 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said() {
        let progress = Progress::new(3, 4_000_000);
        let took = Duration::from_secs(2);
        assert_eq!(
            progress.line(took),
            "[........................] 0 %  0.0 of 4.0 MB, 0 of 3 rooms, 0.0 MB/s"
        );
        progress.compared(1_000_000);
        progress.copied(&b"1234567890123456789\n".repeat(50_000));
        progress.room_done();
        assert_eq!(
            progress.line(took),
            "[############............] 50 %  2.0 of 4.0 MB, 1 of 3 rooms, 1.0 MB/s, 0:02 left"
        );
        let all = "3 rooms: copied 50000 lines, 1000000 bytes in 2.0 s, 0.5 MB/s";
        assert_eq!(progress.summary(0, took), all);
        assert!(progress.summary(2, took).starts_with("3 rooms, 2 of them not to the end: "));
        let empty = Progress::new(0, 0);
        assert!(empty.line(took).starts_with("[########################] 100 %"));
    }
}
