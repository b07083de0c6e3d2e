//! Ctrl-C: pressed once, the program stops in an orderly way; pressed twice, it stops at once.
//!
//! A signal that was ignored when the process started stays ignored: `nohup` and shells that start
//! jobs in the background ask for that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gfm_pipe_api::Cancel;
use tokio::runtime::Runtime;

use super::error::exit;
use crate::ui::Out;

/// Ctrl-C of a subcommand that runs stages.
pub struct Interrupt {
    /// What the first Ctrl-C cancels. The second one ends the process.
    pub cancel: Cancel,
    /// Whether there is something to wait for.
    running: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen, on a thread of its own. Where that is not possible, a warning is printed,
    /// and the default stays in force, which is to stop at once.
    pub fn listen(err: &Out) -> Self {
        let interrupt = Interrupt {
            cancel: Cancel::default(),
            running: Arc::default(),
        };
        if let Err(e) = listen(&interrupt, err) {
            err.line(&format!("warning: Ctrl-C will stop at once: {e}"));
        }
        interrupt
    }

    /// Calls a function. The first Ctrl-C meanwhile says that stages are waited for, and that the
    /// second one does not wait.
    pub fn running<T>(&self, work: impl FnOnce() -> T) -> T {
        self.running.store(true, Ordering::SeqCst);
        let done = work();
        self.running.store(false, Ordering::SeqCst);
        done
    }
}

fn listen(interrupt: &Interrupt, err: &Out) -> io::Result<()> {
    let (cancel, err) = (interrupt.cancel.clone(), err.clone());
    let running = Arc::clone(&interrupt.running);
    on_thread(move |runtime, mut signals| {
        runtime.block_on(async {
            signals.next().await;
            if running.load(Ordering::SeqCst) {
                err.line(
                    "interrupted: waiting for running stages to stop; once more stops at once",
                );
            }
            cancel.cancel();
            signals.next().await;
            // The store is usable at every moment, but programs that stages started would go on
            // alone.
            crate::registry::kill_programs();
            #[expect(clippy::exit)]
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
    })
}

/// Starts to listen, on a thread of its own: a signal cancels, and nothing is printed.
///
/// # Errors
/// When the signals cannot be listened to.
pub fn listen_quietly(cancel: &Cancel) -> io::Result<()> {
    let cancel = cancel.clone();
    on_thread(move |runtime, mut signals| {
        runtime.block_on(signals.next());
        cancel.cancel();
    })
}

fn on_thread(listener: impl FnOnce(Runtime, Signals) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Created here and not on the thread, so that no signal is missed before it starts.
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new()
        .name("gfm-signals".to_owned())
        .spawn(move || listener(runtime, signals))
        .map(drop)
}

#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let wanted = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let ignored = ignored();
        let wanted = wanted.into_iter();
        let wanted = wanted.filter(|kind| !has(ignored, kind.as_raw_value()));
        Ok(Signals(wanted.map(signal).collect::<io::Result<_>>()?))
    }

    /// Waits for one of the signals; for ever where all are ignored.
    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let mut signals = self.0.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

/// Whether a set of signals has this one. The lowest bit of the set is signal 1.
#[cfg(unix)]
fn has(set: u64, signal: i32) -> bool {
    let bit = u32::try_from(signal - 1).unwrap_or(u32::MAX);
    set.checked_shr(bit).is_some_and(|rest| rest & 1 == 1)
}

/// The signals this process ignores. Linux reports them; elsewhere none are known to be ignored.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status)
}

#[cfg(unix)]
fn ignored_in(status: &str) -> u64 {
    let set = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.unwrap_or(0)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_process() {
        let set = ignored_in("Name:\tx\nSigBlk:\t00\nSigIgn:\t0000000000001001\nSigCgt:\t7\n");
        // SIGHUP is 1, SIGPIPE 13, SIGTERM 15.
        assert_eq!(
            [1, 13, 15].map(|signal| has(set, signal)),
            [true, true, false]
        );
        assert_eq!(ignored_in(""), 0);
        assert!(!has(u64::MAX, 0) && !has(u64::MAX, 65));
    }
}
