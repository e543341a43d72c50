//! A stream that is sent in part when the database cannot tell how it goes on: nothing comes in
//! between, and nothing makes a whole of what is torn.

mod common;

use common::live::{Live, framed};
use common::server::Server;
use common::store::Store;
use std::time::Duration;

/// A log of which a server keeps the end in memory only.
const LINES: (usize, usize) = (9_000, 1_000);

/// Longer than the time after which a stream says that it is still there.
const SILENCE: Duration = Duration::from_secs(17);

/// Ends a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A server with a large room, what a stream of it is in all, and a client that has read a part of
/// the first frame, of which the server has nothing in memory any more.
fn torn(store: &Store) -> (Server, Vec<u8>, Live) {
    store.fill_lines("room", LINES.0, LINES.1);
    let server = Server::on(store);
    let live = Live::narrow(&server, "/chat/room");
    let events = framed(&server.head("/chat/room").cursor().epoch, 0, &store.log("room"));
    // Who reads all of it makes the server forget the frames of before.
    Live::events(&server, "/chat/room", &[]).expect_bytes(&events);
    (server, events, live)
}

/// Takes the lines away from the server, or gives them back.
fn rename(store: &Store, from: &str, to: &str) {
    store.query(&format!("RENAME TABLE {from} TO {to}"));
}

/// Reads what is on its way, which ends in the middle of a frame.
fn read_what_is_there(live: &mut Live, silence: Duration) {
    live.read_until_silence(silence);
    assert!(!live.torn().is_empty(), "what came ends with a frame");
}

/// A ping came between two halves of a line: a client took the first for a ping's data, and the
/// line was lost to it.
#[test]
fn no_ping_in_the_middle() {
    let store = Store::new();
    let (_server, events, mut live) = torn(&store);
    rename(&store, "messages", "away");
    read_what_is_there(&mut live, SILENCE);
    rename(&store, "away", "messages");
    live.expect_bytes(&events);
}

/// A server that stops then ended the body as if it were whole.
#[test]
fn no_end_in_the_middle() {
    let store = Store::new();
    let (mut server, events, mut live) = torn(&store);
    rename(&store, "messages", "away");
    read_what_is_there(&mut live, Duration::from_secs(2));
    server.signal("TERM");
    let mut seen = Vec::new();
    while let Ok(piece) = live.piece() {
        seen.extend(piece.expect("no end that is said in order"));
    }
    assert!(events.starts_with(&seen) && !live.torn().ends_with(LAST_CHUNK));
    assert!(server.exit(common::DEADLINE).success());
}
