//! The contract's section Posting exactly once: connections cut at any point of the exchange.

mod common;

use common::client::Client;
use common::poster::{Poster, each_once};
use common::random::Random;
use common::server::{FORM, Server};
use common::store::Store;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

const LOG: &str = "/chat/room";

fn request(poster: &Poster, message: &str) -> Vec<u8> {
    let body = poster.body(message);
    let head = format!(
        "POST {LOG} HTTP/1.1\r\nHost: x\r\n{}: {}\r\nContent-Length: {}\r\n\r\n",
        FORM.0,
        FORM.1,
        body.len()
    );
    (head + &body).into_bytes()
}

/// How a connection is cut.
#[derive(Clone, Copy)]
enum Cut {
    /// In order, both ways.
    Close,
    /// By a reset.
    Reset,
    /// Only nothing more is sent.
    HalfClose,
}

/// Sends the first bytes of a request, reads so many bytes of the answer, and cuts the connection.
fn cut_off(to: SocketAddr, request: &[u8], sent: usize, read: usize, cut: Cut) {
    let mut client = Client::connect(to);
    client.send(&request[..sent.min(request.len())]);
    let mut answer = vec![0; read];
    client.stream.read_exact(&mut answer).expect("a part of the answer");
    match cut {
        Cut::Close => {}
        Cut::HalfClose => drop(client.stream.shutdown(Shutdown::Write)),
        Cut::Reset => {
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("a reset");
        }
    }
}

/// Cut after every single byte of the request, and repeated at once on either server: once each.
#[test]
fn after_every_byte_of_the_request() {
    let store = Store::new();
    let servers = [Server::on(&store), Server::on(&store)];
    let addresses = || servers.iter().map(|server| server.address).collect::<Vec<_>>();
    let mut random = Random::new();
    let mut poster = Poster::new("omri");
    let mut count = 0;
    for sent in 0.. {
        let message = format!("line {count}");
        let request = request(&poster, &message);
        if sent > request.len() + 20 {
            break;
        }
        let cut = *random.of(&[Cut::Close, Cut::Reset, Cut::HalfClose]);
        cut_off(*random.of(&addresses()), &request, sent, 0, cut);
        poster.post(addresses, "room", &message, &mut random);
        count += 1;
    }
    each_once(&store.log("room"), &["omri"], count, |number| format!("line {number}"));
}

/// Cut after every few bytes of the answer, and repeated: each was stored, and is found.
#[test]
fn in_the_middle_of_the_answer() {
    let store = Store::new();
    let servers = [Server::on(&store), Server::on(&store)];
    let addresses = || servers.iter().map(|server| server.address).collect::<Vec<_>>();
    let mut random = Random::new();
    let mut poster = Poster::new("omri");
    let count = 150;
    for number in 0..count {
        let message = format!("line {number}");
        let request = request(&poster, &message);
        let cut = *random.of(&[Cut::Close, Cut::Reset, Cut::HalfClose]);
        cut_off(*random.of(&addresses()), &request, request.len(), 1 + number, cut);
        poster.post(addresses, "room", &message, &mut random);
    }
    assert_eq!(poster.found, count, "who has read of an answer finds the line");
    each_once(&store.log("room"), &["omri"], count, |number| format!("line {number}"));
}

/// Several posters whose connections are cut anywhere, all at once, on three servers.
#[test]
fn many_at_once() {
    let store = Store::new();
    let servers: Vec<Server> = (0..3).map(|_| Server::on(&store)).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let mut random = Random::new();
    let (names, count) = (["anna", "ben", "cleo", "dan", "eve", "finn"], 80);
    thread::scope(|scope| {
        for name in names {
            let (addresses, mut random) = (&addresses, random.fork());
            scope.spawn(move || {
                let mut poster = Poster::new(name);
                for number in 0..count {
                    let message = format!("line {number}");
                    let request = request(&poster, &message);
                    for _ in 0..random.in_range(1..4) {
                        let sent = random.in_range(request.len() / 2..request.len() * 2);
                        cut_off(*random.of(addresses), &request, sent, 0, Cut::Reset);
                    }
                    poster.post(|| addresses.clone(), "room", &message, &mut random);
                }
            });
        }
    });
    each_once(&store.log("room"), &names, count, |number| format!("line {number}"));
}

/// A server is killed right after it was sent a post, at another moment each time; the repeat
/// goes to another one, at once: each message stands once.
#[test]
fn killed_in_mid_commit() {
    let store = Store::new();
    let other = Server::on(&store);
    let mut server = Server::on(&store);
    let mut random = Random::new();
    let mut poster = Poster::new("omri");
    let count = 60;
    for number in 0..count {
        let message = format!("line {number} {}", "x".repeat(number * 50));
        let request = request(&poster, &message);
        let mut client = server.connect();
        // Spread over the few hundred microseconds that a commit takes.
        let spins = random.in_range(0..60_000);
        client.stream.write_all(&request).expect("sent");
        std::hint::black_box((0..spins).map(std::hint::black_box).sum::<usize>());
        server.kill();
        if number % 2 == 0 {
            server = Server::on(&store);
            poster.post(|| vec![server.address], "room", &message, &mut random);
        } else {
            poster.post(|| vec![other.address], "room", &message, &mut random);
            server = Server::on(&store);
        }
    }
    println!("{} of {count} were stored before the server died", poster.found);
    let message = |number: usize| format!("line {number} {}", "x".repeat(number * 50));
    each_once(&store.log("room"), &["omri"], count, message);
}
