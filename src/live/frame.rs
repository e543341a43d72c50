//! Frames: a stretch of a log as a live stream carries it. Pure.
//!
//! A frame is made of nothing but the log's bytes, so whoever is at the same
//! place gets the same frame, and one that was sent in part can be made again.

use std::ops::Range;

use hyper::body::Bytes;

use crate::cursor::{Cursor, Epoch};

/// About how many bytes a frame has at the most; one line's end may exceed it.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// How the lines are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events, one a line (WHATWG HTML, section 9.2).
    Events,
    /// The lines as they are.
    Lines,
}

/// A stretch of a log, framed for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How it is framed.
    pub kind: Kind,
    /// Which open log it is of: a [`crate::store::snapshot::Log::number`].
    pub log: u64,
    /// Which bytes of the log it carries.
    pub range: Range<u64>,
    /// Whether its last byte ends a line.
    pub ends_line: bool,
    chunk: Chunk,
}

impl Frame {
    /// Frames these bytes of the log, which begin at this cursor, or as many of
    /// them as fit. `line_start` says whether they begin a line.
    pub fn new(kind: Kind, log: u64, at: Cursor, line_start: bool, bytes: &[u8]) -> Frame {
        let Cursor { epoch, length: start } = at;
        let (payload, taken) = match kind {
            Kind::Events => events(epoch, start, line_start, bytes),
            Kind::Lines => {
                let taken = bytes.len().min(FRAME_BYTES_MAX);
                (bytes[..taken].to_vec(), taken)
            }
        };
        let ends_line = bytes[..taken].last() == Some(&b'\n');
        let range = start..start + taken as u64;
        Frame { kind, log, range, ends_line, chunk: Chunk::new(&payload) }
    }

    /// How much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        self.chunk.bytes.len()
    }

    /// The frame as it goes over the wire.
    pub fn wire(&self, chunked: bool) -> Bytes {
        self.chunk.wire(chunked)
    }
}

/// Bytes with the size before them that a chunk has (RFC 9112, section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    bytes: Bytes,
    payload: Range<usize>,
}

/// Ends a chunked body: the last chunk, and no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Chunk {
    /// A chunk of these bytes, which must not be none: that would be the last chunk.
    pub fn new(payload: &[u8]) -> Chunk {
        let size = format!("{:x}\r\n", payload.len());
        let bytes = [size.as_bytes(), payload, b"\r\n"].concat();
        Chunk { payload: size.len()..size.len() + payload.len(), bytes: bytes.into() }
    }

    /// The whole chunk, or its payload for a client that knows no chunks.
    pub fn wire(&self, chunked: bool) -> Bytes {
        if chunked { self.bytes.clone() } else { self.bytes.slice(self.payload.clone()) }
    }
}

/// One event a line: its text, and then its cursor, which is only known at its
/// end. A line may be cut anywhere and go on in the next frame.
fn events(epoch: Epoch, start: u64, mut line_start: bool, bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(FRAME_BYTES_MAX.min(bytes.len() * 2 + 64));
    let mut taken = 0;
    while taken < bytes.len() && out.len() < FRAME_BYTES_MAX {
        if line_start {
            out.extend_from_slice(b"data: ");
        }
        let rest = &bytes[taken..];
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let room = FRAME_BYTES_MAX.saturating_sub(out.len()).max(1);
        let line = &rest[..end.min(room)];
        taken += line.len();
        let text = line.strip_suffix(b"\n");
        push_data(text.unwrap_or(line), &mut out);
        line_start = text.is_some();
        if line_start {
            let cursor = Cursor { epoch, length: start + taken as u64 };
            out.extend_from_slice(format!("\nid: {cursor}\n\n").as_bytes());
        }
    }
    (out, taken)
}

/// A carriage return, which a script may have appended, would end the field.
fn push_data(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\r', text) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(b"\ndata: ");
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(start: u64, line_start: bool, bytes: &[u8]) -> (String, Range<u64>) {
        let at = Cursor { epoch: Epoch::EMPTY, length: start };
        let frame = Frame::new(Kind::Events, 0, at, line_start, bytes);
        (String::from_utf8(frame.wire(false).to_vec()).unwrap(), frame.range)
    }

    #[test]
    fn one_event_a_line_with_the_cursor_after_it() {
        let (text, range) = framed(10, true, b"one\ntwo\r\n\n");
        assert_eq!(
            text,
            "data: one\nid: 0-14\n\ndata: two\ndata: \nid: 0-19\n\ndata: \nid: 0-20\n\n"
        );
        assert_eq!(range, 10..20);
    }

    #[test]
    fn chunks_say_their_size() {
        let frame = Frame::new(Kind::Lines, 0, Cursor::default(), true, b"hello\n");
        assert_eq!(frame.wire(true), &b"6\r\nhello\n\r\n"[..]);
        assert_eq!(frame.wire(false), &b"hello\n"[..]);
    }

    /// Reads events as a browser does: the data of each, and its id.
    fn received(stream: &str) -> Vec<(String, String)> {
        let events = stream.split_terminator("\n\n").map(|event| {
            let field = |name: &str| {
                event
                    .lines()
                    .filter_map(|line| line.strip_prefix(name))
                    .collect::<Vec<_>>()
                    .join("\n")
            };
            (field("data: "), field("id: "))
        });
        events.collect()
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_log_arrives(lines in prop::collection::vec(prop_oneof![4 => "[a-z]{0,9}", 1 => Just("x".repeat(70_000))], 1..6), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
            let log = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len())).collect();
            ends.push(log.len());
            ends.sort_unstable();
            let (mut stream, mut at) = (String::new(), 0);
            for end in ends {
                while at < end {
                    let line_start = at == 0 || log.as_bytes()[at - 1] == b'\n';
                    let (text, range) = framed(at as u64, line_start, &log.as_bytes()[at..end]);
                    prop_assert!(text.len() <= FRAME_BYTES_MAX + 100 && !range.is_empty());
                    stream += &text;
                    at = range.end as usize;
                }
            }
            let mut length = 0;
            let expected: Vec<_> = lines.iter().map(|line| { length += line.len() + 1; (line.clone(), format!("0-{length}")) }).collect();
            prop_assert_eq!(received(&stream), expected);
        }
    }
}
