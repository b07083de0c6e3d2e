//! MPI as a [`Collective`]. All its functions are called on the thread that started it.

use gfm_pipe_api::{Collective, OpError, OpResult};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::{Threading, Universe};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use crate::launch::Launch;

/// Most bytes that a rank sends or receives in one call: MPI counts them in 31 bits.
const MOST: usize = 1 << 30;

/// This process as one of MPI's ranks. Dropping it ends MPI.
pub struct Mpi {
    world: SimpleCommunicator,
    _universe: Universe,
}

impl Mpi {
    /// Starts MPI.
    ///
    /// # Errors
    /// When MPI was started before, does not support programs with threads, or reports another rank
    /// or number of ranks than the launcher.
    pub fn start(launch: Launch) -> OpResult<Self> {
        // The process has several threads, but only one of them calls MPI.
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, threading) =
            started.ok_or_else(|| OpError::new("MPI was started before"))?;
        if threading < Threading::Funneled {
            return Err(
                OpError::new("this MPI cannot be used by programs that have threads")
                    .hint("build it with support for threads (MPI_THREAD_FUNNELED)"),
            );
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if (rank, size) != (launch.rank, launch.size) {
            return Err(OpError::new(format!(
                "the launcher started {} processes, of which MPI sees {size}: launcher and program use different MPIs",
                launch.size
            ))
            .hint("start it with the mpirun of the OpenMPI it was built with (under SLURM: srun --mpi=pmix)"));
        }
        Ok(Mpi {
            world,
            _universe: universe,
        })
    }

    /// Exchanges one piece of every message: bytes `at..at + most`, or as many of them as the
    /// message has.
    fn pieces(&self, to: &[Vec<u8>], lengths: &[u64], at: usize, most: usize, got: &mut [Vec<u8>]) {
        let piece = |length: usize| length.saturating_sub(at).min(most);
        let mut sent = buffer(0);
        for message in to {
            sent.extend_from_slice(&message[at.min(message.len())..][..piece(message.len())]);
        }
        let counts: Vec<usize> = to.iter().map(|m| piece(m.len())).collect();
        let expected: Vec<usize> = lengths.iter().map(|l| piece(*l as usize)).collect();
        let mut received = buffer(expected.iter().sum());
        let (from, into) = (places(&counts), places(&expected));
        {
            let sent = Partition::new(&sent[..], from.0, from.1);
            let mut received = PartitionMut::new(&mut received[..], &into.0[..], &into.1[..]);
            self.world.all_to_all_varcount_into(&sent, &mut received);
        }
        let mut rest = &received[..];
        for (got, count) in got.iter_mut().zip(expected) {
            let (mine, later) = rest.split_at(count);
            got.extend_from_slice(mine);
            rest = later;
        }
    }
}

/// A buffer of this many bytes with an address of its own, even if it is empty. The address of an
/// empty vector is 1, which OpenMPI takes for `MPI_IN_PLACE`.
fn buffer(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.max(1));
    out.resize(bytes, 0);
    out
}

/// The counts, and the offset at which each begins.
fn places(counts: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let mut at = 0;
    counts
        .iter()
        .map(|count| {
            at += count;
            (*count as i32, (at - count) as i32)
        })
        .unzip()
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        let size = self.size();
        // Every rank gets all lengths, because the longest decides how many rounds there are.
        let mine: Vec<u64> = to.iter().map(|m| m.len() as u64).collect();
        let mut all = vec![0u64; size * size];
        self.world.all_gather_into(&mine[..], &mut all[..]);
        let here = self.rank();
        let lengths: Vec<u64> = all.chunks_exact(size).map(|row| row[here]).collect();
        let longest = all.iter().copied().max().unwrap_or(0) as usize;
        let most = (MOST / size).max(1);
        let mut got: Vec<Vec<u8>> = lengths
            .iter()
            .map(|l| Vec::with_capacity(*l as usize))
            .collect();
        for at in (0..longest).step_by(most) {
            self.pieces(&to, &lengths, at, most, &mut got);
        }
        Ok(got)
    }

    fn all_gather(&self, mut mine: Vec<u8>) -> OpResult<Vec<Vec<u8>>> {
        let mut lengths = vec![0u64; self.size()];
        self.world
            .all_gather_into(&(mine.len() as u64), &mut lengths[..]);
        let total: u64 = lengths.iter().sum();
        if total as usize > MOST {
            return self.exchange(vec![mine; self.size()]);
        }
        let counts: Vec<usize> = lengths.iter().map(|l| *l as usize).collect();
        let (counts, displacements) = places(&counts);
        // See `buffer`.
        mine.reserve(1);
        let mut all = buffer(total as usize);
        {
            let mut received = PartitionMut::new(&mut all[..], &counts[..], &displacements[..]);
            self.world
                .all_gather_varcount_into(&mine[..], &mut received);
        }
        let mut rest = &all[..];
        Ok(counts
            .iter()
            .map(|count| {
                let (theirs, later) = rest.split_at(*count as usize);
                rest = later;
                theirs.to_vec()
            })
            .collect())
    }

    fn broadcast(&self, root: usize, mine: Vec<u8>) -> OpResult<Vec<u8>> {
        let process = self.world.process_at_rank(root as i32);
        let mut length = mine.len() as u64;
        process.broadcast_into(&mut length);
        let mut all = if self.rank() == root {
            mine
        } else {
            vec![0; length as usize]
        };
        for piece in all.chunks_mut(MOST) {
            process.broadcast_into(piece);
        }
        Ok(all)
    }

    fn barrier(&self) -> OpResult<()> {
        self.world.barrier();
        Ok(())
    }
}
