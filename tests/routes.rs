//! The contract's section Routes: every path and method, and what each answers.

mod common;

use common::check::{one_line, refused};
use common::client::Response;
use common::server::{Server, Setup};
use common::store::Store;

/// `GET /` is the room `general`: the same page, as HTML.
#[test]
fn page_of_general() {
    let store = Store::new();
    let server = Server::on(&store);
    let (root, general) = (server.get("/"), server.get("/general"));
    for page in [&root, &general, &server.get("/another")] {
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text().to_lowercase().starts_with("<!doctype html>"));
    }
    assert_eq!(root.text(), general.text());
}

/// The page names the server that rendered it, and every response carries `Server-Name`.
#[test]
fn page_names_its_server() {
    let store = Store::new();
    let server = Setup::on(&store).name("tango-7").start();
    let page = server.get("/general");
    assert!(page.text().contains("tango-7"), "{}", page.text());
    let targets =
        ["/", "/room", "/chat/room", "/-/health", "/-/metrics", "/-/chat.js", "/no/such", "/%FF"];
    for target in targets {
        for method in ["GET", "HEAD", "DELETE"] {
            let answer = server.send(method, target, &[], b"");
            assert_eq!(answer.header("server-name"), Some("tango-7"), "{method} {target}");
        }
    }
    assert_eq!(server.post("room", "omri", "hi").header("server-name"), Some("tango-7"));
    assert_eq!(server.post("room", "", "hi").header("server-name"), Some("tango-7"));
}

/// A name is text on the page, never markup.
#[test]
fn page_escapes_its_server() {
    let store = Store::new();
    let server = Setup::on(&store).name("a<b>&\"c").start();
    let page = server.get("/");
    assert_eq!(page.header("server-name"), Some("a<b>&\"c"));
    let numbered = page.text().contains("a&#60;b&#62;&#38;&#34;c");
    assert!(numbered || page.text().contains("a&lt;b&gt;&amp;&quot;c"), "{}", page.text());
    assert!(!page.text().contains("a<b>"), "{}", page.text());
}

/// The page runs no script or style but the server's own, by a strict policy.
#[test]
fn page_runs_nothing_inline() {
    let store = Store::new();
    let page = Server::on(&store).get("/");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().to_lowercase();
    for tag in html.split("<script").skip(1) {
        let (attributes, rest) = tag.split_once('>').expect("a whole tag");
        // A data block, which no browser runs (WHATWG HTML, the script element).
        if attributes.trim() == r#"type="text/html""# {
            continue;
        }
        assert!(attributes.contains("src="), "an inline script");
        assert!(rest.trim_start().starts_with("</script>"), "an inline script");
    }
    assert!(!html.contains("<style") && !html.contains(" style="), "an inline style");
}

/// The page ignores any query.
#[test]
fn page_ignores_the_query() {
    let store = Store::new();
    let server = Server::on(&store);
    for target in ["/?a=b", "/general?tail=x&tail=y", "/general?", "/general?%zz"] {
        assert_eq!(server.get(target).status, 200, "{target}");
    }
}

/// The server's own things live under `/-/`.
#[test]
fn own_things() {
    let store = Store::new();
    let server = Server::on(&store);
    let health = server.get("/-/health");
    assert_eq!((health.status, health.text()), (200, "ok\n"));
    for (target, kind) in [
        ("/-/chat.js", "text/javascript"),
        ("/-/chat.css", "text/css"),
        ("/-/icon.svg", "image/svg+xml"),
        ("/-/metrics", "text/plain"),
    ] {
        let asset = server.get(target);
        assert_eq!(asset.status, 200, "{target}");
        assert!(asset.header("content-type").is_some_and(|is| is.starts_with(kind)), "{asset:?}");
        assert!(!asset.body.is_empty(), "{target}");
    }
    refused(&server.send("GET", "/-/chat.js", &[("If-Match", "\"x\"")], b""), 412, &["If-Match"]);
}

/// `/-/` never collides with a room: `-` is a room like any other.
#[test]
fn dash_is_a_room() {
    let store = Store::new();
    let server = Server::on(&store);
    server.say("-", "omri", "hi");
    assert_eq!(server.get("/-").status, 200);
    assert!(server.get("/chat/-").text().ends_with(" omri: hi\n"));
}

/// `HEAD` is wherever `GET` is: the same status and headers, and no body.
#[test]
fn head_is_get_without_a_body() {
    let store = Store::new();
    let server = Server::on(&store);
    server.say("room", "omri", "hi");
    let stable = |answer: &Response| {
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "date");
        headers.sort();
        headers
    };
    let targets = [
        "/",
        "/room",
        "/chat/room",
        "/chat/empty",
        "/chat/room?tail=1",
        "/api/chat/room",
        "/-/health",
        "/-/chat.js",
        "/-/chat.css",
        "/-/icon.svg",
        "/no/such",
        "/room/",
        "/chat/room?nope=1",
    ];
    for target in targets {
        let mut client = server.connect();
        let head = client.request("HEAD", target, &[], b"");
        let get = client.request("GET", target, &[], b"");
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(stable(&head), stable(&get), "{target}");
    }
    assert_eq!(server.head("/-/metrics").status, 200);
}

/// Another method on a known path: 405 with `Allow`.
#[test]
fn other_methods() {
    let store = Store::new();
    let server = Server::on(&store);
    let chat = ["GET", "HEAD", "POST"];
    for (target, allowed) in [
        ("/", &chat[..2]),
        ("/room", &chat[..2]),
        ("/-/health", &chat[..2]),
        ("/-/metrics", &chat[..2]),
        ("/-/chat.js", &chat[..2]),
        ("/chat/room", &chat[..]),
        ("/api/chat/room", &chat[..]),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "get"] {
            if allowed.contains(&method) {
                continue;
            }
            let answer = server.send(method, target, &[], b"");
            refused(&answer, 405, allowed);
            let allow = answer.header("allow").expect("Allow");
            let mut allow: Vec<&str> = allow.split(',').map(str::trim).collect();
            allow.sort_unstable();
            assert_eq!(allow, allowed, "{method} {target}");
        }
    }
    assert!(store.rooms().is_empty());
}

