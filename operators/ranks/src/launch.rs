//! How this process was started: alone, or as one of several ranks.

use std::fmt::Display;
use std::str::FromStr;

use gfm_pipe_api::{OpError, OpResult};

/// One of several processes that were started together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Number of this process among all processes.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process among those on its host.
    pub local_rank: usize,
    /// Number of processes on its host.
    pub local_size: usize,
}

/// Environment variables that a launcher sets: rank, size, rank on the host, number of ranks on the
/// host.
///
/// SLURM's own come last: in a batch script SLURM sets its own variables for every program, but
/// `PMI_RANK` or `PMIX_RANK` only under `srun --mpi=…`.
const LAUNCHERS: [[&str; 4]; 3] = [
    [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ],
    ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"],
    [
        "PMIX_RANK",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",
        "SLURM_STEP_TASKS_PER_NODE",
    ],
];

impl Launch {
    /// Reads from the environment how this process was started; `None` for a process that is alone.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| leading_number(&env(name)?);
        let found = LAUNCHERS.iter().find_map(|[rank, size, local, count]| {
            let (rank, size) = (number(rank)?, number(size)?);
            Some(Launch {
                rank,
                size,
                local_rank: number(local)
                    .or_else(|| number("SLURM_LOCALID"))
                    .unwrap_or(0),
                local_size: number(count)
                    .or_else(|| number("SLURM_STEP_TASKS_PER_NODE"))
                    .unwrap_or(1),
            })
        });
        found.filter(|l| l.size > 1 && l.rank < l.size)
    }

    /// Checks that this build can be one of several ranks.
    ///
    /// # Errors
    /// When it has no MPI: each process would then run the whole pipeline on the same store.
    pub fn check(&self) -> OpResult<()> {
        if cfg!(feature = "mpi") {
            return Ok(());
        }
        Err(OpError::new(format!(
            "{} processes were started together, and this gfm-pipe was built without MPI",
            self.size
        ))
        .hint("build it with `cargo build --release --features mpi` (docs/ranks.md), or start one process"))
    }
}

/// SLURM writes `4(x2)` for two hosts with four each.
fn leading_number<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(env: &[(&str, &str)]) -> Option<Launch> {
        Launch::from_env(|name| {
            env.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn launchers_are_told_by_what_they_set() {
        let launch = |rank, size, local_rank, local_size| {
            Some(Launch {
                rank,
                size,
                local_rank,
                local_size,
            })
        };
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("PMIX_RANK", "3"),
        ];
        assert_eq!(launched(&open_mpi), launch(3, 4, 1, 2));
        let slurm = [
            ("PMIX_RANK", "5"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
        ];
        assert_eq!(launched(&slurm), launch(5, 8, 1, 4));
        let pmi = [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("SLURM_LOCALID", "1")];
        assert_eq!(launched(&pmi), launch(1, 2, 1, 1));
    }

    #[test]
    fn a_batch_script_and_a_single_rank_are_alone() {
        let script = [("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")];
        assert_eq!(launched(&script), None);
        let one = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")];
        assert_eq!(launched(&one), None);
        assert_eq!(launched(&[]), None);
    }
}
