//! The command line: the program run to its end, and what it then said.

use super::dir::TempDir;
use super::server::catchat;
use super::{DEADLINE, output_within};
use std::process::Output;

/// Runs the binary to its end; a server that starts instead would never end, so none does.
pub fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let dir = TempDir::new(); // Where nothing is given, `./data` shall not land in the tree.
    let mut command = catchat();
    output_within(command.args(args).envs(env.iter().copied()).current_dir(&*dir), DEADLINE)
}

/// Checks an exit code and that standard error is one line that says all of `says`; gives it.
pub fn fails(args: &[&str], env: &[(&str, &str)], code: i32, says: &[&str]) -> String {
    let output = run(args, env);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{args:?} {env:?}: {said}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {said:?}"));
    assert!(line.starts_with("catchat: "), "{line:?}");
    assert!(!line.chars().any(char::is_control), "more than one line: {said:?}");
    for word in says {
        assert!(line.contains(word), "{line:?} does not say {word:?}");
    }
    assert!(output.stdout.is_empty(), "{args:?} writes to standard output");
    line.to_string()
}
