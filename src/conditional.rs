//! Conditional requests and ranges, as RFC 9110 says (sections 12 to 14). Pure.

use std::ops::Range;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::cursor::Cursor;

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has this already.
    NotModified,
    /// 412: it is not what the client wants.
    Failed,
}

/// Holds the conditions of a GET or HEAD against the current entity tag (section 13.2.2).
pub fn condition(headers: &HeaderMap, etag: &HeaderValue) -> Condition {
    if headers.contains_key(IF_MATCH) && !any_tag(headers, IF_MATCH.as_str(), etag, false) {
        return Condition::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) && any_tag(headers, IF_NONE_MATCH.as_str(), etag, true) {
        return Condition::NotModified;
    }
    Condition::Proceed
}

/// Whether one of the listed tags is this one, or the list is `*` (section 8.8.3.2).
fn any_tag(headers: &HeaderMap, name: &str, etag: &HeaderValue, weakly: bool) -> bool {
    headers.get_all(name).iter().any(|value| {
        value == etag
            || value.as_bytes() == b"*"
            || tags(value.as_bytes()).any(|(weak, tag)| tag == etag.as_bytes() && (weakly || !weak))
    })
}

/// The tags of a list, with whether each is weak; ends where it is malformed.
fn tags(mut list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    std::iter::from_fn(move || {
        let skip = list.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
        let rest = &list[skip..];
        let (weak, rest) = rest.strip_prefix(b"W/").map_or((false, rest), |rest| (true, rest));
        let end = memchr::memchr(b'"', rest.strip_prefix(b"\"")?)? + 2;
        list = &rest[end..];
        Some((weak, &rest[..end]))
    })
}

/// The newest cursor that the client has seen, by the entity tag in its condition.
pub fn seen(headers: &HeaderMap) -> Option<Cursor> {
    let condition = [IF_NONE_MATCH, IF_RANGE].iter().find_map(|name| headers.get(name))?;
    let (_, tag) = tags(condition.as_bytes()).next()?;
    str::from_utf8(tag).ok()?.trim_matches('"').parse().ok()
}

/// What a `Range` header asks for of a log of this length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: no range, or none that is understood.
    Whole,
    /// 206: these bytes, at least one.
    Bytes(Range<u64>),
    /// 416: nothing of this range is there.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` (sections 13.1.5 and 14.2). Several ranges in one
/// request are answered with the whole, as are units other than bytes.
pub fn part(headers: &HeaderMap, etag: &HeaderValue, length: u64) -> Part {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Part::Whole;
    };
    if headers.get(IF_RANGE).is_some_and(|condition| condition != etag) {
        return Part::Whole;
    }
    byte_range(range, length).unwrap_or(Part::Whole)
}

/// `bytes=N-`, `bytes=N-M` or `bytes=-N`; `None` for anything else.
fn byte_range(range: &str, length: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let range = match (first, last) {
        ("", suffix) => {
            let suffix = number(suffix)?;
            if suffix > 0 && length == 0 {
                return Some(Part::Whole);
            }
            length.saturating_sub(suffix)..length
        }
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    match range.start < range.end {
        true => Some(Part::Bytes(range)),
        false => Some(Part::Unsatisfiable),
    }
}

/// A decimal number; what is too large for 64 bits is as large as can be.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether the client would rather have HTML than plain text (section 12.5.1). Who
/// names HTML and likes both as much is a text browser.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let (html, plain) = (quality(headers, "text", "html"), quality(headers, "text", "plain"));
    html > plain || (html == plain && html > 0 && names(headers, "text/html"))
}

/// Whether the client asks for server-sent events, by name.
pub fn wants_events(headers: &HeaderMap) -> bool {
    names(headers, "text/event-stream") && quality(headers, "text", "event-stream") > 0
}

/// Whether the client names this media type.
fn names(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains(media_type))
}

