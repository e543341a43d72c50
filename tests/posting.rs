//! The contract's section Posting: what is taken, how it is stored, and what is answered.

mod common;

use common::check::{STAMP_LEN, created, is_line, refused, stamp_now};
use common::server::{FORM, Server, form};
use common::store::Store;

/// 201: the body is the line as stored, the `ETag` the cursor just after it, and its place.
#[test]
fn answer_of_a_post() {
    let store = Store::new();
    let server = Server::on(&store);
    let answer = server.post("room", "omri", "hi everybody!");
    let first = created(&answer);
    is_line(&first.line, "omri", "hi everybody!");
    assert_eq!(answer.header("location"), Some("/chat/room"));
    assert_eq!(first.cursor.length, first.line.len() as u64);
    let second = server.say("room", "dana", "hi omri");
    assert_eq!(second.cursor.epoch, first.cursor.epoch);
    assert_eq!(second.cursor.length, first.cursor.length + second.line.len() as u64);
    let log = server.get("/chat/room");
    assert_eq!(log.text(), first.line + &second.line);
    assert_eq!(log.etag(), second.etag);
}

/// `Location` leads to the room's log, whatever its name.
#[test]
fn location_is_a_path() {
    let store = Store::new();
    let server = Server::on(&store);
    for room in ["caf%C3%A9", "a%20b", "%25", "a%3Fb%23c", "%E2%80%A8", "%22%3C%3E"] {
        let answer = server.post(room, "omri", "hi");
        let posted = created(&answer);
        let location = answer.header("location").expect("Location");
        assert!(location.starts_with("/chat/"), "{location}");
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location}");
        assert_eq!(server.get(location).text(), posted.line, "{location}");
    }
}

/// The time is UTC.
#[test]
fn time_is_utc() {
    let store = Store::new();
    let server = Server::on(&store);
    let before = stamp_now();
    let posted = server.say("room", "omri", "hi");
    let (stamp, after) = (&posted.line[..STAMP_LEN], stamp_now());
    assert!(before.as_str() <= stamp && stamp <= after.as_str(), "{before} {stamp} {after}");
}

/// Times never run backwards in a log, as each is taken while the room's lock is held.
#[test]
fn time_goes_with_the_log() {
    let store = Store::new();
    let server = Server::on(&store);
    std::thread::scope(|scope| {
        for poster in 0..4 {
            let (server, name) = (&server, format!("poster{poster}"));
            scope.spawn(move || (0..50).for_each(|_| drop(server.say("room", &name, "hi"))));
        }
    });
    let log = server.get("/chat/room");
    let stamps: Vec<&str> = log.text().lines().map(|line| &line[..STAMP_LEN]).collect();
    assert_eq!(stamps.len(), 200);
    assert!(stamps.is_sorted());
}

/// A user name is trimmed and then 1 to 64 characters.
#[test]
fn good_usernames() {
    let store = Store::new();
    let server = Server::on(&store);
    let long = ["u".repeat(64), "é".repeat(64), "😀".repeat(64)];
    let plain = ["o", "a b", "a:b", "a:", ":", ":)", "[x]", "<i>", "日本", "a&b=c", "%41", "⏎"];
    for name in plain.into_iter().chain(long.iter().map(String::as_str)) {
        is_line(&server.say("room", name, "hi").line, name, "hi");
    }
    let spaced = format!("  {}  ", "u".repeat(64));
    for name in [" omri ", "\tomri\t", "\r\nomri\n", "\u{a0}omri\u{3000}", "\u{2028}omri", &spaced]
    {
        is_line(&server.say("room", name, "hi").line, name.trim(), "hi");
    }
    is_line(&server.say("room", "omri: ", "hi").line, "omri:", "hi");
}

/// Other user names are refused: too long, empty, control characters, line separators, `": "`.
#[test]
fn bad_usernames() {
    let store = Store::new();
    let server = Server::on(&store);
    for name in [&"u".repeat(65), &"é".repeat(65), "", " ", "\n", "\u{3000}"] {
        refused(&server.post("room", name, "hi"), 400, &["username", "64"]);
    }
    for name in ["a\0b", "a\tb", "a\nb", "a\rb", "a\x1bb", "a\x7fb", "a\u{80}b", "a\u{85}b"] {
        refused(&server.post("room", name, "hi"), 400, &["username", "control"]);
    }
    for name in ["a\u{2028}b", "a\u{2029}b", "a: b", ": b", "a:: b"] {
        refused(&server.post("room", name, "hi"), 400, &["username"]);
    }
    refused(&server.post_form("/chat/room", "message=hi"), 400, &["username"]);
    assert!(store.rooms().is_empty());
}

