//! The fields of a posted form. Strict about bytes: what is not UTF-8 is
//! refused, never replaced.

pub mod multipart;

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::error::Error;

/// The kinds of form that are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormType {
    /// `application/x-www-form-urlencoded` (WHATWG URL, section 5).
    UrlEncoded,
    /// `multipart/form-data` with this boundary (RFC 7578).
    Multipart(String),
}

impl FormType {
    /// Reads a `Content-Type` (RFC 9110, section 8.3).
    pub fn of(content_type: &str) -> Result<FormType, Error> {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(FormType::UrlEncoded);
        }
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            return Err(Error::UnsupportedMediaType);
        }
        match multipart::parameter(parameters, "boundary") {
            Some(boundary) if (1..=70).contains(&boundary.len()) => {
                Ok(FormType::Multipart(boundary))
            }
            _ => Err(Error::bad_request(
                "multipart/form-data needs a boundary of 1 to 70 characters",
            )),
        }
    }

    /// The first field of each of these names, in their order.
    pub fn fields<'a, const N: usize>(
        &self,
        body: &'a [u8],
        names: [&'static str; N],
    ) -> Result<[Cow<'a, str>; N], Error> {
        let mut found = [const { None }; N];
        let mut keep = |name: &[u8], value: Cow<'a, [u8]>| {
            if let Some(at) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                found[at].get_or_insert(value);
            }
        };
        match self {
            FormType::UrlEncoded => url_encoded(body, &mut keep),
            FormType::Multipart(boundary) => {
                let broken = "multipart/form-data is broken: parts are divided by the boundary and the last one ends with --";
                multipart::parts(body, boundary, |name, value| keep(name.as_bytes(), value.into()))
                    .map_err(|_| Error::bad_request(broken))?;
            }
        }
        let mut texts = [const { Cow::Borrowed("") }; N];
        for ((text, value), name) in texts.iter_mut().zip(found).zip(names) {
            let value = value.ok_or_else(|| {
                Error::BadRequest(format!("the form field {name} is missing").into())
            })?;
            *text = utf8(value).ok_or_else(|| {
                Error::BadRequest(format!("the form field {name} is not UTF-8").into())
            })?;
        }
        Ok(texts)
    }
}

fn utf8(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Takes `a=b&c=d` apart. A `%` that begins no escape stands for itself.
fn url_encoded<'a>(body: &'a [u8], keep: &mut impl FnMut(&[u8], Cow<'a, [u8]>)) {
    for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        keep(&decode(name), decode(value));
    }
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    match memchr::memchr(b'%', &spaced) {
        Some(_) => Cow::Owned(percent_decode(&spaced).collect()),
        None => Cow::Owned(spaced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(body: &[u8]) -> Result<[String; 2], Error> {
        let form = FormType::UrlEncoded.fields(body, ["username", "message"]);
        form.map(|fields| fields.map(Cow::into_owned))
    }

    #[test]
    fn a_form_as_browsers_and_people_write_it() {
        assert_eq!(
            fields(b"username=a+b&x=1&message=%C3%A9%26%3D&message=2").unwrap(),
            ["a b", "é&="]
        );
        assert_eq!(fields(b"message=100%+sure%&username=%zz").unwrap(), ["%zz", "100% sure%"]);
        assert_eq!(fields(b"&&username&message==").unwrap(), ["", "="]);
    }

    #[test]
    fn what_is_missing_or_no_text_is_refused() {
        for body in [
            &b""[..],
            b"username=a",
            b"message=a",
            b"username=a&message=%FF",
            b"username=\xff&message=a",
        ] {
            assert!(fields(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn content_types() {
        assert_eq!(
            FormType::of("Application/X-WWW-Form-URLencoded ; charset=UTF-8").unwrap(),
            FormType::UrlEncoded
        );
        assert_eq!(
            FormType::of("multipart/form-data; boundary=\"a b\"").unwrap(),
            FormType::Multipart("a b".into())
        );
        assert!(matches!(FormType::of("text/plain"), Err(Error::UnsupportedMediaType)));
        assert!(matches!(FormType::of("multipart/form-data"), Err(Error::BadRequest(_))));
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(name in "\\PC{0,20}", message in "(?s).{0,40}") {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let body = format!("username={}&message={}", encode(&name), encode(&message));
            prop_assert_eq!(fields(body.as_bytes()).unwrap(), [name, message]);
        }
    }
}
