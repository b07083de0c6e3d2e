//! `gfm-pipe watch`: shows a run that goes on in another process, from the events that it records.

use std::io::IsTerminal;
use std::time::Duration;

use gfm_pipe_api::Cancel;

use super::error::{CliError, CliResult, exit};
use super::runs::{all, find};
use super::shared_args::StoreArgs;
use super::{look, signals};
use crate::record::{self, EventReader, Life, RunState, RunStatus, now_ms};
use crate::store::Store;
use crate::ui::{Look, Out, Watched, watched};

/// How often the screen is drawn.
const EVERY: Duration = Duration::from_millis(500);

/// How often Ctrl-C is checked for.
const POLL: Duration = Duration::from_millis(50);

/// Width of the output in columns, where there is no terminal.
const WIDTH: usize = 100;

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run by its name, the start of it, or `latest`; `gfm-pipe runs` lists them
    #[arg(default_value = "latest")]
    run: String,
    /// Print how it stands now and end, as without a terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Draws a run until it ends; returns the run's exit code, and 0 where it still goes on.
pub fn watch(args: &Args, out: &Out, err: &Out) -> CliResult<u8> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    if runs.is_empty() {
        return Err(
            CliError::usage(format!("there is no run in {}", store.root().display()))
                .hint("gfm-pipe run starts one; --store DIR names another store"),
        );
    }
    let journal = &find(&runs, &args.run)?.journal;
    let Some(reader) = EventReader::open(&store, &journal.run)? else {
        return Err(
            CliError::failed(format!("run {} left no events", journal.run)).hint(
                "they were removed by gc, or it was made by an older version; its log says what happened",
            ),
        );
    };
    let mut watch = Watch {
        store: &store,
        reader,
        state: RunState::new(&journal.run, &journal.pipeline),
        life: Life::Unknown,
    };
    let terminal = std::io::stdout().is_terminal();
    let look = look(terminal);
    watch.update()?;
    if terminal && !args.once && watch.life == Life::GoesOn {
        let cancel = Cancel::default();
        if let Err(e) = signals::listen_quietly(&cancel) {
            err.line(&format!(
                "warning: Ctrl-C will leave the screen as it is: {e}"
            ));
        }
        if !watch.live(out, look, &cancel)? {
            return Ok(exit::INTERRUPTED);
        }
    }
    for line in watch.frame(terminal.then(size).map_or(WIDTH, |s| s.0), None, look) {
        out.line(&line);
    }
    Ok(match watch.life {
        Life::Ended(RunStatus::Failed) | Life::Killed(_) => exit::FAILED,
        Life::Ended(RunStatus::Interrupted) => exit::INTERRUPTED,
        Life::Ended(RunStatus::Ok | RunStatus::Running) | Life::GoesOn | Life::Unknown => exit::OK,
    })
}

struct Watch<'a> {
    store: &'a Store,
    reader: EventReader,
    state: RunState,
    life: Life,
}

impl Watch<'_> {
    /// Reads the events that were recorded since the last time.
    fn update(&mut self) -> CliResult<()> {
        let run = self.state.run.clone();
        let journal = record::journal_of(self.store, &run)?;
        let life = journal.map_or(Life::Unknown, |j| record::life(self.store, &j));
        // Whether the run still writes is asked before its events are read: what it has written by
        // then is all of them.
        let writes = self.store.run_held(&run) == Some(true);
        for recorded in self.reader.poll()? {
            self.state.apply(&recorded);
        }
        self.life = match (life, self.state.ended) {
            (_, Some((status, _))) => Life::Ended(status),
            // Its journal is closed, but its last events are still to come.
            (Life::Ended(_), None) if writes => Life::GoesOn,
            (life, None) => life,
        };
        Ok(())
    }

    fn frame(&self, width: usize, height: Option<usize>, look: Look) -> Vec<String> {
        watched(&Watched {
            state: &self.state,
            life: self.life,
            now_ms: now_ms(),
            width,
            height,
            look,
        })
    }

    /// Draws until the run ends; false when the user stopped it before.
    fn live(&mut self, out: &Out, look: Look, cancel: &Cancel) -> CliResult<bool> {
        let _screen = Screen::enter(out);
        while self.life == Life::GoesOn {
            let (width, height) = size();
            let lines = self.frame(width, Some(height), look);
            out.draw(&lines);
            let mut slept = Duration::ZERO;
            while slept < EVERY {
                if cancel.is_cancelled() {
                    return Ok(false);
                }
                std::thread::sleep(POLL);
                slept += POLL;
            }
            self.update()?;
        }
        Ok(true)
    }
}

/// The terminal's alternate screen, which is left when this is dropped.
struct Screen(Out);

impl Screen {
    fn enter(out: &Out) -> Self {
        out.enter_screen();
        Screen(out.clone())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.0.leave_screen();
    }
}

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    let (lines, columns) = console::Term::stdout().size();
    (usize::from(columns).max(1), usize::from(lines).max(1))
}
