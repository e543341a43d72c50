//! The program: reads the command line, and serves, asks for health, or copies.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::{env, io};

use catchat::args::{self, Command, CopyArgs, ServeArgs};
use catchat::config::{Config, CopyConfig, DEFAULT_LISTEN};
use catchat::handlers::App;
use catchat::room::BLOCKING_THREADS;
use catchat::store::Store;
use catchat::store::names::Claim;
use catchat::{copy, health, report, server, watcher};
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
        Command::Copy(args) => copy_stores(args),
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
    run(listen(config))
}

/// Copies all rooms, until that is done or a signal says to stop: what is there then
/// is good, and the next run goes on from there.
fn copy_stores(args: CopyArgs) -> ExitCode {
    let CopyConfig { from, to } = match CopyConfig::new(args) {
        Ok(config) => config,
        Err(error) => return usage(error),
    };
    run(async move {
        let stop = match stop_signals() {
            Ok(stop) => stop,
            Err(error) => return failure(format!("cannot catch signals: {error}")),
        };
        match copy::run(&from, &to, stop).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => failure(error),
        }
    })
}

/// Runs this on threads for it, and others for what blocks.
fn run(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => failure(format!("cannot start: {error}")),
    }
}

async fn listen(config: Config) -> ExitCode {
    let store = match Store::open(&config.store).await {
        Ok(store) => store,
        Err(error) => return failure(format!("--store {error}")),
    };
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
    let claim = match &config.name {
        Some(name) => Claim::of(&store, name).await,
        None => Claim::first_free(&store).await,
    };
    let claim = match claim {
        Ok(claim) => claim,
        Err(error) => return failure(unclaimed(&config, &store, &error)),
    };
    let place = store.to_string();
    let rooms = match watcher::rooms(store, &config) {
        Ok(rooms) => rooms,
        Err(error) => return failure(format!("cannot start a thread: {error}")),
    };
    let names = claim.names();
    let name = names.borrow().clone();
    let app = Arc::new(App::new(rooms, &name, &config));
    tokio::spawn(app.clone().follow(names));
    report::line(format_args!("listening on http://{address}, rooms in {place}, name {name}"));
    let cut_off = server::run(listener, app, &config, async {
        shutdown.await;
        report::line("stopping");
    })
    .await;
    claim.release().await;
    match cut_off {
        0 => report::line("stopped"),
        more => report::line(format_args!("stopped; {more} connections were cut off")),
    }
    ExitCode::SUCCESS
}

/// Why the server has no name.
fn unclaimed(config: &Config, store: &Store, error: &io::Error) -> String {
    match &config.name {
        Some(name) if error.kind() == io::ErrorKind::AlreadyExists => {
            format!(
                "--name {name}: another server of this store has this name; give another one, or none"
            )
        }
        _ => format!("cannot claim a name in --store {store}: {error}"),
    }
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
