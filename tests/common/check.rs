//! What the contract says of lines, acknowledgements and refusals, as checks.

use super::client::Response;
use super::server::Posted;
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of a line before the user's name: `[2018-02-25 14:00:51] `.
pub const STAMP_LEN: usize = 22;

/// Checks a refusal: its status, and one line of plain text that says all of `says`.
pub fn refused(response: &Response, status: u16, says: &[&str]) {
    assert_eq!(response.status, status, "{response:?} {:?}", lossy(response));
    one_line(response);
    let text = lossy(response).to_lowercase();
    for word in says {
        assert!(text.contains(&word.to_lowercase()), "{text:?} does not say {word:?}");
    }
}

/// Checks that a body is one line of plain text for a person.
pub fn one_line(response: &Response) {
    let kind = response.header("content-type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"), "{response:?}");
    let text = response.text();
    let sentence = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line end: {text:?}"));
    assert!(!sentence.trim().is_empty(), "an empty sentence");
    assert!(!sentence.chars().any(char::is_control), "more than one line: {text:?}");
}

/// Checks a 201: the body is one stored line, the `ETag` a cursor behind it.
pub fn created(response: &Response) -> Posted {
    assert_eq!(response.status, 201, "{response:?} {:?}", lossy(response));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let line = response.text().to_string();
    parse_line(&line);
    let cursor = response.cursor();
    assert!(cursor.length >= line.len() as u64, "{response:?}");
    assert_ne!(cursor.epoch, "0", "a log with a line has an epoch");
    Posted { line, cursor, etag: response.etag().to_string() }
}

/// Takes a stored line apart into user name and message; fails where it is none.
pub fn parse_line(line: &str) -> (&str, &str) {
    let body = line.strip_suffix('\n').unwrap_or_else(|| panic!("torn: {line:?}"));
    assert!(!body.contains('\n'), "more than one line: {line:?}");
    let (stamp, rest) = body.split_at_checked(STAMP_LEN).expect("a time stamp");
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "[0000-00-00 00:00:00] ", "{line:?}");
    rest.split_once(": ").unwrap_or_else(|| panic!("no user name: {line:?}"))
}

/// Checks that a line says this, whatever its time.
pub fn is_line(line: &str, username: &str, message: &str) {
    assert_eq!(parse_line(line), (username, message), "{line:?}");
}

/// The stamp that a line posted at this very moment carries.
pub fn stamp_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let seconds = since.as_secs();
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("[{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}] ", days + 1)
}

fn lossy(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}
