//! The other ranks: they compute what rank 0 says and keep none of the results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gfm_pipe_api::items::Items;
use gfm_pipe_api::{
    Artifact, Cancel, Context, ErrorKind, Nowhere, OpEntry, OpError, OpResult, ranks,
};
use gfm_pipe_ranks::{Order as RankOrder, Team};
use serde_json::Value;

use super::order::Order;
use crate::plan::{Files, Seen};
use crate::silent::Silent;
use crate::store::{MadeOn, Store};

const POLL: Duration = Duration::from_millis(50);

/// Computes what rank 0 says until the run is over. `cancel` is set when this process itself is
/// asked to stop; that is reported to rank 0.
///
/// # Errors
/// When rank 0 is gone or has ended the run; the error has its message.
pub fn follow(
    team: &Team,
    ops: &[OpEntry],
    store: &Store,
    base: PathBuf,
    device: &str,
    cancel: &Cancel,
) -> OpResult<()> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut said = false;
            while !over.load(Ordering::Relaxed) {
                if cancel.is_cancelled() && !said {
                    team.interrupt();
                    said = true;
                }
                std::thread::sleep(POLL);
            }
        });
        let helper = Helper {
            team,
            ops,
            store,
            base,
            device,
        };
        let ended = helper.all();
        over.store(true, Ordering::Relaxed);
        ended
    })
}

struct Helper<'a> {
    team: &'a Team,
    ops: &'a [OpEntry],
    store: &'a Store,
    base: PathBuf,
    device: &'a str,
}

/// A stage that is ready to be computed.
struct Work {
    op: OpEntry,
    params: Value,
    inputs: BTreeMap<String, Vec<Artifact>>,
    /// The files it reads, as they were when they were compared with rank 0's.
    seen: Vec<Seen>,
    stage: String,
}

impl Helper<'_> {
    fn all(&self) -> OpResult<()> {
        loop {
            let (number, order) = match self.team.next()? {
                RankOrder::Over => return Ok(()),
                RankOrder::Compute(number, order) => (number, order),
            };
            let mut work = Err(OpError::Cancelled);
            let prepared = crate::exec::caught(|| {
                work = self.prepare(order);
                Ok(())
            });
            let work = prepared.and(work);
            let ranks = self.team.begin(number, work.as_ref().map(|_| ()))?;
            let (Ok(work), Some(ranks)) = (work, ranks) else {
                continue;
            };
            let result = self.compute(work, ranks);
            self.team.done(number, &result);
        }
    }

    fn prepare(&self, order: Value) -> OpResult<Work> {
        let order: Order = serde_json::from_value(order)
            .map_err(|e| OpError::wrap("rank 0 is not understood", e).with_kind(ErrorKind::User))?;
        let op = self.ops.iter().find(|op| op.name == order.op);
        let op = op.ok_or_else(|| OpError::new(format!("there is no operator `{}`", order.op)))?;
        let mut inputs = BTreeMap::new();
        for (port, given) in &order.inputs {
            let found = given.iter().map(|g| g.find(self.store));
            inputs.insert(port.clone(), found.collect::<OpResult<Vec<_>>>()?);
        }
        let read = op.files(&order.params, &self.base)?;
        let here = Files::open(self.store, &self.base).identify(&read);
        let (here, seen) = here.map_err(|troubles| {
            let first = troubles.first().map(ToString::to_string);
            OpError::new(first.unwrap_or_default())
        })?;
        if let Some((file, _)) = here
            .iter()
            .zip(&order.files)
            .find(|(a, b)| a.digest != b.digest)
        {
            return Err(
                OpError::new(format!("{} is another file than on rank 0", file.path))
                    .hint("every rank must read the same data"),
            );
        }
        let connected: Vec<&str> = inputs.keys().map(String::as_str).collect();
        Ok(Work {
            op: op.of_stage(&order.params, &connected)?,
            params: order.params,
            inputs,
            seen,
            stage: order.stage,
        })
    }

    fn compute(&self, work: Work, ranks: ranks::Shared) -> OpResult<()> {
        let rank = ranks.rank();
        let workdir = std::env::temp_dir().join(format!("gfm-pipe-{}-{rank}", std::process::id()));
        std::fs::create_dir_all(&workdir)
            .map_err(|e| OpError::wrap("failed to create", e).file(&workdir))?;
        let cancel = Cancel::default();
        let ctx = Context {
            stage: work.stage,
            inputs: work.inputs,
            outputs: Arc::new(Nowhere),
            reporter: Arc::new(Silent),
            cancel: cancel.clone(),
            base: self.base.clone(),
            workdir: workdir.clone(),
            items: Items::new(
                self.store.items_root(),
                workdir.clone(),
                MadeOn::here(self.device, work.op.on_gpu(&work.params)).kind(),
            ),
            device: self.device.to_owned(),
            environment: std::env::vars_os().collect(),
            offline: false,
            requests: None,
            ranks,
        };
        let ended = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if self.team.is_stopped() {
                        cancel.cancel();
                    }
                    std::thread::sleep(POLL);
                }
            });
            let caught = crate::exec::caught(|| work.op.run(work.params, &ctx));
            ended.store(true, Ordering::Relaxed);
            caught
        });
        // Operators may or may not have left files there.
        let _ = std::fs::remove_dir_all(&workdir);
        // Rank 0 checks its own files, but this rank may see other copies.
        match work.seen.iter().find_map(Seen::change) {
            Some(what) if result.is_ok() => Err(OpError::new(format!("{what} while it was read"))
                .hint("run it again once nothing writes to the file")),
            _ => result,
        }
    }
}
