//! One chat line: `[2018-02-25 14:00:51] omri: hi everybody!`, checked,
//! formatted and read back. Pure.

use std::fmt::Write;

use time::UtcDateTime;

/// The most characters (Unicode scalar values) that a name may have.
pub const USERNAME_CHARS_MAX: usize = 64;
/// The most bytes that a message may have as it is posted.
pub const MESSAGE_BYTES_MAX: usize = 16_384;
/// Stands for a line break inside a message: U+23CE.
pub const LINE_BREAK: char = '⏎';
/// Ends the name and begins the message.
const SEPARATOR: &str = ": ";
/// The length of `[2018-02-25 14:00:51] ` in bytes.
const STAMP_BYTES: usize = 22;

/// Why a name or a message cannot become a line; the text says what is allowed.
pub type Refusal = &'static str;

/// A name and a message that are fit to become one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Post {
    username: String,
    message: String,
}

impl Post {
    /// Checks both fields; white space around the name is trimmed, and each line
    /// break inside the message becomes [`LINE_BREAK`].
    pub fn new(username: &str, message: &str) -> Result<Post, Refusal> {
        Ok(Post { username: check_username(username)?, message: check_message(message)? })
    }

    /// The name, trimmed.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The message, line breaks as [`LINE_BREAK`].
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Appends `username: message` and the line's end to `out`.
    pub fn write_to(&self, stamp: &str, out: &mut Vec<u8>) {
        for part in [stamp, &self.username, SEPARATOR, &self.message, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// How many bytes the line will have, its end included.
    pub fn line_bytes(&self) -> usize {
        STAMP_BYTES + self.username.len() + SEPARATOR.len() + self.message.len() + 1
    }

    /// Whether this line of a log, without its end, says the same, whenever it was said.
    pub fn is_said_by(&self, line: &[u8]) -> bool {
        let rest = line.get(STAMP_BYTES..).unwrap_or_default();
        let (name, separator) = (self.username.as_bytes(), SEPARATOR.as_bytes());
        has_stamp(line)
            && rest
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(separator))
                .is_some_and(|message| message == self.message.as_bytes())
    }
}

fn check_username(text: &str) -> Result<String, Refusal> {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 {
        return Err("username is empty: it takes 1 to 64 characters");
    }
    if length > USERNAME_CHARS_MAX {
        return Err("username is too long: it takes 1 to 64 characters");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("username has a control character or a line break: only text is allowed");
    }
    if name.contains(SEPARATOR) {
        return Err(
            "username has a colon and a space in it, which end a name: leave out one of them",
        );
    }
    Ok(name.to_owned())
}

fn check_message(text: &str) -> Result<String, Refusal> {
    if text.len() > MESSAGE_BYTES_MAX {
        return Err("message is too long: it takes 1 to 16384 bytes");
    }
    if text.trim().is_empty() {
        return Err("message is empty: it takes 1 to 16384 bytes that are not only white space");
    }
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) || byte == b'\t';
    if text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    let mut message = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                message.push(LINE_BREAK);
            }
            '\n' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                message.push(LINE_BREAK)
            }
            c if c.is_control() && c != '\t' => {
                return Err(
                    "message has a control character: only text, tabs and line breaks are allowed",
                );
            }
            c => message.push(c),
        }
    }
    Ok(message)
}

/// The time as a line begins with it: `[2018-02-25 14:00:51] `, in UTC.
pub fn stamp(now: UtcDateTime) -> String {
    let mut text = String::with_capacity(STAMP_BYTES);
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.as_hms();
    let month = u8::from(month);
    // Writing to a String cannot fail.
    let _ = write!(text, "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}] ");
    text
}

/// Whether the line begins with a time as [`stamp`] writes it.
fn has_stamp(line: &[u8]) -> bool {
    const SHAPE: &[u8; STAMP_BYTES] = b"[dddd-dd-dd dd:dd:dd] ";
    line.len() >= STAMP_BYTES
        && line.iter().zip(SHAPE).all(|(&byte, &shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// A line of a log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time, as `2018-02-25 14:00:51`.
    pub time: &'a str,
    /// Who said it.
    pub username: &'a str,
    /// What was said, line breaks as [`LINE_BREAK`].
    pub message: &'a str,
}

/// Takes a line without its end apart; `None` where it is not of this form, as
/// what a script appends may not be.
pub fn parse(line: &str) -> Option<Line<'_>> {
    if !has_stamp(line.as_bytes()) {
        return None;
    }
    let (username, message) = line.get(STAMP_BYTES..)?.split_once(SEPARATOR)?;
    Some(Line { time: line.get(1..STAMP_BYTES - 2)?, username, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(post: &Post) -> String {
        let mut out = Vec::new();
        post.write_to(&stamp(UtcDateTime::UNIX_EPOCH), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_what_the_contract_shows() {
        let post = Post::new(" omri\t", "hi everybody!").unwrap();
        assert_eq!(written(&post), "[1970-01-01 00:00:00] omri: hi everybody!\n");
    }

    #[test]
    fn each_kind_of_line_break_is_stored_as_one_sign() {
        let post =
            Post::new("a", "1\r\n2\r3\n4\u{b}5\u{c}6\u{85}7\u{2028}8\u{2029}9\n\r0\t").unwrap();
        assert!(written(&post).ends_with("a: 1⏎2⏎3⏎4⏎5⏎6⏎7⏎8⏎9⏎⏎0\t\n"));
    }

    #[test]
    fn names_that_are_refused() {
        for name in
            ["", " \u{3000}", "a: b", "a\0b", "a\nb", "a\u{85}b", "a\u{2028}b", "a\tb", "a\u{7f}"]
        {
            assert!(Post::new(name, "hi").is_err(), "{name:?}");
        }
        assert!(Post::new(&"é".repeat(64), "hi").is_ok());
        assert!(Post::new(&"é".repeat(65), "hi").is_err());
        assert!(Post::new("a:", ": hi").is_ok());
    }

    #[test]
    fn messages_that_are_refused() {
        for message in ["", " \t\r\n\u{2003}", "a\0", "a\u{1b}[0m", "a\u{7f}", "a\u{9b}"] {
            assert!(Post::new("a", message).is_err(), "{message:?}");
        }
        assert!(Post::new("a", &"x".repeat(MESSAGE_BYTES_MAX)).is_ok());
        assert!(Post::new("a", &"x".repeat(MESSAGE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn what_is_no_line_is_told_from_one() {
        for line in [
            "",
            "hello",
            "[2018-02-25 14:00:51] nobody",
            "2018-02-25 14:00:51 a: b",
            "[2018-02-25 14:00:5é] a: b",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_one_line_that_reads_back_one_way(name in "\\PC{0,70}|.{0,9}", message in "(?s).{0,60}") {
            let Ok(post) = Post::new(&name, &message) else { return Ok(()) };
            let line = written(&post);
            prop_assert_eq!(line.len(), post.line_bytes());
            prop_assert_eq!(line.matches(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']).count(), 1);
            let line = line.strip_suffix('\n').unwrap();
            let back = parse(line).unwrap();
            prop_assert_eq!(back.username, name.trim());
            prop_assert_eq!(back.message, &post.message);
            prop_assert!(post.is_said_by(line.as_bytes()));
        }

        #[test]
        fn no_line_of_a_log_makes_parsing_panic(line in "(\\[2018-02-25 14:00:51\\] )?.{0,40}") {
            let _ = parse(&line);
        }
    }
}
