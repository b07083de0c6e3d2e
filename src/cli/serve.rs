//! `gfm-pipe serve`: answers over HTTP, and over the Model Context Protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gfm_pipe_api::{Cancel, OpEntry, files};
use gfm_pipe_serve::{Config, Current, Listener, mcp_stdio, serve as answer};
use tokio::net::TcpListener;

use super::error::{CliError, CliResult, exit};
use super::retriever::{RetrieverArgs, refused};
use super::signals;
use crate::ui::{self, Out};

/// How often the store is looked at for a newer result.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is checked whether the user asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// The default address of a server.
pub const ADDRESS: &str = "127.0.0.1:7878";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to listen on. Other machines can only reach it if it is not a loopback address
    #[arg(long, value_name = "HOST:PORT", default_value = ADDRESS, value_parser = address)]
    addr: SocketAddr,
    /// Listen on a Unix socket instead, at this path
    #[arg(long, value_name = "PATH", conflicts_with = "addr")]
    socket: Option<PathBuf>,
    /// Ask every client for the bearer token in this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let pages of this origin read answers (CORS); may be given several times
    #[arg(long = "cors", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Switch to a newer result when the store gets one
    #[arg(long)]
    reload: bool,
    /// End when standard input does: for programs that start a server of their own
    #[arg(long)]
    until_eof: bool,
    /// Speak the Model Context Protocol over standard input and output, for agents
    #[arg(long, conflicts_with_all = ["addr", "socket", "token_file", "origins", "reload", "until_eof"])]
    mcp: bool,
    #[command(flatten)]
    retriever: RetrieverArgs,
}

/// Parses an address; `localhost` is this machine.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    format!("{host}:{port}").parse().map_err(|_| {
        "write an IP address, or localhost, and a port: 127.0.0.1:7878, [::1]:7878, 0.0.0.0:80"
            .to_owned()
    })
}

/// Serves until the user stops it.
pub fn serve(args: &Args, ops: &[OpEntry], err: &Out) -> CliResult<u8> {
    serve_until(args, ops, err, None, |_| {})
}

/// As [`serve`], and calls `ready` with the address once clients can connect. Where the process
/// listens to Ctrl-C already, `cancel` is what it cancels.
pub fn serve_until(
    args: &Args,
    ops: &[OpEntry],
    err: &Out,
    cancel: Option<&Cancel>,
    ready: impl FnOnce(&str),
) -> CliResult<u8> {
    // While the retriever is loaded, Ctrl-C ends the process.
    let listens = cancel.is_some();
    let cancel = &cancel.cloned().unwrap_or_default();
    let is_ready = Arc::new(AtomicBool::new(false));
    if args.until_eof {
        until_eof(cancel, &is_ready)
            .map_err(|e| CliError::failed(format!("failed to start: {e}")))?;
    }
    args.retriever.common.apply()?;
    let found = args.retriever.find(ops, err)?;
    let key = found.key.clone();
    let retriever = found.open()?;
    let about = retriever.about();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(format!("failed to start: {e}")))?;
    if args.mcp {
        let ended = runtime.block_on(mcp_stdio(retriever));
        return ended.map(|()| exit::OK).map_err(|e| refused(&e));
    }
    let current = Current::new(Arc::clone(&retriever));
    drop(retriever);
    let mut config = Config::new(current.clone());
    env!("CARGO_PKG_VERSION").clone_into(&mut config.version);
    config.origins.clone_from(&args.origins);
    config.token = args.token_file.as_deref().map(token).transpose()?;
    if config.token.is_none() && args.socket.is_none() && args.addr.ip().is_loopback() {
        // A page of elsewhere could have its own name lead here, and read the answers.
        config.hosts = vec!["localhost".to_owned(), host(args.addr.ip())];
    }
    config
        .check()
        .map_err(|e| CliError::usage(e.to_string()).hint_opt(e.advice()))?;
    let open = config.token.is_none() && args.socket.is_none() && config.hosts.is_empty();
    if !listens {
        signals::listen_quietly(cancel)
            .map_err(|e| CliError::failed(format!("failed to listen to signals: {e}")))?;
    }
    let _inside = runtime.enter();
    let (listener, place) = runtime.block_on(listener(args))?;
    is_ready.store(true, Ordering::SeqCst);
    err.line(&format!(
        "{} over {} answers at {place}",
        about.system,
        ui::number(about.documents as u64, "document")
    ));
    if open {
        err.line(
            "warning: anyone who can reach this address can read the documents: \
             --token-file FILE makes the server ask for a token",
        );
    }
    ready(&place);
    let stop = cancel.clone();
    let stopped = async move {
        while !stop.is_cancelled() {
            tokio::time::sleep(TICK).await;
        }
    };
    let ended = std::thread::scope(|scope| {
        if args.reload {
            scope.spawn(|| reload(args, ops, err, &current, key, cancel));
        }
        let ended = runtime.block_on(answer(listener, config, stopped));
        cancel.cancel();
        ended
    });
    if let Some(path) = &args.socket {
        let _ = std::fs::remove_file(path);
    }
    ended.map(|()| exit::OK).map_err(|e| refused(&e))
}

