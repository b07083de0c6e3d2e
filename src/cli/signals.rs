//! Ctrl-C: once to stop in order, twice to stop at once.

use std::io;

use gfm_pipe_api::Cancel;
use tokio::runtime::Runtime;

use super::error::exit;
use crate::ui::Out;

/// Listens from now on, on a thread of its own.
///
/// # Errors
/// When the signals cannot be listened to; the default then holds, which is to stop at once.
pub fn listen(cancel: &Cancel, err: &Out) -> io::Result<()> {
    let (cancel, err) = (cancel.clone(), err.clone());
    on_thread(move |runtime| {
        runtime.block_on(async {
            if wait().await.is_err() {
                return;
            }
            err.line("interrupted: waiting for running stages to stop; once more stops at once");
            cancel.cancel();
            if wait().await.is_ok() {
                // The store is usable at every instant; programs of stages would go on without anybody.
                gfm_pipe_exec::kill_all();
                #[expect(clippy::exit)]
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
        });
    })
}

/// Listens from now on without a word, for what only looks.
///
/// # Errors
/// See [`listen`].
pub fn listen_quietly(cancel: &Cancel) -> io::Result<()> {
    let cancel = cancel.clone();
    on_thread(move |runtime| {
        if runtime.block_on(wait()).is_ok() {
            cancel.cancel();
        }
    })
}

fn on_thread(listener: impl FnOnce(Runtime) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("gfm-signals".to_owned())
        .spawn(move || listener(runtime))
        .map(drop)
}

async fn wait() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = term.recv() => Ok(()),
            _ = hangup.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
