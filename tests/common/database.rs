//! A database of one test, made and dropped with the client `mariadb`, which also speaks to MySQL.

use super::dir::TempDir;
use super::{tool_command, try_output_within};
use catchat::cursor::fnv1a;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a statement may take.
const STATEMENT_WITHIN: Duration = Duration::from_secs(30);

/// How long a database server may take to start, or to end.
const SCRIPT_WITHIN: Duration = Duration::from_secs(90);

/// A database server, as `mysql://user:password@host:port` names it.
#[derive(Clone)]
pub struct DatabaseServer {
    user: String,
    password: String,
    host: String,
    port: String,
}

/// A fresh database that disappears with its owner.
pub struct Database {
    server: DatabaseServer,
    name: String,
}

impl DatabaseServer {
    /// Takes a URL apart; nothing is percent-encoded in those of tests.
    pub fn at(url: &str) -> DatabaseServer {
        let parts = || {
            let (login, address) = url.strip_prefix("mysql://")?.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            let (host, port) = address.trim_end_matches('/').split_once(':')?;
            port.parse::<u16>().ok()?;
            Some([user, password, host, port].map(String::from))
        };
        let [user, password, host, port] =
            parts().expect("CATCHAT_TEST_STORE is no mysql://user:password@host:port");
        DatabaseServer { user, password, host, port }
    }

    /// Runs a statement; gives what it selects, a row a line.
    pub fn query(&self, statement: &str) -> io::Result<String> {
        let output =
            try_output_within(self.client().args(["--execute", statement]), STATEMENT_WITHIN)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("{statement}: {said}")));
        }
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }

    /// The client, which runs what it is told, each select a line or more.
    pub fn client(&self) -> Command {
        let mut client = tool_command("mariadb");
        client.args(["--no-defaults", "--skip-ssl", "--protocol=tcp", "--connect-timeout=10"]);
        client.args(["--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
        // Whatever the server is set to, it tells all.
        client.arg("--init-command=SET sql_select_limit = 18446744073709551615");
        client.args(["--host", &self.host, "--port", &self.port, "--user", &self.user]);
        client.env("MYSQL_PWD", &self.password);
        client
    }

    /// The lock that a server of this database claims its name by.
    pub fn name_lock(database: &str, name: &str) -> String {
        format!("catchat-{:016x}", fnv1a(format!("{database}/{name}").as_bytes()))
    }

    /// The connection that holds a name; `NULL` where there is none.
    pub fn name_holder(&self, database: &str, name: &str) -> String {
        let lock = DatabaseServer::name_lock(database, name);
        let holder = self.query(&format!("SELECT IS_USED_LOCK('{lock}')"));
        holder.expect("an answer").trim_end().to_string()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        format!("{}:{}", self.host, self.port).parse().expect("an address")
    }

    /// Has it do from now on what that one does (MariaDB).
    pub fn follow(&self, primary: &DatabaseServer) {
        let DatabaseServer { user, password, host, port } = primary;
        let from = primary.query("SELECT @@gtid_binlog_pos").expect("a place in its log");
        let statements = format!(
            "SET GLOBAL gtid_slave_pos = '{}'; CHANGE MASTER TO MASTER_HOST = '{host}', \
             MASTER_PORT = {port}, MASTER_USER = '{user}', MASTER_PASSWORD = '{password}', \
             MASTER_USE_GTID = slave_pos; START SLAVE",
            from.trim()
        );
        self.query(&statements).expect("it follows");
    }

    /// The kind of it, as `tests/databases` calls it.
    pub fn kind(&self) -> &'static str {
        let version = self.query("SELECT VERSION()").expect("a version");
        if version.contains("MariaDB") { "mariadb" } else { "mysql" }
    }
}

