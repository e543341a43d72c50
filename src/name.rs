//! A room's name: checked once, where it comes in.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The most bytes that a room's name may have.
pub const NAME_BYTES_MAX: usize = 80;

/// What stands encoded in the path segment of a URL (RFC 3986, section 3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The name of a room: 1 to 80 bytes of UTF-8 without control characters and `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// Checks a decoded path segment. The error is a sentence for the client.
    pub fn new(text: &str) -> Result<RoomName, &'static str> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err("bad room name: it takes 1 to 80 bytes of UTF-8");
        }
        if text.chars().any(|c| c.is_control() || c == '/') {
            return Err("bad room name: control characters and / are not allowed");
        }
        Ok(RoomName(text.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a path segment of a URL.
    pub fn to_segment(&self) -> String {
        utf8_percent_encode(&self.0, SEGMENT).to_string()
    }

    /// The name of the room's file: no hidden file, no other directory, and no
    /// two rooms in one file.
    pub fn to_file_name(&self) -> String {
        let name = self.0.replace('%', "%25");
        match name.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}.log"),
            None => format!("{name}.log"),
        }
    }
}

impl RoomName {
    /// The room that this file belongs to; `None` where it is no room's.
    pub fn from_file_name(file: &str) -> Option<RoomName> {
        let name = percent_decode_str(file.strip_suffix(".log")?).decode_utf8().ok()?;
        RoomName::new(&name).ok().filter(|room| room.to_file_name() == file)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str) -> String {
        RoomName::new(name).unwrap().to_file_name()
    }

    #[test]
    fn file_names_are_plain_where_they_can_be() {
        assert_eq!(file("general"), "general.log");
        assert_eq!(file("Küche & Bad"), "Küche & Bad.log");
        assert_eq!(file(".."), "%2E..log");
        assert_eq!(file(".hidden.log"), "%2Ehidden.log.log");
        assert_eq!(file("100%"), "100%25.log");
        assert_eq!(file("%2E."), "%252E..log");
    }

    #[test]
    fn names_that_are_refused() {
        for name in ["", "a/b", "a\nb", "a\u{7f}", "a\u{85}", &"x".repeat(81), &"é".repeat(41)] {
            assert!(RoomName::new(name).is_err(), "{name:?}");
        }
        assert!(RoomName::new(&"é".repeat(40)).is_ok());
    }

    proptest! {
        #[test]
        fn a_name_reads_back_from_its_file_and_its_segment(name in "\\PC{1,20}") {
            let Ok(room) = RoomName::new(&name) else { return Ok(()) };
            let file = room.to_file_name();
            prop_assert!(file.len() <= 255 && !file.starts_with('.') && !file.contains('/'));
            prop_assert_eq!(RoomName::from_file_name(&file), Some(room.clone()));
            let segment = room.to_segment();
            prop_assert_eq!(&percent_decode_str(&segment).decode_utf8().unwrap(), &name);
        }
    }
}
