//! Starting a program, listening to it, and ending it with everything it started.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command as StdCommand, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use gfm_pipe_api::{Context, OpError, OpResult};

/// How often a running program is looked after.
const POLL: Duration = Duration::from_millis(50);
/// What a program that shall stop may take for it.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a line; longer ones are told in pieces.
const LINE: u64 = 8 << 10;
/// Lines that go to the log.
const LINES: u64 = 10_000;
/// Last lines told with a failure.
const TAIL: usize = 20;

/// What to start.
pub(crate) struct Command<'a> {
    /// Program and arguments.
    pub words: &'a [String],
    /// Variables besides the usual ones.
    pub env: &'a BTreeMap<String, String>,
    /// Where it runs; it has folders `tmp` and `home` there.
    pub folder: &'a Path,
}

/// A program that is stopped when this is dropped, with whatever it started.
struct Running(Child);

impl Running {
    #[cfg(unix)]
    fn signal(&self, signal: nix::sys::signal::Signal) {
        use nix::unistd::Pid;
        // The program leads a group of its own. Gone already is as good as ended.
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = nix::sys::signal::killpg(Pid::from_raw(id), signal);
        }
    }

    fn ask_to_stop(&mut self) {
        #[cfg(unix)]
        self.signal(nix::sys::signal::Signal::SIGTERM);
        #[cfg(not(unix))]
        drop(self.0.kill());
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        self.signal(nix::sys::signal::Signal::SIGKILL);
        #[cfg(not(unix))]
        drop(self.0.kill());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// Sends every line of a stream. Ends with the stream, or when nobody listens.
fn listen(stream: impl Read, to: &Sender<String>) {
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

/// What the program says, told to the log as it comes.
struct Told<'a> {
    ctx: &'a Context,
    lines: u64,
    last: VecDeque<String>,
}

impl Told<'_> {
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

/// Runs a program to its end.
pub(crate) fn run(ctx: &Context, command: &Command<'_>) -> OpResult<()> {
    let shown = command.words.join(" ");
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
    if let Some(path) = &ctx.search_path {
        child.env("PATH", path);
    }
    child.envs(command.env);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut child, 0);
    let child = child.spawn().map_err(|e| {
        let error = OpError::wrap(format!("failed to start `{program}`"), e);
        error.hint("it is looked for on PATH, and as a file among `files`")
    })?;
    let mut running = Running(child);
    let (tell, told) = mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        running.0.stdout.take().map(|s| Box::new(s) as _),
        running.0.stderr.take().map(|s| Box::new(s) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let tell = tell.clone();
        thread::spawn(move || listen(stream, &tell));
    }
    drop(tell);
    let mut heard = Told {
        ctx,
        lines: 0,
        last: VecDeque::new(),
    };
    let status = wait(ctx, &mut running, &told, &mut heard)?;
    // What it left running would hold the streams open, and write to files that are read next.
    running.kill();
    while let Ok(line) = told.recv_timeout(GRACE) {
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

/// Waits for the end, or ends it when it shall stop.
fn wait(
    ctx: &Context,
    running: &mut Running,
    told: &mpsc::Receiver<String>,
    heard: &mut Told<'_>,
) -> OpResult<ExitStatus> {
    let failed = |e| OpError::wrap("failed to wait for the program", e);
    let mut silent = false;
    loop {
        if let Some(status) = running.0.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if ctx.check_cancelled().is_err() {
            running.ask_to_stop();
            let until = Instant::now() + GRACE;
            while Instant::now() < until && running.0.try_wait().map_err(failed)?.is_none() {
                thread::sleep(POLL);
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
            // It closed its streams and goes on.
            Err(RecvTimeoutError::Disconnected) => silent = true,
        }
    }
}
