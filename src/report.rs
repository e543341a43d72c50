//! What the operator is told: a line each on standard error.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one line, control characters escaped so that nothing can forge another, and
/// without the password of a URL, which may stand where another argument was meant.
pub fn line(text: impl Display) {
    let mut out = String::from("catchat: ");
    // Writing to a String cannot fail; where standard error is closed, nobody reads it.
    let _ = write!(Escaped(&mut out), "{text}");
    let mut out = without_passwords(&out);
    out.push('\n');
    let _ = io::stderr().lock().write_all(out.as_bytes());
}

/// What stands there in a sentence that tells how a URL is written.
const EXAMPLE_LOGIN: &str = "USER:PASSWORD@";

/// The text, with what stands between `://` and the last `@` of each word left out.
fn without_passwords(text: &str) -> String {
    let words = text.split_inclusive([' ', '"', '\'']).map(|word| {
        match (word.split_once("://"), word.rsplit_once('@')) {
            (Some((scheme, rest)), Some((_, host)))
                if rest.contains('@') && !rest.starts_with(EXAMPLE_LOGIN) =>
            {
                format!("{scheme}://…@{host}")
            }
            _ => word.to_owned(),
        }
    });
    words.collect()
}

/// Escapes the control characters of what is written to it.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                true => self.0.extend(c.escape_default()),
                false => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Lets one line a second through, and counts the others.
struct Throttle {
    second: AtomicU64,
    held_back: AtomicU64,
}

/// A full disk fails every post: that is one line a second, not one a post.
static STORE_ERRORS: Throttle =
    Throttle { second: AtomicU64::new(0), held_back: AtomicU64::new(0) };

/// Says that the store failed at this place.
pub fn store_error(place: impl Display, error: impl Display) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if STORE_ERRORS.second.swap(now, Ordering::Relaxed) == now {
        STORE_ERRORS.held_back.fetch_add(1, Ordering::Relaxed);
        return;
    }
    match STORE_ERRORS.held_back.swap(0, Ordering::Relaxed) {
        0 => line(format_args!("{place}: {error}")),
        more => line(format_args!("{place}: {error} (and {more} more failures)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_left_out() {
        for (text, told) in [
            (
                "unknown command \"mysql://u:se@cret@db:1/x\": no",
                "unknown command \"mysql://…@db:1/x\": no",
            ),
            ("give mysql://USER:PASSWORD@HOST/", "give mysql://USER:PASSWORD@HOST/"),
            ("FILE=mysql://u:secret@db/x: not there", "FILE=mysql://…@db/x: not there"),
            (
                "http://localhost:80/: refused, by omri@host",
                "http://localhost:80/: refused, by omri@host",
            ),
        ] {
            assert_eq!(without_passwords(text), told);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = String::new();
        write!(Escaped(&mut out), "a\nb\u{1b}[31m\u{2028}é").unwrap();
        assert_eq!(out, "a\\nb\\u{1b}[31m\\u{2028}é");
    }
}