impl Database {
    /// Makes a database that no other test, in this process or another, uses.
    pub fn new(server: &str) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("catchat_test_{}_{count}", std::process::id());
        let server = DatabaseServer::at(server);
        // An earlier process of the same number was killed.
        let statements = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}");
        server.query(&statements).expect("a database");
        Database { server, name }
    }

    /// What `--store` takes.
    pub fn url(&self) -> String {
        let DatabaseServer { user, password, host, port } = &self.server;
        format!("mysql://{user}:{password}@{host}:{port}/{}", self.name)
    }

    /// The same behind a proxy at this address, which can read what goes through.
    pub fn url_at(&self, proxy: SocketAddr) -> String {
        let DatabaseServer { user, password, .. } = &self.server;
        format!("mysql://{user}:{password}@{proxy}/{}?ssl-mode=DISABLED", self.name)
    }

    /// The server that it is on.
    pub fn server(&self) -> &DatabaseServer {
        &self.server
    }

    /// The same without who may use it, as a server shows it.
    pub fn shown(&self) -> String {
        format!("mysql://{}:{}/{}", self.server.host, self.server.port, self.name)
    }

    /// The password in its URL.
    pub fn password(&self) -> &str {
        &self.server.password
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the rooms in it, sorted by their bytes.
    pub fn rooms(&self) -> Vec<String> {
        let selected = self.server.query(&format!("SELECT HEX(name) FROM {}.rooms", self.name));
        let selected = selected.expect("the rooms");
        let name = |digits| String::from_utf8(from_hex(digits)).expect("a name in UTF-8");
        let mut rooms: Vec<String> = selected.lines().map(name).collect();
        rooms.sort();
        rooms
    }

    /// A room's whole log, put together from its rows.
    pub fn log(&self, room: &str) -> Vec<u8> {
        assert!(self.rooms().iter().any(|name| name == room), "there is no room {room}");
        let name = &self.name;
        let selected = self.server.query(&format!(
            "SELECT HEX(COALESCE(raw, CONCAT('[', DATE_FORMAT(time, '%Y-%m-%d %H:%i:%s'), '] ', \
             username, ': ', message))) FROM {name}.messages JOIN {name}.rooms \
             ON rooms.id = messages.room WHERE name = '{room}' ORDER BY place"
        ));
        let mut log = Vec::new();
        for line in selected.expect("the lines").lines() {
            log.extend(from_hex(line));
            log.push(b'\n');
        }
        log
    }

    /// Locks the rows of these rooms, as a transaction of somebody else does.
    pub fn lock(&self, rooms: &[&str]) -> Client {
        let mut statements =
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN;\n".to_string();
        for room in rooms {
            statements += &format!("SELECT name FROM rooms WHERE name = '{room}' FOR UPDATE;\n");
        }
        self.hold(&statements, rooms)
    }

    /// Locks the tables of rooms and lines against writing, as a backup does.
    pub fn lock_tables(&self) -> Client {
        self.hold("LOCK TABLES rooms READ, messages READ; SELECT 'locked';\n", &["locked"])
    }

    /// Has a client run these statements, which select these lines, and then stay there.
    pub fn hold(&self, statements: &str, selected: &[&str]) -> Client {
        let mut client = self.server.client();
        client.args(["--unbuffered", "--database", &self.name]);
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|said| line.send(said))
        });
        let mut client = Client { child, lines };
        client.says(statements);
        client.hears(selected);
        client
    }

    /// How many statements of its sessions run, or wait for locks, and contain this.
    pub fn running(&self, statement: &str) -> usize {
        self.running_on(statement).len()
    }

    /// The connections on which such statements run.
    pub fn running_on(&self, statement: &str) -> Vec<u64> {
        let selected = self.server.query(&format!(
            "SELECT id FROM information_schema.processlist \
             WHERE db = '{}' AND info LIKE '%{statement}%'",
            self.name
        ));
        let number = |line: &str| line.parse().expect("a number");
        selected.expect("the statements").lines().map(number).collect()
    }

    /// Runs a statement in it.
    pub fn query(&self, statement: &str) -> String {
        let selected = self.server.query(&format!("USE {}; {statement}", self.name));
        selected.expect("an answer").trim_end().to_string()
    }

    /// Makes an account that may do everything here, and nothing elsewhere; it goes with the
    /// database. `how` is what MySQL has after `IDENTIFIED`. Gives its URL.
    pub fn account(&self, password: &str, how: &str) -> String {
        let DatabaseServer { host, port, .. } = &self.server;
        let name = &self.name;
        let statements = format!(
            "DROP USER IF EXISTS {name}; CREATE USER {name} IDENTIFIED {how} '{password}'; \
             GRANT ALL ON {name}.* TO {name}"
        );
        self.server.query(&statements).expect("an account");
        format!("mysql://{name}:{password}@{host}:{port}/{name}")
    }

    /// Loses all of a room's log from this length on, and has these lines there instead, at once:
    /// a replica that lagged is the database now, and others have written to it.
    pub fn lose(&self, room: &str, length: u64, instead: &[&str]) {
        let mut statements = format!(
            "USE {}; BEGIN; SELECT id INTO @room FROM rooms WHERE name = '{room}' FOR UPDATE; \
             DELETE FROM messages WHERE room = @room AND place >= {length};",
            self.name
        );
        let mut place = length;
        for line in instead {
            let raw: String = line.bytes().map(|byte| format!("{byte:02x}")).collect();
            statements += &format!(
                "INSERT INTO messages (room, place, raw) VALUES (@room, {place}, x'{raw}');"
            );
            place += line.len() as u64 + 1;
        }
        statements += &format!("{} COMMIT", set_length(room, place));
        self.server.query(&statements).expect("lost");
    }

    /// Shows less of a room's log for a while, as a node does that lags; how long that took.
    pub fn lag(&self, room: &str, length: u64, real: u64, time: Duration) -> Duration {
        let start = Instant::now();
        let statements = format!(
            "USE {}; {} SELECT SLEEP({}); {}",
            self.name,
            set_length(room, length),
            time.as_secs_f64(),
            set_length(room, real)
        );
        self.server.query(&statements).expect("lagged");
        start.elapsed()
    }

    /// Removes a room, as an operator does.
    pub fn remove(&self, room: &str) {
        assert!(!room.contains(['\'', '\\']), "{room:?} would need to be quoted");
        let statement = format!("DELETE FROM {}.rooms WHERE name = '{room}'", self.name);
        self.server.query(&statement).expect("removed");
    }
}