/// The quality of a media type, in thousandths: of the most specific range that
/// it is in; 1000 where there is no `Accept`.
fn quality(headers: &HeaderMap, kind: &str, subtype: &str) -> u32 {
    if !headers.contains_key(ACCEPT) {
        return 1000;
    }
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let best = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let (range_kind, range_subtype) = parameters.next()?.split_once('/')?;
        let specificity = match (range_kind, range_subtype) {
            ("*", "*") => 0,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 1,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let q = parameters
            .find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
        let q = q.map_or(Some(1.0), |q| q.parse::<f32>().ok())?;
        Some((specificity, (q.clamp(0.0, 1.0) * 1000.0) as u32))
    });
    best.max().map_or(0, |(_, q)| q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderName;
    use proptest::prelude::*;

    const ETAG: HeaderValue = HeaderValue::from_static("\"0a0b0c0d-65\"");

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_condition_tells_what_the_client_has_seen() {
        let cursor = Some("0a0b0c0d-65".parse().unwrap());
        for (name, value, expected) in [
            (IF_NONE_MATCH, "\"0a0b0c0d-65\"", cursor),
            (IF_NONE_MATCH, "W/\"0a0b0c0d-65\", \"0a0b0c0d-1\"", cursor),
            (IF_RANGE, "\"0a0b0c0d-65\"", cursor),
            (IF_RANGE, "Sun, 25 Feb 2018 14:00:51 GMT", None),
            (IF_NONE_MATCH, "*", None),
            (IF_NONE_MATCH, "\"abc\"", None),
            (IF_NONE_MATCH, "", None),
        ] {
            assert_eq!(seen(&headers(&[(name, value)])), expected, "{value}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly_and_if_match_strongly() {
        let both = |value: &str| {
            let of = |name| condition(&headers(&[(name, value)]), &ETAG);
            (of(IF_NONE_MATCH), of(IF_MATCH))
        };
        use Condition::{Failed, NotModified, Proceed};
        for value in ["\"0a0b0c0d-65\"", "*", "\"a,b\", \"0a0b0c0d-65\"", ",\"x\" ,\"0a0b0c0d-65\""]
        {
            assert_eq!(both(value), (NotModified, Proceed), "{value}");
        }
        assert_eq!(both("W/\"0a0b0c0d-65\""), (NotModified, Failed));
        for value in
            ["", "\"0a0b0c0d-66\"", "0a0b0c0d-65", "\"", "w/\"0a0b0c0d-65\"", "\"x,\"0a0b0c0d-65\""]
        {
            assert_eq!(both(value), (Proceed, Failed), "{value}");
        }
    }

    #[test]
    fn ranges() {
        use Part::{Bytes, Unsatisfiable, Whole};
        let of = |range: &str, length| part(&headers(&[(RANGE, range)]), &ETAG, length);
        for (range, expected) in [
            ("bytes=0-", Bytes(0..65)),
            ("bytes=64-", Bytes(64..65)),
            ("bytes=65-", Unsatisfiable),
            ("bytes=0-0", Bytes(0..1)),
            ("Bytes=1-999", Bytes(1..65)),
            ("bytes=-5", Bytes(60..65)),
            ("bytes=-99", Bytes(0..65)),
            ("bytes=-0", Unsatisfiable),
            ("bytes=70-80", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=0-99999999999999999999", Bytes(0..65)),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=a-b", Whole),
            ("lines=0-1", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=+1-2", Whole),
            ("bytes", Whole),
        ] {
            assert_eq!(of(range, 65), expected, "{range}");
        }
        assert_eq!(of("bytes=0-", 0), Unsatisfiable);
        assert_eq!(of("bytes=-5", 0), Whole);
    }

    #[test]
    fn if_range_wants_the_very_tag() {
        let of = |tag: &str| part(&headers(&[(RANGE, "bytes=5-"), (IF_RANGE, tag)]), &ETAG, 65);
        assert_eq!(of("\"0a0b0c0d-65\""), Part::Bytes(5..65));
        for tag in ["\"0a0b0c0d-64\"", "W/\"0a0b0c0d-65\"", "Sun, 25 Feb 2018 14:00:51 GMT"] {
            assert_eq!(of(tag), Part::Whole, "{tag}");
        }
    }

    #[test]
    fn browsers_prefer_html_and_programs_do_not() {
        let prefers = |accept: &str| prefers_html(&headers(&[(ACCEPT, accept)]));
        assert!(prefers("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(prefers("TEXT/HTML"));
        for accept in [
            "*/*",
            "text/plain",
            "text/*",
            "text/html;q=0.5, text/plain",
            "application/json",
            "text/html;q=x",
        ] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_log(range in "bytes=[0-9]{0,20}-[0-9]{0,20}", length in 0..200u64) {
            if let Part::Bytes(part) = part(&headers(&[(RANGE, &range)]), &ETAG, length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }

        #[test]
        fn no_header_makes_this_panic(value in "[ -~]{0,40}") {
            let fields = headers(&[(IF_MATCH, &value), (IF_NONE_MATCH, &value), (RANGE, &value), (ACCEPT, &value)]);
            let _ = (condition(&fields, &ETAG), part(&fields, &ETAG, 65), prefers_html(&fields));
        }
    }
}
