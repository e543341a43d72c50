//! The server's counters, in Prometheus' text format, version 0.0.4.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;

/// Upper bounds of the commit latency histogram, in microseconds.
const COMMIT_MICROS: [u64; 12] =
    [100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000];
/// Upper bounds of the histogram of lines per commit.
const COMMIT_LINES: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024];
/// The statuses that this server answers with; others are counted together.
const STATUSES: [u16; 20] = [
    200, 201, 206, 303, 304, 308, 400, 403, 404, 405, 408, 412, 413, 415, 416, 431, 500, 503, 507,
    0,
];
/// The routes, as they are called in a label.
const ROUTES: [&str; 8] = ["page", "asset", "post", "read", "live", "health", "metrics", "other"];

/// A number that only grows, or a gauge that goes up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes away from it.
    pub fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by upper bound; the last is of what is above all bounds.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: [u64; N],
    counts: [Count; N],
    above: Count,
    sum: Count,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [u64; N]) -> Histogram<N> {
        Histogram {
            bounds,
            counts: std::array::from_fn(|_| Count::default()),
            above: Count::default(),
            sum: Count::default(),
        }
    }

    fn observe(&self, value: u64) {
        let bound = self.bounds.iter().position(|&bound| value <= bound);
        bound.map_or(&self.above, |at| &self.counts[at]).add(1);
        self.sum.add(value);
    }

    /// Writes the histogram; `scale` is how many of its units are one of the metric's.
    fn write(&self, name: &str, help: &str, scale: f64, out: &mut String) {
        header(name, help, "histogram", out);
        let mut total = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            total += count.get();
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {total}", *bound as f64 / scale);
        }
        total += self.above.get();
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum {}", self.sum.get() as f64 / scale);
        let _ = writeln!(out, "{name}_count {total}");
    }
}

/// Everything that is counted. Written by whoever does it, read by `/-/metrics`;
/// each number stands for itself, so no lock holds them together.
#[derive(Debug)]
pub struct Metrics {
    requests: [[Count; STATUSES.len()]; ROUTES.len()],
    lines: Count,
    bytes: Count,
    commit_lines: Histogram<10>,
    commit_micros: Histogram<12>,
    /// Connections that are open now.
    pub connections: Count,
    /// Live streams that are open now.
    pub streams: Count,
    /// Times that the store failed.
    pub store_errors: Count,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Default::default(),
            lines: Count::default(),
            bytes: Count::default(),
            commit_lines: Histogram::new(COMMIT_LINES),
            commit_micros: Histogram::new(COMMIT_MICROS),
            connections: Count::default(),
            streams: Count::default(),
            store_errors: Count::default(),
        }
    }
}

/// The routes that requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The chat page.
    Page,
    /// What the page is made of.
    Asset,
    /// Appending a line.
    Post,
    /// Reading a log.
    Read,
    /// Following a log.
    Live,
    /// `/-/health`
    Health,
    /// `/-/metrics`
    Metrics,
    /// What is not there, or not allowed.
    Other,
}

impl Metrics {
    /// Counts an answered request.
    pub fn request(&self, route: Label, status: StatusCode) {
        let at = STATUSES
            .iter()
            .position(|&known| known == status.as_u16())
            .unwrap_or(STATUSES.len() - 1);
        self.requests[route as usize][at].add(1);
    }

    /// Counts a commit: how many lines were stored, in how many bytes, how fast.
    pub fn commit(&self, lines: usize, bytes: u64, took: Duration) {
        self.lines.add(lines as u64);
        self.bytes.add(bytes);
        self.commit_lines.observe(lines as u64);
        self.commit_micros.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// All of it as text.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        header("catchat_build_info", "The version of this program.", "gauge", &mut out);
        let _ = writeln!(out, "catchat_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        self.render_requests(&mut out);
        let number = |name, help, kind, count: &Count, out: &mut String| {
            header(name, help, kind, out);
            let _ = writeln!(out, "{name} {}", count.get());
        };
        number(
            "catchat_lines_appended_total",
            "Lines stored and acknowledged.",
            "counter",
            &self.lines,
            &mut out,
        );
        number(
            "catchat_bytes_appended_total",
            "Bytes written to logs.",
            "counter",
            &self.bytes,
            &mut out,
        );
        header(
            "catchat_commits_total",
            "Times that lines were written and synced.",
            "counter",
            &mut out,
        );
        let commits: u64 = self.commit_lines.counts.iter().map(Count::get).sum::<u64>()
            + self.commit_lines.above.get();
        let _ = writeln!(out, "catchat_commits_total {commits}");
        self.commit_lines.write(
            "catchat_commit_lines",
            "Lines stored by one commit.",
            1.0,
            &mut out,
        );
        self.commit_micros.write(
            "catchat_commit_seconds",
            "Time from taking the lock to being on disk.",
            1e6,
            &mut out,
        );
        number(
            "catchat_connections",
            "Connections that are open.",
            "gauge",
            &self.connections,
            &mut out,
        );
        number("catchat_streams", "Live streams that are open.", "gauge", &self.streams, &mut out);
        number(
            "catchat_store_errors_total",
            "Times that the store failed.",
            "counter",
            &self.store_errors,
            &mut out,
        );
        out
    }

    fn render_requests(&self, out: &mut String) {
        header("catchat_requests_total", "Requests answered, by route and status.", "counter", out);
        for (route, statuses) in ROUTES.iter().zip(&self.requests) {
            for (status, count) in
                STATUSES.iter().zip(statuses).filter(|(_, count)| count.get() > 0)
            {
                let _ = writeln!(
                    out,
                    "catchat_requests_total{{route=\"{route}\",status=\"{status}\"}} {}",
                    count.get()
                );
            }
        }
    }
}

fn header(name: &str, help: &str, kind: &str, out: &mut String) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
