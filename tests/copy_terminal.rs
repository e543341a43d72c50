//! What a copy shows: on a terminal a bar that is drawn anew in one place and is gone at the end, and
//! elsewhere only lines.

mod common;

use common::dir::TempDir;
use common::server::catchat;
use common::store::Store;
use common::{DEADLINE, eventually, output_within, tool_command};
use std::fs::{self, File};
use std::io::Read;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

/// As wide as most terminals are.
const COLUMNS: usize = 80;

/// Goes to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Lines of a room that makes the bar long, and how long each is.
const LINES: usize = 300;
const LINE_BYTES: usize = 9_000;

const HELD: &[u8] = b"[2018-02-25 14:00:51] omri: one\n[2018-02-25 14:00:52] omri: two\n";
const OTHER: &[u8] = b"[2018-02-25 14:00:51] omri: another log\n";

/// A store with three rooms, and a directory with another log of one and a part of another.
fn stores() -> (Store, TempDir) {
    let (from, to) = (Store::new(), TempDir::new());
    from.fill_lines("large", LINES, LINE_BYTES);
    for (room, log) in [("held", &HELD[..32]), ("other", OTHER)] {
        from.fill(room, HELD);
        fs::write(to.file(&format!("{room}.log")), log).expect("written");
    }
    (from, to)
}

/// What is left on a terminal that was sent this: its rows.
fn shown(sent: &str) -> Vec<String> {
    let (mut rows, mut column, mut wraps) = (vec![Vec::new()], 0, true);
    let mut rest = sent.chars();
    while let Some(next) = rest.next() {
        let last = rows.len() - 1;
        match next {
            '\r' => column = 0,
            '\n' => rows.push(Vec::new()),
            '\x1b' => {
                let sequence: String = rest.by_ref().take_while(|c| !c.is_alphabetic()).collect();
                let all = sent.len() - rest.as_str().len();
                match (sequence.as_str(), &sent[all - 1..all]) {
                    ("[", "K") => rows[last].truncate(column),
                    ("[?7", "l") => wraps = false,
                    ("[?7", "h") => wraps = true,
                    (sequence, end) => panic!("what is {sequence}{end}?"),
                }
            }
            letter => {
                if column == COLUMNS && wraps {
                    rows.push(Vec::new());
                    column = 0;
                }
                column = column.min(COLUMNS - 1);
                let row = rows.last_mut().expect("a row");
                row.truncate(column);
                row.push(letter);
                column += 1;
            }
        }
    }
    rows.into_iter().map(String::from_iter).collect()
}

/// The bars in what was sent, as they were drawn one after the other.
fn bars(sent: &str) -> Vec<&str> {
    let bar = |drawn: &str| drawn.find("[#").or_else(|| drawn.find("[."));
    let drawn = sent.split(CLEAR).filter_map(|drawn| drawn[bar(drawn)?..].split('\x1b').next());
    drawn.filter(|drawn| drawn.contains(" rooms, ")).collect()
}

/// Runs a copy on a terminal while a room of it is held up until the bar was drawn several times;
/// gives its exit code and what the terminal was sent.
fn on_a_terminal(from: &Store, to: &TempDir) -> (Option<i32>, String) {
    let held = File::open(to.file("held.log")).expect("the log");
    held.lock().expect("locked");
    let program = catchat().get_program().to_owned();
    let mut script = tool_command("script");
    script.args(["--quiet", "--return", "--command", "\"$PROGRAM\" copy \"$FROM\" \"$TO\""]);
    script.arg("/dev/null").stdout(Stdio::piped()).env("SHELL", "/bin/sh");
    script.env("PROGRAM", program).env("FROM", from).env("TO", to);
    let mut child = script.spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("its output");
    let sent = Arc::new(Mutex::new(String::new()));
    let said = Arc::clone(&sent);
    let reading = thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut piece) {
            let text = std::str::from_utf8(&piece[..count]).expect("ASCII");
            said.lock().expect("no panic while locked").push_str(text);
        }
    });
    let sent = || sent.lock().expect("no panic while locked").clone();
    eventually("the bar is drawn again and again", || {
        bars(&sent()).iter().filter(|bar| bar.contains(" 2 of 3 rooms, ")).count() >= 3
    });
    drop(held);
    eventually("it ends", || child.try_wait().expect("its state").is_some());
    reading.join().expect("read");
    (child.wait().expect("its end").code(), sent())
}

/// The bar stays in its row, also where it is longer than that, what is said stands above it, and at
/// the end it is gone.
#[test]
fn bar() {
    let (from, to) = stores();
    let (code, sent) = on_a_terminal(&from, &to);
    assert_eq!(code, Some(1), "{sent:?}");
    let bars = bars(&sent);
    assert!(bars.iter().any(|bar| bar.len() > COLUMNS), "{bars:#?}");
    let percent = |bar: &&str| bar[26..].split('%').next()?.trim().parse::<u32>().ok();
    let percent: Vec<u32> = bars.iter().map(|bar| percent(bar).expect("a number")).collect();
    assert!(percent.is_sorted() && percent.iter().all(|&percent| percent <= 100), "{percent:?}");
    for (end, _) in sent.match_indices(CLEAR) {
        let rows = shown(&sent[..end]);
        let drawn = rows.iter().filter(|row| row.starts_with('[')).count();
        assert!(
            drawn <= 1 && rows[..rows.len() - 1].iter().all(|row| !row.contains('#')),
            "{rows:#?}"
        );
    }
    let rows = shown(&sent);
    let end = rows.iter().position(|row| row.starts_with("catchat: 3 rooms")).expect("the end");
    let (said, last) = (rows[..end].concat(), rows[end..].concat());
    assert!(said.starts_with("catchat: room other: not copied: TO has another log"), "{rows:#?}");
    assert!(last.contains("rooms, 1 of them not to the end: copied 301 lines, "), "{rows:#?}");
    assert!(last.ends_with(" MB/s") && !(said + &last).contains(['[', '#']), "{rows:#?}");
    assert_eq!(rows.last().map(String::as_str), Some(""), "the prompt has a row of its own");
}

/// Where nobody looks there is nothing but lines.
#[test]
fn no_terminal() {
    let (from, to) = stores();
    let output = output_within(catchat().arg("copy").arg(&from).arg(&to), DEADLINE);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()), "{said}");
    assert!(said.lines().all(|line| line.starts_with("catchat: ")), "{said}");
    assert!(said.ends_with('\n') && !said.replace('\n', "").contains(char::is_control), "{said:?}");
}
