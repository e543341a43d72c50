//! The chat page and the files that it is made of.

use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use crate::assets::{ASSETS, Asset, PAGE};
use crate::body::Body;
use crate::conditional::{Condition, condition};
use crate::cursor::fnv1a;
use crate::handlers::{NO_CACHE, Response, TEXT, respond};
use crate::name::RoomName;

/// Scripts, styles and connections of this server only, and nothing inline. The page draws
/// the tab's icon with a count on it, which is what `data:` is for.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The page, with all filled in that is always the same.
#[derive(Debug)]
pub struct Page {
    html: String,
}

impl Page {
    /// The page of the server on this host.
    pub fn new(host: &str) -> Page {
        let host = escaped(host).replace('{', "&#123;");
        // Named up front, so that no module waits for another to ask for it.
        let scripts = ASSETS.iter().filter(|asset| asset.is_script());
        let modules: String = scripts
            .map(|asset| format!("<link rel=\"modulepreload\" href=\"/-/{}\">\n", asset.name))
            .collect();
        Page { html: fill(PAGE, &[("{{host}}", &host), ("{{modules}}", modules.trim_end())]) }
    }

    /// The page of a room, as the server of this name renders it.
    pub fn of(&self, room: &RoomName, name: &str) -> Response {
        let html = fill(
            &self.html,
            &[
                ("{{name}}", &escaped(name)),
                ("{{room}}", &escaped(room.as_str())),
                ("{{room_path}}", &escaped(&room.to_segment())),
            ],
        );
        let html_type = HeaderValue::from_static("text/html; charset=utf-8");
        let mut response = respond(StatusCode::OK, html_type, Body::Full(html.into()));
        response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
        response
    }
}

/// Replaces placeholders in one pass: what is put in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find(|(placeholder, _)| rest.starts_with(placeholder));
        let (placeholder, value) = found.copied().unwrap_or(("{{", "{{"));
        out.push_str(value);
        rest = &rest[placeholder.len()..];
    }
    out.push_str(rest);
    out
}

/// Text as it stands in HTML, in an attribute too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A file of the page.
pub fn asset(asset: &'static Asset, headers: &HeaderMap) -> Response {
    let Asset { content_type, text, .. } = *asset;
    let etag = format!("\"{:016x}\"", fnv1a(text.as_bytes()));
    let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"\""));
    let content_type = HeaderValue::from_static(content_type);
    let mut response = match condition(headers, &etag) {
        Condition::Proceed => respond(StatusCode::OK, content_type, Body::Full(text.into())),
        Condition::NotModified => respond(StatusCode::NOT_MODIFIED, content_type, Body::empty()),
        Condition::Failed => {
            let sentence = "this file has another ETag than If-Match allows\n";
            respond(StatusCode::PRECONDITION_FAILED, TEXT, Body::Full(sentence.into()))
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response.headers_mut().insert(ETAG, etag);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_escaped_and_not_filled_in_again() {
        assert_eq!(escaped("<a href=\"'&"), "&lt;a href=&quot;&#39;&amp;");
        assert_eq!(fill("{{a}}{{b}}{{c}}{", &[("{{a}}", "{{b}}"), ("{{b}}", "x")]), "{{b}}x{{c}}{");
    }
}
