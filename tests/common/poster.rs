//! A poster that repeats each message until it is answered, as the contract lets it.

use super::DEADLINE;
use super::check::parse_line;
use super::client::{Client, is_timeout};
use super::live::unquoted;
use super::random::Random;
use super::screen::AGAIN_AFTER;
use super::server::{FORM, form};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

/// Posts each message exactly once, on servers that come and go.
pub struct Poster {
    pub username: String,
    /// The newest cursor that it has seen.
    pub after: String,
    /// How often a repeat found its line.
    pub found: usize,
    /// Whether the store may be away for a while: then a 503 is a reason to repeat.
    pub through_outages: bool,
}

impl Poster {
    /// A poster to a room that is empty.
    pub fn new(username: &str) -> Poster {
        Poster {
            username: username.to_string(),
            after: "0-0".to_string(),
            found: 0,
            through_outages: false,
        }
    }

    /// The form that is sent, again and again the same.
    pub fn body(&self, message: &str) -> String {
        format!("{}&after={}", form(&self.username, message), self.after)
    }

    /// Sends the message once; gives the stored line where there is an answer.
    pub fn try_post(&mut self, to: SocketAddr, room: &str, message: &str) -> io::Result<String> {
        let body = self.body(message);
        let target = format!("/chat/{room}");
        let mut client = Client::try_connect(to)?;
        let answer = client.try_request("POST", &target, &[FORM], body.as_bytes())?;
        if self.through_outages && answer.status == 503 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            return Err(ErrorKind::HostUnreachable.into());
        }
        assert!(matches!(answer.status, 200 | 201), "{answer:?} {:?}", answer.text());
        assert!(answer.text().ends_with(&format!("{}: {message}\n", self.username)));
        self.found += usize::from(answer.status == 200);
        self.after = unquoted(answer.etag()).to_string();
        Ok(answer.text().to_string())
    }

    /// Repeats the message on any of these servers until it is answered.
    pub fn post(
        &mut self,
        servers: impl Fn() -> Vec<SocketAddr>,
        room: &str,
        message: &str,
        random: &mut Random,
    ) -> String {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "no server takes {message:?}");
            match self.try_post(*random.of(&servers()), room, message) {
                Ok(line) => return line,
                Err(error) => assert!(!is_timeout(&error), "{error}"),
            }
            if self.through_outages {
                thread::sleep(AGAIN_AFTER);
            }
        }
    }
}

/// Checks that a log holds each of these messages of each poster once, in order.
pub fn each_once(log: &[u8], posters: &[&str], messages: usize, message: impl Fn(usize) -> String) {
    let text = std::str::from_utf8(log).expect("UTF-8");
    for poster in posters {
        let said = text.split_inclusive('\n').map(parse_line);
        let said: Vec<&str> = said.filter(|(name, _)| name == poster).map(|line| line.1).collect();
        let all: Vec<String> = (0..messages).map(&message).collect();
        assert!(said == all, "{poster} said {said:?}");
    }
}
