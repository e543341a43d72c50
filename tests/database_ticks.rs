//! What a server asks of its database while somebody watches, which is one question for all rooms
//! about five times a second; and while nobody does, which is nothing.

mod common;

use common::eventually;
use common::faults::proxied;
use common::live::Live;
use common::proxy::Proxy;
use common::server::Server;
use std::time::{Duration, Instant};

/// The question which rooms have changed.
const QUESTION: &str = "FROM rooms WHERE changed > NOW(6)";

/// What a server says of itself every two seconds, on a connection of its own.
const RENEWAL: &str = "UPDATE servers SET seen";

/// How many questions are counted, and how long they take: they are 200 ms apart, and later on a
/// busy machine.
const QUESTIONS: usize = 8;
const AT_LEAST: Duration = Duration::from_millis(1_250);
const AT_MOST: Duration = Duration::from_secs(6);

const MANY: usize = 300;

/// How many statements went through that are about rooms or lines, and which of these are the
/// question.
fn asked(proxy: &Proxy) -> (usize, usize) {
    let statements = proxy.statements();
    let count = |is_counted: &dyn Fn(&str) -> bool| {
        let counted = statements.iter().filter(|(text, _)| is_counted(text));
        counted.map(|(_, count)| count).sum()
    };
    let about = |text: &str| text.contains("rooms") || text.contains("messages");
    (count(&about), count(&|text| text.contains(QUESTION)))
}

/// Checks that the question is asked as often as it should be, and nothing else is.
fn is_asked_steadily(proxy: &Proxy, rooms: usize) {
    let now = asked(proxy).1;
    eventually("a question", || asked(proxy).1 > now + 1);
    let (start, (all, questions)) = (Instant::now(), asked(proxy));
    eventually("more questions", || asked(proxy).1 >= questions + QUESTIONS);
    let took = start.elapsed();
    let (all_now, questions_now) = asked(proxy);
    assert!((AT_LEAST..=AT_MOST).contains(&took), "{QUESTIONS} for {rooms} rooms in {took:?}");
    assert_eq!(all_now - all, questions_now - questions, "{:#?}", proxy.statements());
}

/// Checks that nothing is asked from one sign of life to the next, which is ten times as long as
/// between two questions.
fn is_asked_nothing(proxy: &Proxy) {
    let renewed = || {
        let now = proxy.asked(RENEWAL);
        eventually("a sign of life", || proxy.asked(RENEWAL) > now);
    };
    renewed();
    let before = asked(proxy);
    renewed();
    assert_eq!(asked(proxy), before, "{:#?}", proxy.statements());
}

/// Streams of so many rooms, from their ends on.
fn watch(server: &Server, rooms: usize) -> Vec<Live> {
    let target = |number| format!("/chat/room-{number}?tail=0");
    (0..rooms).map(|number| Live::events(server, &target(number), &[])).collect()
}

fn nobody_watches(server: &Server) {
    eventually("no stream is open", || server.metric("catchat_streams") == 0.0);
}

/// The question for many rooms takes one statement as it does for one, and nobody's costs nothing.
#[test]
fn one_question_for_all() {
    let (database, proxy, url) = proxied();
    let (server, other) = (Server::on(&url), Server::on(database.url()));
    let rooms: Vec<String> = (0..MANY).map(|number| format!("('room-{number}')")).collect();
    database.query(&format!("INSERT INTO rooms (name) VALUES {}", rooms.join(", ")));
    other.say("room-0", "omri", "hi");
    for rooms in [1, MANY] {
        let streams = watch(&server, rooms);
        is_asked_steadily(&proxy, rooms);
        drop(streams);
        nobody_watches(&server);
    }
    is_asked_nothing(&proxy);
    let mut streams = watch(&server, 1);
    let posted = other.say("room-0", "omri", "somebody watches again");
    streams[0].expect_line(&posted.line);
}