/// A client of the database, which does what it is told; what it has locked is so until this is
/// dropped.
pub struct Client {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Client {
    /// Has it run these statements; does not wait for them.
    pub fn says(&mut self, statements: &str) {
        let stdin = self.child.stdin.as_mut().expect("its input");
        stdin.write_all(statements.as_bytes()).expect("sent");
    }

    /// Waits until it has selected these lines.
    pub fn hears(&mut self, selected: &[&str]) {
        for line in selected {
            assert_eq!(self.lines.recv_timeout(STATEMENT_WITHIN).as_deref(), Ok(*line), "selected");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever still writes there is not waited for without end.
        let name = &self.name;
        let statements = format!(
            "SET lock_wait_timeout = 10; DROP DATABASE IF EXISTS {name}; DROP USER IF EXISTS {name}"
        );
        if let Err(error) = self.server.query(&statements) {
            eprintln!("{name} stays: {error}");
            assert!(thread::panicking(), "{name} cannot be dropped: {error}");
        }
    }
}

fn set_length(room: &str, length: u64) -> String {
    format!("UPDATE rooms SET length = {length}, changed = UTC_TIMESTAMP(6) WHERE name = '{room}';")
}

fn from_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'A' + 10 };
    digits.as_bytes().chunks_exact(2).map(|two| value(two[0]) << 4 | value(two[1])).collect()
}

/// The server that tests run on, where there must be one.
pub fn tested_server() -> String {
    let server = std::env::var("CATCHAT_TEST_STORE");
    server.expect("this test needs a database: tests/on mariadb, or tests/on mysql, gives it one")
}

/// A database server of a test's own, which it may kill: of the kind that the other tests use.
pub struct OwnServer {
    kind: &'static str,
    dir: TempDir,
    /// `mysql://user:password@host:port`, always the same.
    pub url: String,
}

impl OwnServer {
    /// Starts it.
    pub fn start() -> OwnServer {
        OwnServer::start_with(&[])
    }

    /// Starts it with these options of its program.
    pub fn start_with(options: &[&str]) -> OwnServer {
        let kind = DatabaseServer::at(&tested_server()).kind();
        let mut own = OwnServer { kind, dir: TempDir::new(), url: String::new() };
        own.url = own.script("start", options);
        own
    }

    /// Runs `tests/databases`; gives the line that it prints.
    fn script(&self, verb: &str, options: &[&str]) -> String {
        self.try_script(verb, options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_script(&self, verb: &str, options: &[&str]) -> io::Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/databases");
        let mut command = Command::new(script);
        command.args([verb, self.kind]).arg(self.dir.file("database")).args(options);
        let output = try_output_within(&mut command, SCRIPT_WITHIN)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{verb} {}: {said}", self.kind)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_string())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.script("kill", &[]);
    }

    /// Starts it again, where it was, with what it had.
    pub fn restart(&self) {
        assert_eq!(self.script("restart", &[]), self.url, "it comes back where it was");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Err(error) = self.try_script("stop", &[]) {
            eprintln!("{error}");
            assert!(thread::panicking(), "{error}");
        }
    }
}
