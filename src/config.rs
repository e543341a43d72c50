//! What the server runs with: the command line, the environment and the
//! defaults, checked. The second step after [`crate::args`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt, fs};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{CopyArgs, ServeArgs};
use crate::rooms::OPEN_ROOMS_MAX;
#[cfg(feature = "mysql")]
use crate::store::mysql::address::Address;

/// Where the server listens by default.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Where the rooms are by default.
const DEFAULT_STORE: &str = "./data";
/// The most characters that a server's name may have.
const SERVER_NAME_CHARS_MAX: usize = 64;
/// The most connections, however many descriptors there may be: each costs memory.
const CONNECTIONS_MAX: usize = 100_000;
/// Descriptors for everything but connections and rooms, at the most.
const SPARE_DESCRIPTORS: usize = 64;
/// Connections beyond the limit that are told so at a time, at the most; the rest
/// is closed.
const REFUSALS_MAX: usize = 32;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From a connection's last answer to the end of the next request's head.
    /// Longer than a proxy in front keeps idle connections, so that it is never
    /// this server which closes one that the proxy is about to use.
    pub header: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For reading on: how long nothing of an answer is taken.
    pub write: Duration,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A directory of files.
    Directory(PathBuf),
    /// A database.
    #[cfg(feature = "mysql")]
    MySql(Box<Address>),
}

/// What a store looks like.
const FORMS: &str = "give a directory or mysql://USER:PASSWORD@HOST:PORT/DATABASE";

impl Location {
    /// Reads a store, or `@FILE` that contains it: a password on the command line is for
    /// all to see who list processes. The error is one line, and names no password.
    fn given(text: OsString) -> Result<Location, String> {
        match text.to_str().and_then(|text| text.strip_prefix('@')) {
            Some(path) if is_meant_as_url(path) => {
                Err(format!("the name of a file is to follow the @: {FORMS}"))
            }
            Some(path) => Location::in_file(path.as_ref()).map_err(|e| format!("@{path}: {e}")),
            None => Location::new(text),
        }
    }

    /// Reads what a file says, without white space around it.
    fn in_file(path: &Path) -> Result<Location, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        match text.trim() {
            "" => Err("the file is empty: it is to hold a directory or a URL".into()),
            text => Location::new(text.into()),
        }
    }

    /// Reads a path or a URL. The error is one line, and names no password.
    fn new(text: OsString) -> Result<Location, String> {
        let url = text.to_string_lossy();
        if !is_meant_as_url(&url) {
            return Ok(Location::Directory(text.into()));
        }
        match url.split_once("://") {
            #[cfg(feature = "mysql")]
            Some(("mysql", _)) => Ok(Location::MySql(Box::new(Address::new(&url)?))),
            #[cfg(not(feature = "mysql"))]
            Some(("mysql", _)) => {
                Err("this catchat is built without MySQL: build it with --features mysql".into())
            }
            // What has other characters may be the beginning of a password.
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(format!("{scheme}:// is an unknown kind of store: {FORMS}"))
            }
            _ => Err(format!("an unknown kind of store: {FORMS}")),
        }
    }
}

/// Whether this is a URL, or one with a mistake in it, which shall not make a directory
/// that is called like the password. What begins like a path is one.
fn is_meant_as_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_kind = |kind| {
        let rest = lower.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(':') || rest.starts_with("//"))
    };
    let has_login = || text.split_once(':').is_some_and(|(_, rest)| rest.contains('@'));
    text.contains("://")
        || (!text.starts_with(['/', '.'])
            && (["mysql", "mariadb"].iter().any(is_kind) || has_login()))
}

impl fmt::Display for Location {
    /// Shows no user and no password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => path.display().fmt(out),
            #[cfg(feature = "mysql")]
            Location::MySql(address) => address.fmt(out),
        }
    }
}

/// What `copy` runs with.
#[derive(Clone, Debug)]
pub struct CopyConfig {
    /// Where the rooms are.
    pub from: Location,
    /// Where they are copied to.
    pub to: Location,
}

impl CopyConfig {
    /// Checks what was given. The error is one line and means a mistake of the user.
    pub fn new(args: CopyArgs) -> Result<CopyConfig, String> {
        let location = |name, text| Location::given(text).map_err(|e| format!("{name}: {e}"));
        Ok(CopyConfig { from: location("FROM", args.from)?, to: location("TO", args.to)? })
    }
}

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address and port.
    pub listen: String,
    /// Where the rooms are.
    pub store: Location,
    /// The server's name, where one was given.
    pub name: Option<String>,
    /// The host's name.
    pub host: String,
    /// How long a client may take.
    pub timeouts: Timeouts,
    /// Whether the kernel is asked to tell of changes in the store.
    pub notices: bool,
    /// How many connections are served at a time.
    pub connections_max: usize,
    /// How many more are told at a time that there is no place.
    pub refusals_max: usize,
    /// How many rooms may have files open: two each.
    pub open_rooms_max: usize,
}

