//! The command line: syntax only, nothing is opened or looked up.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

/// What `--help` prints.
pub const HELP: &str = "\
catchat: chat rooms that you can cat

Usage: catchat [serve] [--listen ADDR] [--store STORE] [--name NAME]
       catchat health [URL]
       catchat copy FROM TO

Any URL is a room: open http://127.0.0.1:8080/tea in a browser, or
  curl -d username=omri -d message='hi everybody!' http://127.0.0.1:8080/chat/tea
  curl http://127.0.0.1:8080/chat/tea

Commands:
  serve          Run the server (the default). Stops on SIGTERM and SIGINT.
  health [URL]   Exit 0 if the server at URL works, else 1.
                 The default is http://ADDR/-/health.
  copy FROM TO   Copy all rooms from one store to another, byte for byte, so that
                 clients go on with their cursors. FROM may be in use: what it
                 gets meanwhile, or a copy that was stopped has missed, comes
                 when it is run again. A room whose log in TO is not how the one
                 in FROM begins is left alone and named; then it exits 1.
                 Both are given as to --store.

Options:
  -l, --listen ADDR  Address and port to listen on; port 0 takes a free one.
                     Default: 127.0.0.1:8080. Environment: CATCHAT_LISTEN
  -s, --store STORE  The directory that holds one log file a room, or
                     mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=MODE
                     (built with --features mysql), or @FILE that holds one of
                     these. Several servers may share it.
                     Default: ./data. Environment: CATCHAT_STORE, or
                     CATCHAT_STORE_FILE, the name of such a file
  -n, --name NAME    The server's name, as pages and the Server-Name header
                     show it, and no other server of the store has it.
                     Default: the first free one of alpha, bravo, charlie …,
                     to which it also changes where another server took NAME
                     while this one was cut off from a database.
                     Environment: CATCHAT_NAME
  -h, --help         Print this help.
  -V, --version      Print the version.
";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Ask a server whether it works.
    Health(Option<String>),
    /// Copy all rooms from one store to another.
    Copy(CopyArgs),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The options of `serve` that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeArgs {
    /// `--listen`
    pub listen: Option<String>,
    /// `--store`
    pub store: Option<OsString>,
    /// `--name`
    pub name: Option<String>,
}

/// The stores that were given to `copy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyArgs {
    /// Where the rooms are.
    pub from: OsString,
    /// Where they are copied to.
    pub to: OsString,
}

/// Reads the command line without the program's name. The error is one line.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(args);
    let mut serve = ServeArgs::default();
    let mut words = Vec::new();
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('l') | Arg::Long("listen") => {
                serve.listen = Some(text(&mut parser, "--listen")?)
            }
            Arg::Short('n') | Arg::Long("name") => serve.name = Some(text(&mut parser, "--name")?),
            Arg::Short('s') | Arg::Long("store") => {
                serve.store = Some(parser.value().map_err(|_| "--store needs a value".to_owned())?);
            }
            Arg::Value(word) => words.push(word),
            unknown => return Err(unknown.unexpected().to_string()),
        }
    }
    let no_options = serve == ServeArgs::default();
    // What is no path is text.
    let texts: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    match texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>()[..] {
        [] | ["serve"] => Ok(Command::Serve(serve)),
        ["health"] if no_options => Ok(Command::Health(None)),
        ["health", url] if no_options => Ok(Command::Health(Some(url.to_owned()))),
        ["health", ..] => Err("health takes one URL at the most, and no options".to_owned()),
        ["copy", ..] => match (&words[1..], no_options) {
            ([from, to], true) => {
                Ok(Command::Copy(CopyArgs { from: from.clone(), to: to.clone() }))
            }
            _ => Err("copy takes two stores, FROM and TO, and no options".to_owned()),
        },
        ["serve", extra, ..] => {
            Err(format!("unexpected argument {extra:?}: serve takes options only"))
        }
        [unknown, ..] => {
            Err(format!("unknown command {unknown:?}: there are serve, health and copy"))
        }
    }
}

fn text(parser: &mut Parser, option: &str) -> Result<String, String> {
    let value = parser.value().map_err(|_| format!("{option} needs a value"))?;
    value.string().map_err(|_| format!("the value of {option} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_and_options() {
        assert_eq!(parsed("").unwrap(), Command::Serve(ServeArgs::default()));
        let serve = ServeArgs {
            listen: Some("[::]:80".into()),
            store: Some("x".into()),
            name: Some("n".into()),
        };
        assert_eq!(parsed("serve --listen=[::]:80 -s x -nn").unwrap(), Command::Serve(serve));
        assert_eq!(parsed("health http://a/").unwrap(), Command::Health(Some("http://a/".into())));
        let copy = CopyArgs { from: "a".into(), to: "mysql://b/c".into() };
        assert_eq!(parsed("copy a mysql://b/c").unwrap(), Command::Copy(copy));
        assert_eq!(parsed("--version --bad").unwrap(), Command::Version);
        assert_eq!(parsed("serve -h").unwrap(), Command::Help);
    }

    #[test]
    fn a_mistake_is_named() {
        for (line, named) in [
            ("--port 80", "--port"),
            ("--listen", "--listen"),
            ("-n", "--name"),
            ("start", "start"),
            ("health a b", "health"),
            ("health --name x", "health"),
            ("serve x", "\"x\""),
            ("copy", "FROM"),
            ("copy a", "FROM"),
            ("copy a b c", "FROM"),
            ("copy --name x a b", "copy"),
            ("--help=1 --x", "--help"),
        ] {
            if let Err(error) = parsed(line) {
                assert!(error.contains(named) && !error.contains('\n'), "{line}: {error}");
            } else {
                assert_eq!(line, "--help=1 --x");
            }
        }
    }
}
