//! `catchat health`: asks a server whether it works, for containers without curl.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long each step may take.
const WAIT: Duration = Duration::from_secs(3);
/// How much of the answer is looked at, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The URL of the server that listens on this address of this machine.
pub fn url_of(listen: &str) -> String {
    // An address that stands for all is asked on this machine.
    let local = match (listen.strip_prefix("0.0.0.0:"), listen.strip_prefix("[::]:")) {
        (Some(port), _) => format!("127.0.0.1:{port}"),
        (_, Some(port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    };
    format!("http://{local}/-/health")
}

/// Asks; the error is one line that says what is wrong.
pub fn check(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url}: only http:// URLs can be asked"))?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, "/-/health".to_owned()),
    };
    let answer = ask(authority, &path).map_err(|error| format!("{url}: {error}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return Ok(());
    }
    let sentence = answer.lines().last().unwrap_or_default();
    Err(format!("{url}: status {status}: {sentence}"))
}

fn ask(authority: &str, path: &str) -> io::Result<String> {
    let with_port = if authority.rsplit(']').next().unwrap_or_default().contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in with_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WAIT) {
            Ok(socket) => return exchange(socket, authority, path),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn exchange(mut socket: TcpStream, authority: &str, path: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_asked_on_this_machine() {
        assert_eq!(url_of("0.0.0.0:8080"), "http://127.0.0.1:8080/-/health");
        assert_eq!(url_of("[::]:80"), "http://[::1]:80/-/health");
        assert_eq!(url_of("10.0.0.0:80"), "http://10.0.0.0:80/-/health");
        assert_eq!(url_of("localhost:80"), "http://localhost:80/-/health");
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        assert!(check("https://localhost").unwrap_err().contains("http://"));
        assert!(check("http://127.0.0.1:1/").unwrap_err().starts_with("http://127.0.0.1:1/: "));
    }
}