/// A message is 1 to 16,384 bytes, kept as it is.
#[test]
fn good_messages() {
    let store = Store::new();
    let server = Server::on(&store);
    let long = ["m".repeat(16_384), "é".repeat(8_192), "😀".repeat(4_096)];
    let plain = ["m", " padded ", "a\tb", "\tx", "a: b: c", "[1999-01-01 00:00:00] eve: hi"];
    let odd =
        ["⏎", "a+b&c=d", "%41%zz", "<script>", "\u{feff}x", "\u{200b}", "e\u{301}", "\u{a0}x"];
    for message in plain.into_iter().chain(odd).chain(long.iter().map(String::as_str)) {
        is_line(&server.say("room", "omri", message).line, "omri", message);
    }
}

/// Other messages are refused: too long, empty, only white space, control characters.
#[test]
fn bad_messages() {
    let store = Store::new();
    let server = Server::on(&store);
    let long = ["m".repeat(16_385), "é".repeat(8_193), "m".repeat(60_000)];
    for message in &long {
        refused(&server.post("room", "omri", message), 400, &["message", "16"]);
    }
    for message in ["", " ", "\t", "\n", "\r\n \u{3000}", "\u{2028}", "\u{85}"] {
        refused(&server.post("room", "omri", message), 400, &["message"]);
    }
    for code in (0..0x20).chain(0x7f..0xa0) {
        let control = char::from(code);
        if !"\t\n\x0b\x0c\r\u{85}".contains(control) {
            let message = format!("a{control}b");
            refused(&server.post("room", "omri", &message), 400, &["message", "control"]);
        }
    }
    refused(&server.post_form("/chat/room", "username=omri"), 400, &["message"]);
    refused(&server.post_form("/chat/room", ""), 400, &[]);
    assert!(store.rooms().is_empty());
}

/// A line break inside a message is stored as `⏎`, so one message is always one line.
#[test]
fn line_breaks() {
    let store = Store::new();
    let server = Server::on(&store);
    for end in ["\r\n", "\r", "\n", "\x0b", "\x0c", "\u{85}", "\u{2028}", "\u{2029}"] {
        is_line(&server.say("room", "omri", &format!("a{end}b")).line, "omri", "a⏎b");
        is_line(&server.say("room", "omri", &format!("{end}a{end}")).line, "omri", "⏎a⏎");
    }
    for (message, stored) in [
        ("a\n\nb", "a⏎⏎b"),
        ("a\r\n\r\nb", "a⏎⏎b"),
        ("a\r\r\nb", "a⏎⏎b"),
        ("a\n\rb", "a⏎⏎b"),
        ("a\n[2020-01-01 00:00:00] eve: b", "a⏎[2020-01-01 00:00:00] eve: b"),
    ] {
        is_line(&server.say("room", "omri", message).line, "omri", stored);
    }
    let breaks = format!("x{}", "\n".repeat(16_383));
    let line = server.say("room", "omri", &breaks).line;
    is_line(&line, "omri", &breaks.replace('\n', "⏎"));
    assert_eq!(server.get("/chat/room").text().lines().count(), 22);
}

/// Extra fields are ignored; of a repeated field the first counts.
#[test]
fn extra_and_repeated_fields() {
    let store = Store::new();
    let server = Server::on(&store);
    for body in [
        "x=1&username=omri&y=&message=hi&=z&&w",
        "message=hi&username=omri",
        "username=omri&username=eve&message=hi&message=ho",
        "username=omri&message=hi&username=%00&message=",
        "&username=omri&message=hi&",
        "user%6Eame=omri&%6Dessage=%68i",
    ] {
        is_line(&created(&server.post_form("/chat/room", body)).line, "omri", "hi");
    }
    refused(&server.post_form("/chat/room", "username=&username=omri&message=hi"), 400, &[]);
    refused(&server.post_form("/chat/room", "Username=omri&message=hi"), 400, &["username"]);
}

