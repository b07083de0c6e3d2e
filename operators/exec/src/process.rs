//! Starts a program, passes its output to the log, and ends it with its process group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command as StdCommand, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gfm_pipe_api::{Context, OpError, OpResult, shell};

/// Interval at which a running program is checked.
const POLL: Duration = Duration::from_millis(50);
/// How long a program may take to stop after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// Most bytes of a line; longer lines are reported in pieces.
const LINE: u64 = 8 << 10;
/// Most lines that go to the log.
const LINES: u64 = 10_000;
/// How many of the last lines a failure shows.
const TAIL: usize = 20;

/// A program to start, and its surroundings.
pub(crate) struct Command<'a> {
    /// Program and arguments.
    pub words: &'a [String],
    /// Environment variables that the pipeline sets.
    pub env: &'a BTreeMap<String, String>,
    /// Names of environment variables whose values are passed on from gfm-pipe's own environment.
    pub passed: &'a [String],
    /// The program's working directory, which has the folders `tmp` and `home`.
    pub folder: &'a Path,
}

/// Process groups of the programs that are running.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn groups() -> MutexGuard<'static, BTreeSet<u32>> {
    // The lock is held only for single calls on the set, so a poisoned lock still guards a valid
    // set.
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn signal(group: u32, signal: nix::sys::signal::Signal) {
    // If the group does not exist any more, it has ended, which is what is wanted.
    if let Ok(id) = i32::try_from(group) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), signal);
    }
}

/// Kills every running program immediately: for a process that is about to exit without running
/// destructors.
pub fn kill_all() {
    #[cfg(unix)]
    for group in groups().iter() {
        signal(*group, nix::sys::signal::Signal::SIGKILL);
    }
}

/// A running program, which is killed with its process group when this is dropped.
struct Running {
    child: Child,
    killed: bool,
}

impl Running {
    fn new(child: Child) -> Self {
        groups().insert(child.id());
        Running {
            child,
            killed: false,
        }
    }

    fn ask_to_stop(&mut self) {
        #[cfg(unix)]
        signal(self.child.id(), nix::sys::signal::Signal::SIGTERM);
        #[cfg(not(unix))]
        drop(self.child.kill());
    }

    /// Kills the process group, only once: later its number may belong to another program.
    fn kill(&mut self) {
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        groups().remove(&self.child.id());
        #[cfg(unix)]
        signal(self.child.id(), nix::sys::signal::Signal::SIGKILL);
        #[cfg(not(unix))]
        drop(self.child.kill());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Sends every line of a stream. Returns at the end of the stream, or when the receiver is gone.
fn listen(stream: impl Read, to: &SyncSender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if to.send(text.trim_end().to_owned()).is_err() {
                    return;
                }
            }
        }
    }
}

/// The program's output: passed to the log as it comes, with the last lines kept for errors.
struct Output<'a> {
    ctx: &'a Context,
    lines: u64,
    last: VecDeque<String>,
}

impl Output<'_> {
    fn line(&mut self, line: String) {
        self.lines += 1;
        if self.lines <= LINES {
            self.ctx.info(&line);
        } else if self.lines == LINES + 1 {
            self.ctx
                .warn(format!("more than {LINES} lines: the others are not kept"));
        }
        if self.last.len() == TAIL {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// Runs a program until it ends.
pub(crate) fn run(ctx: &Context, command: &Command<'_>) -> OpResult<()> {
    let shown = shell::command(command.words);
    let Some((program, arguments)) = command.words.split_first() else {
        return Err(OpError::new("there is no command"));
    };
    let mut child = StdCommand::new(program);
    child
        .args(arguments)
        .current_dir(command.folder)
        .env_clear()
        .env("HOME", command.folder.join("home"))
        .env("TMPDIR", command.folder.join("tmp"))
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let passed = command.passed.iter().map(String::as_str);
    for name in std::iter::once("PATH").chain(passed) {
        if let Some(value) = ctx.environment.get(std::ffi::OsStr::new(name)) {
            child.env(name, value);
        }
    }
    child.envs(command.env);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut child, 0);
    let child = child.spawn().map_err(|e| {
        let error = OpError::wrap(format!("failed to start `{program}`"), e);
        error.hint("it is looked for on PATH, and as a file among `files`")
    })?;
    let mut running = Running::new(child);
    // Bounded: a program that prints faster than it can be reported waits.
    let (tell, told) = mpsc::sync_channel(1024);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        running.child.stdout.take().map(|s| Box::new(s) as _),
        running.child.stderr.take().map(|s| Box::new(s) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let tell = tell.clone();
        thread::spawn(move || listen(stream, &tell));
    }
    drop(tell);
    let mut heard = Output {
        ctx,
        lines: 0,
        last: VecDeque::new(),
    };
    let status = wait(ctx, &mut running, &told, &mut heard)?;
    // Processes that it left running would hold the streams open, and might write to the files that
    // are read next.
    running.kill();
    // A process that left the group may still hold the streams open, so the wait for more output is
    // limited.
    let until = Instant::now() + GRACE;
    while let Ok(line) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
        heard.line(line);
    }
    if status.success() {
        return Ok(());
    }
    let mut message = format!("`{shown}` ended with {status}");
    for line in &heard.last {
        message.push_str("\n  ");
        message.push_str(line);
    }
    Err(OpError::new(message))
}

/// Waits until the program ends; asks it to stop once the stage is cancelled.
fn wait(
    ctx: &Context,
    running: &mut Running,
    told: &mpsc::Receiver<String>,
    heard: &mut Output<'_>,
) -> OpResult<ExitStatus> {
    let failed = |e| OpError::wrap("failed to wait for the program", e);
    let mut silent = false;
    loop {
        if let Some(status) = running.child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if ctx.check_cancelled().is_err() {
            running.ask_to_stop();
            let until = Instant::now() + GRACE;
            while Instant::now() < until && running.child.try_wait().map_err(failed)?.is_none() {
                // It may write more output before it ends.
                match told.recv_timeout(POLL) {
                    Ok(line) => heard.line(line),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
                }
            }
            return Err(OpError::Cancelled);
        }
        if silent {
            thread::sleep(POLL);
            continue;
        }
        match told.recv_timeout(POLL) {
            Ok(line) => heard.line(line),
            Err(RecvTimeoutError::Timeout) => {}
            // The program closed its streams but is still running.
            Err(RecvTimeoutError::Disconnected) => silent = true,
        }
    }
}
