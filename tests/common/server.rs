//! The real binary as a fixture: started on a free port, killed when the test ends.

use super::client::{Client, Cursor, Response};
use super::{DEADLINE, check, tool_command};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// What a server is started with.
pub struct Setup {
    args: Vec<String>,
    timeout_ms: Option<u32>,
    ulimit: Option<&'static str>,
}

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

/// A line that was acknowledged with 201, and the cursor after it.
#[derive(Clone, Debug)]
pub struct Posted {
    pub line: String,
    pub cursor: Cursor,
    pub etag: String,
}

/// The binary without any of its environment.
pub fn catchat() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catchat"));
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    for variable in ["LISTEN", "STORE", "STORE_FILE", "NAME", "TIMEOUT_MS", "NOTIFY"] {
        command.env_remove(format!("CATCHAT_{variable}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
}

impl Setup {
    /// A server on a free port over the logs in this store.
    pub fn on(store: impl AsRef<OsStr>) -> Setup {
        let store = store.as_ref().to_str().expect("a store in UTF-8");
        let args = ["--listen", "127.0.0.1:0", "--store", store];
        Setup { args: args.map(String::from).to_vec(), timeout_ms: None, ulimit: None }
    }

    /// Gives it a name of its own.
    pub fn name(mut self, name: &str) -> Setup {
        self.args.extend(["--name".to_string(), name.to_string()]);
        self
    }

    /// Shortens the timeouts for heads, bodies and answers that nobody reads.
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Setup {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Starts it under a limit of the shell's `ulimit`, such as `-n 64`.
    pub fn ulimit(mut self, limit: &'static str) -> Setup {
        self.ulimit = Some(limit);
        self
    }

    /// Starts it and waits until it says where it listens.
    pub fn start(self) -> Server {
        let mut command = match self.ulimit {
            None => catchat(),
            Some(limit) => {
                let mut shell = tool_command("sh");
                clean(&mut shell);
                let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
                shell.args(["-c", &script, env!("CARGO_BIN_EXE_catchat")]);
                shell
            }
        };
        if let Some(timeout_ms) = self.timeout_ms {
            command.env("CATCHAT_TIMEOUT_MS", timeout_ms.to_string());
        }
        Server::spawn(command.args(self.args))
    }
}

impl Server {
    /// A server on this store with nothing special.
    pub fn on(store: impl AsRef<OsStr>) -> Server {
        Setup::on(store).start()
    }

    /// Starts any command that is a server in the end.
    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.spawn().expect("the server starts");
        let stderr = child.stderr.take().expect("its standard error");
        let said = Arc::new(Mutex::new(Vec::new()));
        let (first, heard) = mpsc::channel();
        let log = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().expect("no panic while locked").push(line.clone());
                let _ = first.send(line);
            }
        });
        let mut server = Server { child, address: ([127, 0, 0, 1], 0).into(), said };
        let line = heard.recv_timeout(DEADLINE).expect("a first line on standard error");
        let rest = line.strip_prefix("catchat: listening on http://");
        let address = rest.and_then(|rest| rest.split(", rooms in ").next());
        let address = address.unwrap_or_else(|| panic!("not where it listens: {line}"));
        server.address = address.parse().unwrap_or_else(|_| panic!("not an address: {line}"));
        server
    }

    /// The lines that it wrote to standard error so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic while locked").clone()
    }

    /// A new connection to it.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.connect().request(method, target, headers, body)
    }

    /// `GET` without any header.
    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], b"")
    }

    /// `GET` with headers.
    pub fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", target, headers, b"")
    }

    /// `HEAD` without any header.
    pub fn head(&self, target: &str) -> Response {
        self.send("HEAD", target, &[], b"")
    }

    /// Posts a body as a urlencoded form.
    pub fn post_form(&self, target: &str, body: &str) -> Response {
        self.send("POST", target, &[FORM], body.as_bytes())
    }

    /// Posts to a room, whose name is already percent-encoded.
    pub fn post(&self, room: &str, username: &str, message: &str) -> Response {
        self.post_form(&format!("/chat/{room}"), &form(username, message))
    }

    /// Posts what must be taken, and checks the answer.
    pub fn say(&self, room: &str, username: &str, message: &str) -> Posted {
        check::created(&self.post(room, username, message))
    }

    /// A post whose head the server has read: it waits for the body.
    pub fn half_post(&self, room: &str, body: &str) -> Client {
        let mut client = self.connect();
        let length = body.len();
        let head = format!("POST /chat/{room} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n");
        let rest = format!("Expect: 100-continue\r\n{}: {}\r\n\r\n", FORM.0, FORM.1);
        client.send((head + &rest).as_bytes());
        assert_eq!(client.head().expect("an interim answer").status, 100);
        client
    }

    /// The value of a sample in the metrics, 0 where it is not there.
    pub fn metric(&self, sample: &str) -> f64 {
        let metrics = self.get("/-/metrics");
        let value = metrics.text().lines().find_map(|line| {
            let value = line.strip_prefix(sample)?.strip_prefix(' ')?;
            Some(value.parse().expect("a number"))
        });
        value.unwrap_or(0.0)
    }

    /// Its number as a process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let script = format!("kill -{signal} {}", self.pid());
        let status = tool_command("sh").args(["-c", &script]).status().expect("the shell");
        assert!(status.success(), "{script}");
    }

    /// Kills it with SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Waits until it ends.
    pub fn exit(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(start.elapsed() < within, "the server still runs after {within:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its resident memory in KiB: `VmRSS` for now, `VmHWM` for the most it ever was.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the state of the process");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// The processor time that it used so far, in clock ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(path).expect("the state of the process");
        let (_, rest) = stat.rsplit_once(") ").expect("a command name");
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
        ticks(11) + ticks(12)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the server said: {:#?}", self.said());
        }
    }
}

/// The header of a urlencoded form.
pub const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// A urlencoded form of these two fields.
pub fn form(username: &str, message: &str) -> String {
    format!("username={}&message={}", encode(username), encode(message))
}

/// Percent-encodes all but what is never special, for paths and forms alike.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).into() } else { format!("%{byte:02X}") })
        .collect()
}