/// Another path: 404.
#[test]
fn unknown_paths() {
    let store = Store::new();
    let server = Server::on(&store);
    for target in [
        "/a/b",
        "/chat/a/b",
        "/api/chat/a/b",
        "/api/other",
        "/-/nope",
        "/-/chat.js/x",
        "/-/../chat.js",
        "//a",
        "/chat//a",
        "/a//b",
        "/api/chat",
        "/-/general.log",
    ] {
        refused(&server.get(target), 404, &[]);
        refused(&server.post_form(target, "username=a&message=b"), 404, &[]);
    }
    assert!(store.rooms().is_empty());
}

/// `/chat` and `/api` are one segment and so the pages of rooms that are called so.
#[test]
fn rooms_named_like_routes() {
    let store = Store::new();
    let server = Server::on(&store);
    for name in ["chat", "api", "favicon.ico", "robots.txt"] {
        assert_eq!(server.get(&format!("/{name}")).status, 200);
        server.say(name, "omri", name);
        assert!(server.get(&format!("/chat/{name}")).text().ends_with(&format!(": {name}\n")));
    }
}

/// A trailing slash redirects (308) to the path without it, and the query goes along.
#[test]
fn trailing_slash() {
    let store = Store::new();
    let server = Server::on(&store);
    for (target, without) in [
        ("/general/", "/general"),
        ("/chat/general/", "/chat/general"),
        ("/api/chat/general/", "/api/chat/general"),
        ("/chat/caf%C3%A9/", "/chat/caf%C3%A9"),
        ("/chat/", "/chat"),
        ("/-/health/", "/-/health"),
        ("/chat/general/?tail=5", "/chat/general?tail=5"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = server.send(method, target, &[], b"");
            assert_eq!(answer.status, 308, "{method} {target}");
            assert_eq!(answer.header("location"), Some(without), "{method} {target}");
        }
        one_line(&server.get(target));
    }
}

/// No path makes the server redirect to another site.
#[test]
fn redirects_stay_here() {
    let store = Store::new();
    let server = Server::on(&store);
    for target in ["//evil.example/", "///evil.example/", "/%5Cevil.example/", "//", "///", "/%2F/"]
    {
        let answer = server.connect().request("GET", target, &[], b"");
        let location = answer.header("location").unwrap_or("/");
        assert!(location.starts_with('/'), "{target}: {answer:?}");
        assert!(
            !location.starts_with("//") && !location.starts_with("/\\"),
            "{target}: {answer:?}"
        );
    }
}

/// `/api/chat/<room>` with the field `msg` is the same as `/chat/<room>`.
#[test]
fn api_is_the_same() {
    let store = Store::new();
    let server = Server::on(&store);
    let answer = server.post_form("/api/chat/room", "username=omri&msg=hi");
    let posted = common::check::created(&answer);
    let (api, chat) = (server.get("/api/chat/room"), server.get("/chat/room"));
    assert_eq!(api.text(), posted.line);
    assert_eq!(api.text(), chat.text());
    assert_eq!(api.etag(), chat.etag());
    refused(&server.post_form("/api/chat/room", "username=omri"), 400, &["msg"]);
    refused(&server.post_form("/chat/room", "username=omri&msg=hi"), 400, &["message"]);
    assert_eq!(server.get("/api/chat/room").text(), posted.line);
}

/// On `/chat/<room>` an unknown query parameter, a bad value or a repeated one is a 400.
#[test]
fn bad_queries() {
    let store = Store::new();
    let server = Server::on(&store);
    for path in ["/chat/room", "/api/chat/room"] {
        for (query, says) in [
            ("nope=1", "tail"),
            ("Tail=1", "tail"),
            ("tails=1", "tail"),
            ("curser=0-0", "tail"),
            ("tail=1&x", "tail"),
            ("tail=", "tail"),
            ("tail", "tail"),
            ("tail=x", "tail"),
            ("tail=-1", "tail"),
            ("tail=%2B1", "tail"),
            ("tail=1.5", "tail"),
            ("tail=0x10", "tail"),
            ("tail=%FF", "tail"),
            ("tail=1&tail=1", "once"),
            ("tail=1&tail=2", "once"),
        ] {
            refused(&server.get(&format!("{path}?{query}")), 400, &[says]);
        }
        for query in ["tail=1", "nope=1", "message=hi"] {
            let target = format!("{path}?{query}");
            refused(&server.post_form(&target, "username=a&message=b&msg=b"), 400, &[]);
        }
        assert_eq!(server.get(&format!("{path}?")).status, 200);
    }
    assert!(store.rooms().is_empty());
}

/// A request in absolute form, as to a proxy, is the same request (RFC 9112, 3.2.2).
#[test]
fn absolute_form() {
    let store = Store::new();
    let server = Server::on(&store);
    let posted = server.say("room", "omri", "hi");
    let target = format!("http://{}/chat/room?tail=1", server.address);
    assert_eq!(server.get(&target).text(), posted.line);
}

/// The page shows the server's name beside the host name.
#[test]
fn page_shows_name_and_host() {
    let store = Store::new();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    let page = Server::on(&store).get("/");
    let name = page.header("server-name").expect("a name");
    assert!(page.text().contains(name), "{}", page.text());
    assert!(page.text().contains(host.trim()), "{}", page.text());
}
