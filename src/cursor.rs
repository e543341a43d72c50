//! The cursor: one token that names the state of a room's log.

use std::fmt;
use std::str::FromStr;

/// How many bytes of a log's first line decide its epoch. Every line that a
/// server writes is shorter; of a longer one, written by hand, the start counts.
pub const EPOCH_BYTES: usize = 64 * 1024;

/// Tells one log from another that took its place: a hash of the first line.
///
/// `0` in text while the log has no line, else eight lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(Option<u32>);

impl Epoch {
    /// The epoch of a log without a line.
    pub const EMPTY: Epoch = Epoch(None);

    /// The epoch of the log that begins with these bytes, which hold its whole
    /// first line or the first [`EPOCH_BYTES`] of it.
    ///
    /// The hash is 64-bit FNV-1a (RFC 9923), folded to 32 bits by exclusive or.
    pub fn of(start: &[u8]) -> Epoch {
        if start.is_empty() {
            return Epoch::EMPTY;
        }
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or(start);
        let hash = fnv1a(&line[..line.len().min(EPOCH_BYTES)]);
        Epoch(Some((hash >> 32) as u32 ^ hash as u32))
    }
}

/// 64-bit FNV-1a (RFC 9923, section 2).
pub fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// The state of a log: which log it is, and its length in bytes.
///
/// In text `<epoch>-<length>`, as in `9f86d081-65`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which log.
    pub epoch: Epoch,
    /// How much of it, in bytes: always the end of a line, or 0.
    pub length: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("0"),
            Some(hash) => write!(out, "{hash:08x}"),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.length)
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    /// Reads back exactly what [`fmt::Display`] writes, and nothing else.
    fn from_str(text: &str) -> Result<Cursor, NotACursor> {
        let (epoch, length) = text.split_once('-').ok_or(NotACursor)?;
        let epoch = match epoch {
            "0" => Epoch(None),
            hex if hex.len() == 8
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Epoch(Some(u32::from_str_radix(hex, 16).map_err(|_| NotACursor)?))
            }
            _ => return Err(NotACursor),
        };
        Ok(Cursor { epoch, length: decimal(length).ok_or(NotACursor)? })
    }
}

/// A decimal number of 64 bits without sign, white space or leading zeros.
pub fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    if !plain || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_epoch_is_of_the_first_line_alone_and_stays() {
        let one = Epoch::of(b"[2018-02-25 14:00:51] omri: hi everybody!\n");
        assert_eq!(one, Epoch::of(b"[2018-02-25 14:00:51] omri: hi everybody!\nmore\n"));
        assert_ne!(one, Epoch::of(b"[2018-02-25 14:00:52] omri: hi everybody!\n"));
        // Cursors are kept by clients: this value may never change.
        assert_eq!(one.to_string(), "188d37b4");
        assert_eq!(Epoch::of(b"").to_string(), "0");
        assert_ne!(Epoch::of(b"\n"), Epoch::EMPTY);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "-",
            "0",
            "0-",
            "-0",
            "0-00",
            "0-01",
            "0-+1",
            "1-1",
            "0-1 ",
            "ABCDEF01-1",
            "abcdef0-1",
            "abcdef012-1",
            "0-18446744073709551616",
            "0-1-1",
            "\"0-0\"",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back(line in "[a-z]{0,20}", length: u64) {
            let cursor = Cursor { epoch: Epoch::of(line.as_bytes()), length };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
