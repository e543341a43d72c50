//! The program: reads the command line, and serves or asks for health.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::{env, io};

use catchat::args::{self, Command, ServeArgs};
use catchat::config::{Config, DEFAULT_LISTEN};
use catchat::handlers::App;
use catchat::room::BLOCKING_THREADS;
use catchat::rooms::Rooms;
use catchat::store::directory::Directory;
use catchat::watcher::{self, Notices};
use catchat::{health, report, server};
use tokio::signal::unix::{SignalKind, signal};

/// `SIGXFSZ`, which ends a process that writes beyond the file-size limit unless
/// it is caught (`setrlimit(2)`); then the write fails, which is an answer.
const FILE_SIZE_EXCEEDED: i32 = 25;

fn main() -> ExitCode {
    let command = match args::parse(env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return usage(error),
    };
    match command {
        Command::Help => print(args::HELP),
        Command::Version => print(concat!("catchat ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Health(url) => {
            let listen = env::var("CATCHAT_LISTEN").ok().filter(|listen| !listen.is_empty());
            let url =
                url.unwrap_or_else(|| health::url_of(listen.as_deref().unwrap_or(DEFAULT_LISTEN)));
            health::check(&url).map_or_else(failure, |()| ExitCode::SUCCESS)
        }
        Command::Serve(args) => serve(args),
    }
}

fn usage(error: String) -> ExitCode {
    report::line(format_args!("{error}; see catchat --help"));
    ExitCode::from(2)
}

fn failure(error: String) -> ExitCode {
    report::line(error);
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    use io::Write;
    // A reader that has seen enough may close the pipe.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn serve(args: ServeArgs) -> ExitCode {
    let config = match Config::new(args) {
        Ok(config) => config,
        Err(error) => return usage(error),
    };
    let directory = match Directory::open(&config.store) {
        Ok(directory) => directory,
        Err(error) => {
            let store = config.store.display();
            return failure(format!(
                "--store {store}: cannot write there: {error}; give a directory that this user may write to"
            ));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(listen(config, directory)),
        Err(error) => failure(format!("cannot start: {error}")),
    }
}

async fn listen(config: Config, directory: Directory) -> ExitCode {
    let listening =
        server::bind(&config.listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = match listening {
        Ok(listening) => listening,
        Err(error) => {
            let listen = &config.listen;
            return failure(format!(
                "--listen {listen}: {error}; give a free ADDRESS:PORT of this machine"
            ));
        }
    };
    let shutdown = match stop_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => return failure(format!("cannot catch signals: {error}")),
    };
    let place = directory.path().display().to_string();
    let notices = config.notices.then(|| Notices::new(directory.path()).ok()).flatten();
    let rooms = Rooms::new(directory, config.open_rooms_max, notices);
    if let Err(error) = watcher::start(&rooms) {
        return failure(format!("cannot start a thread: {error}"));
    }
    let app = Arc::new(App::new(rooms, &config));
    report::line(format_args!("listening on http://{address}, rooms in {place}"));
    let cut_off = server::run(listener, app, &config, async {
        shutdown.await;
        report::line("stopping");
    })
    .await;
    match cut_off {
        0 => report::line("stopped"),
        more => report::line(format_args!("stopped; {more} connections were cut off")),
    }
    ExitCode::SUCCESS
}

/// Ready at the first SIGTERM or SIGINT; caught from now on.
fn stop_signals() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _caught = signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?;
    Ok(async move {
        let mut terminate = pin!(terminate.recv());
        let mut interrupt = pin!(interrupt.recv());
        poll_fn(|cx| match (terminate.as_mut().poll(cx), interrupt.as_mut().poll(cx)) {
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    })
}
