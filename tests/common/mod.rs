//! What every test file shares: a server to talk to, a client to talk with, and what to expect.
#![allow(dead_code)] // Each test file is a crate of its own and uses only a part of this.

pub mod asked;
pub mod check;
pub mod cli;
pub mod client;
pub mod database;
pub mod dir;
pub mod faults;
pub mod live;
pub mod poster;
pub mod proxy;
pub mod random;
pub mod screen;
pub mod server;
pub mod servers;
pub mod store;

use std::io::{self, Read};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should come at once: generous, for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until `condition` holds; fails with `what` when it does not within the deadline.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs an outside tool to its end; fails with a sentence that names it where it is missing.
pub fn run_tool(tool: &str, args: &[&str]) -> Output {
    let child = tool_command(tool).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.expect("a tool that was found just now").wait_with_output().expect("its output")
}

/// Runs a command to its end, which must come within this time: else it is killed.
pub fn output_within(command: &mut Command, within: Duration) -> Output {
    try_output_within(command, within).unwrap_or_else(|error| panic!("{error}"))
}

/// The same for what ends a test, which may have failed already.
pub fn try_output_within(command: &mut Command, within: Duration) -> io::Result<Output> {
    let start = Instant::now();
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = thread::spawn(move || read_all(stdout.expect("its output")));
    let stderr = thread::spawn(move || read_all(stderr.expect("its standard error")));
    while child.try_wait()?.is_none() {
        if start.elapsed() > within {
            let _ = child.kill();
            let _ = child.wait();
            let program = command.get_program();
            let said = format!("{program:?} still runs after {within:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, said));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let status = child.wait()?;
    let join = |all: thread::JoinHandle<Vec<u8>>| all.join().expect("read");
    Ok(Output { status, stdout: join(stdout), stderr: join(stderr) })
}

fn read_all(mut pipe: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    pipe.read_to_end(&mut all).expect("read");
    all
}

/// A command for an outside tool, after a look whether the tool is there at all.
pub fn tool_command(tool: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()));
    assert!(found, "this test needs the tool `{tool}`: install it (make test does where it may)");
    let mut command = Command::new(tool);
    command.stdin(Stdio::null());
    command
}

/// Says aloud that a test cannot run here, and fails where CI=true promises that it can.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "must not be skipped here: {why}");
    eprintln!("SKIPPED: {why}");
}
