//! What every test file shares: a server to talk to, a client to talk with, and what to expect.
#![allow(dead_code)] // Each test file is a crate of its own and uses only a part of this.

pub mod check;
pub mod client;
pub mod dir;
pub mod server;

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should come at once: generous, for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

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