/// A form is decoded as browsers' parsers do: `+` is a space, a malformed `%` itself.
#[test]
fn urlencoded() {
    let store = Store::new();
    let server = Server::on(&store);
    for (raw, stored) in [
        ("a+b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%c3%A9", "é"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%4", "%4"),
        ("%%41", "%A"),
        ("%+1x", "% 1x"),
        ("a=b=c", "a=b=c"),
        ("a;b", "a;b"),
        ("é", "é"),
    ] {
        let answer = server.post_form("/chat/room", &format!("username=omri&message={raw}"));
        is_line(&created(&answer).line, "omri", stored);
    }
}

/// Bytes that are not UTF-8 are a 400, never replaced.
#[test]
fn not_utf8() {
    let store = Store::new();
    let server = Server::on(&store);
    for body in [
        &b"username=omri&message=a%FFb"[..],
        b"username=omri&message=a\xffb",
        b"username=o%C3&message=hi",
        b"username=omri&message=%ED%A0%80",
        b"username=omri&message=%C0%AF",
    ] {
        refused(&server.send("POST", "/chat/room", &[FORM], body), 400, &["UTF-8"]);
    }
    assert!(store.rooms().is_empty());
}

/// The content type may carry parameters and is compared without case, as RFC 9110 says.
#[test]
fn content_types_taken() {
    let store = Store::new();
    let server = Server::on(&store);
    for kind in [
        "application/x-www-form-urlencoded; charset=UTF-8",
        "application/x-www-form-urlencoded;charset=utf-8",
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded ; a=\"b;c\"",
    ] {
        let answer =
            server.send("POST", "/chat/room", &[("Content-Type", kind)], b"username=a&message=b");
        is_line(&created(&answer).line, "a", "b");
    }
}

/// Another content type, or none: 415.
#[test]
fn content_types_refused() {
    let store = Store::new();
    let server = Server::on(&store);
    let says = ["application/x-www-form-urlencoded", "multipart/form-data"];
    let body = b"username=a&message=b";
    for kind in [
        "application/json",
        "text/plain",
        "multipart/mixed; boundary=x",
        "",
        "application/x-www-form-urlencodedx",
        "x-www-form-urlencoded",
        "multipart/form-datax",
    ] {
        refused(&server.send("POST", "/chat/room", &[("Content-Type", kind)], body), 415, &says);
    }
    refused(&server.send("POST", "/chat/room", &[], body), 415, &says);
    assert!(store.rooms().is_empty());
}

/// A browser that submits the form without script gets 303 to the room's page.
#[test]
fn without_script() {
    let store = Store::new();
    let server = Server::on(&store);
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let body = form("omri", "hi");
    for accept in [browser, "text/html", "text/plain;q=0.5, text/html", "TEXT/HTML"] {
        let headers = [FORM, ("Accept", accept)];
        let answer = server.send("POST", "/chat/caf%C3%A9", &headers, body.as_bytes());
        assert_eq!(answer.status, 303, "{accept}");
        assert_eq!(answer.header("location"), Some("/caf%C3%A9"), "{accept}");
    }
    for accept in
        ["*/*", "text/plain", "image/*", "text/plain, text/html;q=0.5", "text/html;q=0, */*"]
    {
        let headers = [FORM, ("Accept", accept)];
        created(&server.send("POST", "/chat/caf%C3%A9", &headers, body.as_bytes()));
    }
    assert_eq!(server.get("/chat/caf%C3%A9").text().lines().count(), 9);
    let bad = server.send("POST", "/chat/room", &[FORM, ("Accept", browser)], b"username=omri");
    refused(&bad, 400, &["message"]);
}

/// Posted from another site's page: 403.
#[test]
fn other_sites() {
    let store = Store::new();
    let server = Server::on(&store);
    let own = format!("http://{}", server.address);
    let body = form("omri", "hi");
    let post = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = [FORM].into_iter().chain(headers.iter().copied()).collect();
        server.send("POST", "/chat/room", &headers, body.as_bytes())
    };
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Origin", &format!("{own}.evil.example"))],
        &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
        &[("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
    ] {
        refused(&post(headers), 403, &[]);
    }
    assert!(store.rooms().is_empty());
    for headers in [
        &[][..],
        &[("Origin", own.as_str())],
        &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Host", "Chat.Example"), ("Origin", "https://chat.example")],
    ] {
        created(&post(headers));
    }
    let read = server.get_with("/chat/room", &[("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(read.text().lines().count(), 5);
}

/// Posts on one connection are stored in their order, each cursor just after its line.
#[test]
fn order_on_one_connection() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    let mut log = String::new();
    for number in 0..200 {
        let body = form("omri", &format!("message {number}"));
        let posted = created(&client.request("POST", "/chat/room", &[FORM], body.as_bytes()));
        log += &posted.line;
        assert_eq!(posted.cursor.length, log.len() as u64);
    }
    assert_eq!(server.get("/chat/room").text(), log);
}

/// Requests sent without waiting for the answers are answered in their order.
#[test]
fn pipelined_posts() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut client = server.connect();
    for number in 0..20 {
        let body = form("omri", &number.to_string());
        let head =
            format!("POST /chat/room HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len());
        client.send(format!("{head}{}: {}\r\n\r\n{body}", FORM.0, FORM.1).as_bytes());
    }
    for number in 0..20 {
        let posted = created(&client.answer("POST").expect("an answer"));
        is_line(&posted.line, "omri", &number.to_string());
    }
}
