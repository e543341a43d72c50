//! `/-/metrics`: what was done is counted, in Prometheus' text format.

mod common;

use common::server::Server;
use common::store::Store;
use std::collections::HashSet;

const REQUESTS: &str = "catchat_requests_total";

/// How often a route was answered with a status.
fn requests(server: &Server, route: &str, status: u16) -> f64 {
    server.metric(&format!("{REQUESTS}{{route=\"{route}\",status=\"{status}\"}}"))
}

/// Every line is a comment or a sample, and every sample is of a described metric.
#[test]
fn text_format() {
    let store = Store::new();
    let server = Server::on(&store);
    server.say("room", "omri", "hi");
    let answer = server.get("/-/metrics");
    let kind = answer.header("content-type").expect("a content type");
    assert!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
    assert!(answer.text().ends_with('\n'));
    assert!(store.password().is_none_or(|password| !answer.text().contains(password)));
    let (mut described, mut seen) = (HashSet::new(), HashSet::new());
    for line in answer.text().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(described.insert(name), "described twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(sample), "twice: {line}");
            let name = sample.split('{').next().expect("a name");
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = described.contains(name) || family.is_some_and(|f| described.contains(f));
            assert!(known && name.starts_with("catchat_"), "{line}");
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(server.metric(&format!("catchat_build_info{{version=\"{version}\"}}")), 1.0);
}

/// Requests are counted by route and status.
#[test]
fn requests_by_route() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = server.say("room", "omri", "hi");
    server.post_form("/api/chat/room", "username=omri&msg=hi");
    server.post("room", "", "hi");
    let log = server.get("/chat/room");
    server.get("/api/chat/room");
    server.get_with("/chat/room", &[("If-None-Match", log.etag())]);
    let range = format!("bytes={}-", posted.cursor.length);
    server.get_with("/chat/room", &[("Range", &range)]);
    server.get_with("/chat/room", &[("Range", "bytes=1000-")]);
    server.get("/");
    server.get("/room");
    server.get("/-/chat.js");
    server.get("/-/health");
    server.get("/no/such");
    for (route, status, count) in [
        ("post", 201, 2.0),
        ("post", 400, 1.0),
        ("read", 200, 2.0),
        ("read", 206, 1.0),
        ("read", 304, 1.0),
        ("read", 416, 1.0),
        ("page", 200, 2.0),
        ("asset", 200, 1.0),
        ("health", 200, 1.0),
        ("other", 404, 1.0),
    ] {
        assert_eq!(requests(&server, route, status), count, "{route} {status}");
    }
    let before = requests(&server, "metrics", 200);
    assert!(requests(&server, "metrics", 200) > before);
}

/// What clients make up never becomes a label: the number of samples stays bounded.
#[test]
fn labels_are_bounded() {
    let store = Store::new();
    let server = Server::on(&store);
    server.get("/no/such");
    server.send("BREW", "/no/such", &[], b"");
    let count = || server.get("/-/metrics").text().lines().count();
    count();
    let before = count();
    for number in 0..100 {
        server.get(&format!("/no/such/{number}"));
        server.send(&format!("BREW{number}"), "/no/such", &[], b"");
    }
    assert_eq!(count(), before);
}

/// Lines, bytes and commits are counted, with histograms of lines and seconds per commit.
#[test]
fn what_was_appended() {
    let store = Store::new();
    let server = Server::on(&store);
    for message in ["one", "two", "three"] {
        server.say("room", "omri", message);
    }
    assert_eq!(server.metric("catchat_lines_appended_total"), 3.0);
    assert_eq!(server.metric("catchat_bytes_appended_total"), store.log("room").len() as f64);
    let commits = server.metric("catchat_commits_total");
    assert_eq!(commits, 3.0, "one after the other");
    for histogram in ["catchat_commit_lines", "catchat_commit_seconds"] {
        assert_eq!(server.metric(&format!("{histogram}_count")), commits);
        let prefix = format!("{histogram}_bucket{{le=\"");
        let metrics = server.get("/-/metrics");
        let buckets: Vec<(&str, f64)> = metrics
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "))
            .map(|(bound, value)| (bound, value.parse().expect("a number")))
            .collect();
        assert!(buckets.len() > 1 && buckets.is_sorted_by_key(|(_, value)| *value), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&("+Inf", commits)));
        let bounds = buckets[..buckets.len() - 1].iter().map(|(bound, _)| bound.parse::<f64>());
        let bounds: Vec<f64> = bounds.map(|bound| bound.expect("a bound")).collect();
        assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    }
    assert_eq!(server.metric("catchat_commit_lines_sum"), 3.0);
    assert!(server.metric("catchat_commit_seconds_sum") > 0.0);
}

/// Open connections are a gauge that falls again.
#[test]
fn connections() {
    let store = Store::new();
    let server = Server::on(&store);
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    common::eventually("20 and its own", || server.metric("catchat_connections") >= 21.0);
    drop(clients);
    common::eventually("its own only", || server.metric("catchat_connections") <= 1.0);
}
