//! The last lines of a room of very many, which somebody asks for again and again.

mod common;

use common::database::{DatabaseServer, OwnServer};
use common::server::Server;
use common::store::Store;

const LINES: usize = 20_000;
const LINE_BYTES: usize = 60;

/// The most lines that one statement may count.
const COUNTED_MAX: usize = 5_000;

/// How many lines were counted by each statement since the last look.
fn counted(own: &OwnServer) -> Vec<usize> {
    let asked = "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
        WHERE command_type = 'Execute' AND argument LIKE '%OFFSET%'";
    let server = DatabaseServer::at(&own.url);
    let asked = server.query(&format!("{asked}; TRUNCATE mysql.general_log")).expect("its log");
    let offset = |line: &str| line.rsplit(' ').next().expect("a number").parse::<usize>();
    asked.lines().map(|line| offset(line).expect("an offset") + 1).collect()
}

/// A tail of a large room was one statement that counted all its lines: six of them, each some
/// seconds long, and nobody read anything else. One of more lines than there are bytes asked, too.
#[test]
fn counts_in_short_steps() {
    let own = OwnServer::start();
    let store = Store::at(&own.url);
    store.fill_lines("room", LINES, LINE_BYTES);
    let server = Server::on(&store);
    let server_of_all = DatabaseServer::at(&own.url);
    let log = "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1";
    server_of_all.query(log).expect("it logs");
    for (tail, steps) in [(LINES - 1, 4..=8), (2 * LINES, 4..=8), (LINES * LINE_BYTES, 0..=0)] {
        let answer = server.head(&format!("/chat/room?tail={tail}"));
        let bytes = tail.min(LINES) * LINE_BYTES;
        assert_eq!(answer.header("content-length"), Some(bytes.to_string().as_str()));
        let counted = counted(&own);
        assert!(steps.contains(&counted.len()), "{tail}: {counted:?}");
        assert!(counted.iter().all(|&lines| lines <= COUNTED_MAX), "{tail}: {counted:?}");
    }
}
