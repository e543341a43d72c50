//! The contract's section Posting: forms sent as `multipart/form-data`.

mod common;

use common::check::{created, is_line, refused};
use common::client::Response;
use common::server::Server;
use common::store::Store;

const KIND: &str = "multipart/form-data; boundary=XX";

fn post(server: &Server, kind: &str, body: &[u8]) -> Response {
    server.send("POST", "/chat/room", &[("Content-Type", kind)], body)
}

fn part(name: &str, value: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn fields(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| part(name, value)).collect::<String>() + "--XX--\r\n"
}

/// The same fields are taken as `multipart/form-data`.
#[test]
fn form_data() {
    let store = Store::new();
    let server = Server::on(&store);
    let body = fields(&[("username", " omri "), ("message", "hi ✓ %41+&=")]);
    is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", "hi ✓ %41+&=");
    let api = fields(&[("msg", "hi"), ("username", "omri")]);
    let answer = server.send("POST", "/api/chat/room", &[("Content-Type", KIND)], api.as_bytes());
    is_line(&created(&answer).line, "omri", "hi");
}

/// Extra fields, files among them, are ignored; of a repeated field the first counts.
#[test]
fn extra_and_repeated_fields() {
    let store = Store::new();
    let server = Server::on(&store);
    let file = "--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\n\
                Content-Type: application/octet-stream\r\n\r\n\0\u{1}--X\r\n";
    for body in [
        file.to_string() + &fields(&[("username", "omri"), ("x", "\0"), ("message", "hi")]),
        fields(&[("username", "omri"), ("username", "eve"), ("message", "hi"), ("message", "")]),
        fields(&[("message", "hi"), ("username", "omri"), ("username", "")]),
    ] {
        is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", "hi");
    }
}

/// What senders may write differently by RFC 2046 and RFC 7578 is the same form.
#[test]
fn spellings() {
    let store = Store::new();
    let server = Server::on(&store);
    let whole = fields(&[("username", "omri"), ("message", "hi")]);
    let typed = whole.replace("\r\n\r\n", "\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n");
    for body in [
        format!("a preamble\r\n{whole}"),
        format!("{whole}an epilogue\r\n"),
        whole.trim_end().to_string(),
        whole.replace("Content-Disposition", "content-disposition"),
        whole.replace("form-data; name", "form-data;name"),
        whole.replace("--XX\r\n", "--XX \t\r\n"),
        typed,
    ] {
        is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", "hi");
    }
    for kind in [
        "multipart/form-data; boundary=\"XX\"",
        "Multipart/Form-Data; BOUNDARY=XX",
        "multipart/form-data;boundary=XX; charset=utf-8",
    ] {
        is_line(&created(&post(&server, kind, whole.as_bytes())).line, "omri", "hi");
    }
    let boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
    let kind = format!("multipart/form-data; boundary={boundary}");
    let body = whole.replace("XX", boundary);
    is_line(&created(&post(&server, &kind, body.as_bytes())).line, "omri", "hi");
}

/// A value is every byte up to the boundary: line breaks, dashes and what resembles it.
#[test]
fn values_are_whole() {
    let store = Store::new();
    let server = Server::on(&store);
    for (message, stored) in [
        ("a\r\nb", "a⏎b"),
        ("a\r\n--X", "a⏎--X"),
        ("a--XX--b", "a--XX--b"),
        ("\r\n\r\na", "⏎⏎a"),
        ("a\r\n", "a⏎"),
        ("a\r", "a⏎"),
        ("\"\\;name=x", "\"\\;name=x"),
    ] {
        let body = fields(&[("username", "omri"), ("message", message)]);
        is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", stored);
    }
}

/// The rules for the fields are the same as for any form.
#[test]
fn bad_fields() {
    let store = Store::new();
    let server = Server::on(&store);
    let long = "m".repeat(16_385);
    for (username, message, says) in [
        ("", "hi", "username"),
        ("a: b", "hi", "username"),
        ("a\r\nb", "hi", "username"),
        ("omri", " \r\n", "message"),
        ("omri", "a\0b", "message"),
        ("omri", &long, "message"),
    ] {
        let body = fields(&[("username", username), ("message", message)]);
        refused(&post(&server, KIND, body.as_bytes()), 400, &[says]);
    }
    refused(&post(&server, KIND, fields(&[("username", "omri")]).as_bytes()), 400, &["message"]);
    refused(&post(&server, KIND, fields(&[("message", "hi")]).as_bytes()), 400, &["username"]);
    let mut body = fields(&[("username", "omri"), ("message", "a?b")]).into_bytes();
    let place = body.iter().position(|&byte| byte == b'?').expect("the mark");
    body[place] = 0xff;
    refused(&post(&server, KIND, &body), 400, &["UTF-8"]);
    assert!(store.rooms().is_empty());
}

/// A body that is no whole form is a 400, and nothing is stored.
#[test]
fn malformed() {
    let store = Store::new();
    let server = Server::on(&store);
    let whole = fields(&[("username", "omri"), ("message", "hi")]);
    let (cut, _) = whole.split_at(whole.len() - "--XX--\r\n".len());
    for body in [
        "",
        "username=omri&message=hi",
        "--XX--\r\n",
        "--XX",
        cut,
        &cut[..cut.len() - 4],
        &whole.replace("XX", "YY"),
        &whole.replace("\r\n\r\n", "\r\n"),
        &whole.replace("; name=\"message\"", ""),
    ] {
        refused(&post(&server, KIND, body.as_bytes()), 400, &[]);
    }
    for kind in
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x=XX"]
    {
        refused(&post(&server, kind, whole.as_bytes()), 400, &["boundary"]);
    }
    assert!(store.rooms().is_empty(), "{:?}", server.get("/chat/room").text());
}

/// Extra fields count only in the size of the body: many of them are not slow.
#[test]
fn many_parts() {
    let store = Store::new();
    let server = Server::on(&store);
    let mut body = part("x", "").repeat(1_000);
    body += &fields(&[("username", "omri"), ("message", "hi")]);
    assert!(body.len() < 65_536);
    is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", "hi");
    let dashes = "\r\n--X".repeat(4_000);
    let body = fields(&[("username", "omri"), ("x", &dashes), ("message", "hi")]);
    is_line(&created(&post(&server, KIND, body.as_bytes())).line, "omri", "hi");
}
