//! Clients that know nothing of this server: a jQuery page, curl and wget work unchanged.

mod common;

use common::check::{created, is_line};
use common::client::{Client, Response};
use common::dir::TempDir;
use common::run_tool;
use common::server::Server;
use common::store::Store;

/// A request as a page with jQuery sends it, from the page's own site.
fn jquery(client: &mut Client, origin: &str, method: &str, body: &str) -> Response {
    let headers = [
        ("Accept", "*/*"),
        ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("Origin", origin),
        ("Referer", &format!("{origin}/general")),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "empty"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Accept-Language", "en-US,en;q=0.9"),
        ("Cookie", "a=b"),
    ];
    let headers = if method == "GET" { &headers[4..] } else { &headers[..] };
    client.request(method, "/api/chat/general", headers, body.as_bytes())
}

/// A page that posts with jQuery's `serialize()` and polls as text works unchanged.
#[test]
fn jquery_page() {
    let store = Store::new();
    let server = Server::on(&store);
    let origin = format!("http://{}", server.address);
    let mut client = server.connect();
    let mut log = String::new();
    for (body, username, message) in [
        ("username=omri&msg=hi+everybody!", "omri", "hi everybody!"),
        ("username=d%C3%A1na&msg=a%26b%3Dc+%2B+%22%3Cb%3E%22", "dána", "a&b=c + \"<b>\""),
        ("username=omri&msg=two%0D%0Alines", "omri", "two⏎lines"),
    ] {
        let posted = created(&jquery(&mut client, &origin, "POST", body));
        is_line(&posted.line, username, message);
        log += &posted.line;
        let polled = jquery(&mut client, &origin, "GET", "");
        assert_eq!((polled.status, polled.text()), (200, log.as_str()));
        assert_eq!(polled.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(store.log("general"), log.as_bytes());
}

/// `curl -d` and `curl -F` post with nothing else said.
#[test]
fn curl_posts() {
    let store = Store::new();
    let server = Server::on(&store);
    let url = format!("http://{}/chat/room", server.address);
    let encoded = ["--data-urlencode", "message=hi & bye"];
    for (fields, message) in [
        (["-d", "username=omri", "-d", "message=hi"], "hi"),
        (["-d", "username=omri", encoded[0], encoded[1]], "hi & bye"),
        (["-F", "username=omri", "-F", "message=hi"], "hi"),
    ] {
        let args = [&["-sS", "-f", "-m", "20"][..], &fields, &[&url]].concat();
        let output = run_tool("curl", &args);
        assert!(output.status.success(), "{output:?}");
        is_line(std::str::from_utf8(&output.stdout).expect("UTF-8"), "omri", message);
    }
}

/// Runs a tool that goes on with a download, and checks what it fetched over the network.
fn goes_on(server: &Server, file: &std::path::Path, tool: &str, args: &[&str], status: u16) {
    let count = |status| {
        server.metric(&format!("catchat_requests_total{{route=\"read\",status=\"{status}\"}}"))
    };
    let before = count(status);
    let output = run_tool(tool, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{tool} ends with {}: {said}", output.status);
    let log = server.get("/chat/room").body;
    assert!(std::fs::read(file).expect("the download") == log, "{tool} has another log");
    assert!(count(status) > before, "{tool} was not answered with {status}");
}

fn grow(server: &Server) {
    for number in 0..50 {
        server.say("room", "omri", &format!("line {number}"));
    }
}

/// `curl -C -` fetches only what is new of a room, and exits 0 when there is nothing.
#[test]
fn curl_goes_on() {
    let store = Store::new();
    let server = Server::on(&store);
    grow(&server);
    let dir = TempDir::new();
    let file = dir.file("download");
    let path = file.to_str().expect("UTF-8");
    let url = format!("http://{}/chat/room", server.address);
    let args = ["-sS", "-m", "20", "-C", "-", "-o", path, &url];
    goes_on(&server, &file, "curl", &args, 200);
    for _ in 0..3 {
        grow(&server);
        goes_on(&server, &file, "curl", &args, 206);
        goes_on(&server, &file, "curl", &args, 416);
    }
}

/// `wget -c` does the same.
#[test]
fn wget_goes_on() {
    let store = Store::new();
    let server = Server::on(&store);
    grow(&server);
    let dir = TempDir::new();
    let file = dir.file("download");
    let path = file.to_str().expect("UTF-8");
    let url = format!("http://{}/chat/room", server.address);
    let args = ["--no-config", "--no-proxy", "-nv", "-T", "20", "-t", "1", "-c", "-O", path, &url];
    goes_on(&server, &file, "wget", &args, 200);
    for _ in 0..3 {
        grow(&server);
        goes_on(&server, &file, "wget", &args, 206);
        goes_on(&server, &file, "wget", &args, 416);
    }
}

/// Polling by tag: curl's `--etag-save` and `--etag-compare` fetch nothing twice.
#[test]
fn curl_compares_tags() {
    let store = Store::new();
    let server = Server::on(&store);
    grow(&server);
    let dir = TempDir::new();
    let tag = dir.file("tag");
    let tag = tag.to_str().expect("UTF-8");
    let url = format!("http://{}/chat/room", server.address);
    let args = ["-sS", "-f", "-m", "20", "--etag-save", tag, "--etag-compare", tag, &url];
    let log = server.get("/chat/room").body;
    assert!(run_tool("curl", &args).stdout == log);
    assert!(run_tool("curl", &args).stdout.is_empty());
    grow(&server);
    assert!(run_tool("curl", &args).stdout == server.get("/chat/room").body);
}