impl Config {
    /// Puts together what was given, and raises the limit of descriptors to the
    /// hard limit. The error is one line and means a mistake of the user.
    pub fn new(args: ServeArgs) -> Result<Config, String> {
        let host = host_name();
        let listen =
            text(args.listen, "CATCHAT_LISTEN")?.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(format!("--listen {listen:?}: give ADDRESS:PORT, as in {DEFAULT_LISTEN}"));
        }
        let store = store(args.store)?;
        let name = text(args.name, "CATCHAT_NAME")?;
        if let Some(name) = name.as_deref().filter(|name| !is_server_name(name)) {
            return Err(format!(
                "--name {name:?}: a server's name is 1 to {SERVER_NAME_CHARS_MAX} printable ASCII characters without /"
            ));
        }
        let descriptors = raise_descriptor_limit();
        let open_rooms_max = (descriptors / 8).clamp(1, OPEN_ROOMS_MAX);
        let refusals_max = (descriptors / 16).clamp(1, REFUSALS_MAX);
        let spare = (descriptors / 4).min(SPARE_DESCRIPTORS);
        let reserved = 2 * open_rooms_max + refusals_max + spare;
        Ok(Config {
            listen,
            store,
            name,
            host,
            timeouts: timeouts()?,
            notices: notices()?,
            connections_max: descriptors.saturating_sub(reserved).clamp(1, CONNECTIONS_MAX),
            refusals_max,
            open_rooms_max,
        })
    }
}

/// The store: given, named by the environment, or named by a file, which is how
/// containers keep secrets.
fn store(given: Option<OsString>) -> Result<Location, String> {
    if let Some(given) = given {
        return Location::given(given).map_err(|error| format!("--store: {error}"));
    }
    match (set("CATCHAT_STORE"), set("CATCHAT_STORE_FILE")) {
        (Some(_), Some(_)) => {
            Err("CATCHAT_STORE and CATCHAT_STORE_FILE are both set: set one".into())
        }
        (Some(text), None) => {
            Location::given(text).map_err(|error| format!("CATCHAT_STORE: {error}"))
        }
        (None, Some(path)) => {
            let place = path.display();
            Location::in_file(path.as_ref())
                .map_err(|error| format!("CATCHAT_STORE_FILE={place}: {error}"))
        }
        (None, None) => Ok(Location::Directory(DEFAULT_STORE.into())),
    }
}

fn is_server_name(name: &str) -> bool {
    let printable = |byte: u8| (byte.is_ascii_graphic() && byte != b'/') || byte == b' ';
    name.trim() == name
        && (1..=SERVER_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(printable)
}

/// The host's name, as `uname(2)` gives it.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || !printable {
        "localhost".to_owned()
    } else {
        name.chars().take(SERVER_NAME_CHARS_MAX).collect()
    }
}

/// An environment variable; an empty one counts as not set.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

fn text(given: Option<String>, variable: &str) -> Result<Option<String>, String> {
    match given {
        Some(given) => Ok(Some(given)),
        None => set(variable)
            .map(|value| value.into_string().map_err(|_| format!("{variable} is not UTF-8")))
            .transpose(),
    }
}

/// All time-outs can be shortened together, which is what tests do.
fn timeouts() -> Result<Timeouts, String> {
    let Some(millis) = text(None, "CATCHAT_TIMEOUT_MS")? else {
        let seconds = Duration::from_secs;
        return Ok(Timeouts { header: seconds(75), body: seconds(10), write: seconds(30) });
    };
    match millis.parse() {
        Ok(millis @ 1..=3_600_000) => {
            let all = Duration::from_millis(millis);
            Ok(Timeouts { header: all, body: all, write: all })
        }
        _ => Err(format!("CATCHAT_TIMEOUT_MS={millis}: it takes 1 to 3600000 milliseconds")),
    }
}

/// Notices can be switched off where they do not work, as on network file
/// systems; then a check every second does alone what it does beside them.
fn notices() -> Result<bool, String> {
    match text(None, "CATCHAT_NOTIFY")?.as_deref() {
        None | Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(format!("CATCHAT_NOTIFY={other}: it takes on or off")),
    }
}

/// Raises the soft limit to the hard one where that is allowed; what it is then.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, there are fewer connections: no reason not to start.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}