/// Cancels at the end of standard input. Loading a retriever cannot be cancelled: meanwhile, the
/// process ends.
fn until_eof(cancel: &Cancel, is_ready: &Arc<AtomicBool>) -> io::Result<()> {
    let (cancel, is_ready) = (cancel.clone(), Arc::clone(is_ready));
    let watch = move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        cancel.cancel();
        if !is_ready.load(Ordering::SeqCst) {
            #[expect(clippy::exit)]
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    };
    std::thread::Builder::new()
        .name("gfm-stdin".to_owned())
        .spawn(watch)
        .map(drop)
}

/// Looks for a newer result now and then, and switches to it.
fn reload(
    args: &Args,
    ops: &[OpEntry],
    err: &Out,
    current: &Current,
    mut key: String,
    cancel: &Cancel,
) {
    let quiet = Out::new(io::sink());
    let mut waited = Duration::ZERO;
    while !cancel.is_cancelled() {
        std::thread::sleep(TICK);
        waited += TICK;
        if waited < LOOK {
            continue;
        }
        waited = Duration::ZERO;
        // While a run goes on, its result may not be there yet: the next look finds it.
        let Ok(found) = args.retriever.find(ops, &quiet) else {
            continue;
        };
        if found.key == key {
            continue;
        }
        key.clone_from(&found.key);
        match found.open() {
            Ok(retriever) => {
                current.switch(retriever);
                err.line("switched to the newer result");
            }
            Err(e) => err.line(&format!(
                "the newer result cannot be loaded, the old one answers on: {}",
                e.message()
            )),
        }
    }
}

async fn listener(args: &Args) -> CliResult<(Listener, String)> {
    if let Some(path) = &args.socket {
        return unix(path);
    }
    let failed = |e: io::Error| {
        let error = CliError::failed(format!("failed to listen on {}: {e}", args.addr));
        match e.kind() {
            io::ErrorKind::AddrInUse => {
                error.hint("another program does already; --addr HOST:PORT names another port")
            }
            _ => error,
        }
    };
    let listener = TcpListener::bind(args.addr).await.map_err(failed)?;
    let place = listener.local_addr().map_err(failed)?;
    Ok((listener.into(), format!("http://{place}")))
}

#[cfg(unix)]
fn unix(path: &Path) -> CliResult<(Listener, String)> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let shown = path.display();
    let failed = |e: io::Error| CliError::failed(format!("failed to listen on {shown}: {e}"));
    // A socket that nobody listens on is left of a server that was killed.
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = tokio::net::UnixListener::bind(path).map_err(failed)?;
    // Only this user may ask.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((listener.into(), shown.to_string()))
}

#[cfg(not(unix))]
fn unix(_: &Path) -> CliResult<(Listener, String)> {
    Err(CliError::usage("there are no Unix sockets on this system").hint("use --addr"))
}

/// The host of an address as clients name it.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Reads the token. Blanks around it are not part of it.
fn token(file: &Path) -> CliResult<String> {
    let text = files::read_text(file)
        .map_err(|e| CliError::usage(format!("failed to read {}: {e}", file.display())))?;
    Ok(text.trim().to_owned())
}
