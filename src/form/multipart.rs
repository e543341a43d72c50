//! `multipart/form-data` (RFC 7578) of a body that is in memory: as much of it as
//! two short text fields need.

use memchr::memmem;

/// The body is not of the form that its boundary promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Calls `part` with the name and the content of each part. A part without a
/// name is no part of a form (RFC 7578, section 4.2).
///
/// Line ends are CRLF and the last boundary ends with `--` (RFC 2046, section 5.1.1).
pub fn parts<'a>(
    body: &'a [u8],
    boundary: &str,
    mut part: impl FnMut(String, &'a [u8]),
) -> Result<(), Broken> {
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    // The first boundary has no line end before it when the body begins with it.
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => after(body, &finder, delimiter.len())?.1,
    };
    while !rest.starts_with(b"--") {
        let padding = rest.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
        let (whole, next) = after(&rest[padding..], &finder, delimiter.len())?;
        // The boundary's line end counts, so that a part may have no headers.
        if !whole.starts_with(b"\r\n") {
            return Err(Broken);
        }
        let end = memmem::find(whole, b"\r\n\r\n").ok_or(Broken)?;
        let headers = std::str::from_utf8(&whole[..end]).map_err(|_| Broken)?;
        part(name(headers).ok_or(Broken)?, &whole[end + 4..]);
        rest = next;
    }
    Ok(())
}

/// What stands before the next delimiter, and what after it.
fn after<'a>(
    bytes: &'a [u8],
    finder: &memmem::Finder<'_>,
    length: usize,
) -> Result<(&'a [u8], &'a [u8]), Broken> {
    let at = finder.find(bytes).ok_or(Broken)?;
    Ok((&bytes[..at], &bytes[at + length..]))
}

/// The name in a part's `Content-Disposition: form-data; name="..."`.
fn name(headers: &str) -> Option<String> {
    // A line end that is not CRLF is read in one way here and in another elsewhere.
    if headers.split("\r\n").any(|line| line.contains(['\r', '\n'])) {
        return None;
    }
    let value = headers.split("\r\n").find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (kind, parameters) = value.split_once(';')?;
    kind.trim().eq_ignore_ascii_case("form-data").then(|| parameter(parameters, "name"))?
}

/// The value of a parameter, as a token or a quoted string (RFC 9110, section 5.6.6).
pub fn parameter(mut parameters: &str, wanted: &str) -> Option<String> {
    loop {
        parameters = parameters.trim_start_matches([' ', '\t', ';']);
        let (name, rest) = parameters.split_once('=')?;
        let (value, rest) = value(rest)?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        parameters = rest;
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let token = token.trim_end();
        return (!token.contains([' ', '\t', '"'])).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = Vec<(String, Vec<u8>)>;

    fn ours(body: &[u8], boundary: &str) -> Result<Parts, Broken> {
        let mut found = Vec::new();
        parts(body, boundary, |name, content| found.push((name, content.to_vec())))?;
        Ok(found)
    }

    /// What multer, a parser in wide use, makes of the same body.
    fn theirs(body: &[u8], boundary: &str) -> Result<Parts, multer::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut found = Vec::new();
            let mut form = multer::Multipart::with_reader(body, boundary);
            while let Some(field) = form.next_field().await? {
                let name = field.name().map(str::to_owned);
                let content = field.bytes().await?.to_vec();
                found.extend(name.map(|name| (name, content)));
            }
            Ok(found)
        })
    }

    fn form(fields: &[(String, Vec<u8>)], boundary: &str) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in fields {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            body.extend(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n")
                    .bytes(),
            );
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        body
    }

    #[test]
    fn a_form_as_curl_sends_it() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nomri\r\n\
            --X\r\nContent-Type: text/plain\r\ncontent-disposition: Form-Data; filename=\"a;name=b\"; name=message\r\n\r\nhi\r\n\r\n--\r\n\
            --X--\r\nepilogue";
        let found = ours(body, "X").unwrap();
        assert_eq!(
            found,
            [("username".into(), b"omri".to_vec()), ("message".into(), b"hi\r\n\r\n--".to_vec())]
        );
    }

    #[test]
    fn what_is_broken_is_refused() {
        for body in [
            "",
            "--X",
            "--Y--",
            "--X\r\n",
            "--X\r\n\r\nunended",
            "--X\r\n\r\nno name\r\n--X--",
            "--X\r\nno end of headers\r\n--X--",
            "--X\n\nbare line feeds\n--X--",
        ] {
            assert_eq!(ours(body.as_bytes(), "X"), Err(Broken), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn a_form_reads_back_and_multer_reads_the_same(
            fields in prop::collection::vec(("[a-zA-Z0-9 _.éß-]{1,12}", prop::collection::vec(any::<u8>(), 0..60)), 0..5),
            boundary in "[0-9a-zA-Z'+_,./:=?-]{8,40}",
        ) {
            let body = form(&fields, &boundary);
            prop_assert_eq!(&ours(&body, &boundary).unwrap(), &fields);
            prop_assert_eq!(&theirs(&body, &boundary).unwrap(), &fields);
        }

        #[test]
        fn where_both_read_a_mangled_form_they_read_the_same(
            fields in prop::collection::vec(("[a-z]{1,4}", prop::collection::vec(prop::sample::select(&b"-X\r\n:;a\""[..]), 0..20)), 1..4),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"-X\r\n:;a\" "[..])), 0..4),
        ) {
            let mut body = form(&fields, "XX");
            for (at, byte) in cuts {
                let at = at.index(body.len());
                body[at] = byte;
            }
            // multer takes any boundary for the first one, also within a line.
            prop_assume!(body.starts_with(b"--XX"));
            if let (Ok(ours), Ok(theirs)) = (ours(&body, "XX"), theirs(&body, "XX")) {
                prop_assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&body).escape_debug());
            }
        }

        #[test]
        fn no_body_makes_parsing_panic(body in prop::collection::vec(prop::sample::select(&b"-X\r\n:;=\"\\ na"[..]), 0..80), header in ".{0,40}") {
            let _ = ours(&body, "X");
            let _ = parameter(&header, "name");
        }
    }
}
