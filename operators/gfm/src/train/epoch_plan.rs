//! The order of training steps: which data set an epoch visits when, and a place between two steps.
//!
//! An epoch visits every data set once, in an order drawn from the seed, and runs all its batches
//! before the next. Invariant: the plan depends only on the seed, the epoch and the sizes of the
//! data sets, so a run that was stopped finds its place again.

use serde::{Deserialize, Serialize};

use gfm_pipe_model::model::rng;
use gfm_pipe_model::sampling::permutation;

/// A place between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// One-based epoch.
    pub epoch: u32,
    /// Number of data sets that this epoch has finished. After the last one comes the validation.
    pub visit: usize,
    /// The data set being trained on; arbitrary when none is left.
    pub set: usize,
    /// Steps done on it in this epoch.
    pub step: usize,
}

/// The steps of every epoch, by the sizes of the data sets.
pub(super) struct EpochPlan {
    pub seed: u64,
    pub batch_size: usize,
    /// Maximum number of steps per data set and epoch.
    pub cap: Option<usize>,
    /// Number of training samples of each data set.
    pub samples: Vec<usize>,
    /// Data sets with validation samples, in order.
    pub validated: Vec<usize>,
}

impl EpochPlan {
    /// Steps on a data set in each epoch, at most [`EpochPlan::cap`].
    pub fn steps(&self, set: usize) -> usize {
        let all = self.samples[set].div_ceil(self.batch_size);
        self.cap.map_or(all, |cap| cap.min(all))
    }

    /// Steps of an epoch, over all data sets.
    pub fn per_epoch(&self) -> u64 {
        (0..self.samples.len()).map(|s| self.steps(s) as u64).sum()
    }

    /// The data sets of an epoch that have steps, in the order they are visited.
    pub fn order(&self, epoch: u32) -> Vec<usize> {
        let all: Vec<usize> = (0..self.samples.len())
            .filter(|s| self.steps(*s) > 0)
            .collect();
        let mut stream = rng(self.seed, &format!("data sets of epoch {epoch}"));
        permutation(all.len(), &mut stream)
            .into_iter()
            .map(|i| all[i])
            .collect()
    }

    /// The place where an epoch starts.
    pub fn start(&self, epoch: u32) -> Place {
        Place {
            epoch,
            visit: 0,
            set: self.order(epoch).first().copied().unwrap_or(0),
            step: 0,
        }
    }

    /// The place where the next data set of an epoch starts.
    pub fn next_set(&self, place: Place) -> Place {
        let visit = place.visit + 1;
        Place {
            epoch: place.epoch,
            visit,
            set: self.order(place.epoch).get(visit).copied().unwrap_or(0),
            step: 0,
        }
    }

    /// Whether this plan reaches `place` after `taken` steps. A checkpoint of another plan does
    /// not.
    pub fn reaches(&self, place: Place, taken: u64) -> bool {
        let order = self.order(place.epoch);
        let finished = place.visit.min(order.len());
        let before: u64 = order[..finished]
            .iter()
            .map(|s| self.steps(*s) as u64)
            .sum();
        let fits = match order.get(place.visit) {
            Some(set) => *set == place.set && place.step <= self.steps(*set),
            None => place.visit == order.len() && place.step == 0,
        };
        let epochs = u64::from(place.epoch.saturating_sub(1));
        place.epoch > 0 && fits && taken == epochs * self.per_epoch() + before + place.step as u64
    }

    /// Suffix for the name of a data set's random stream; empty where there is only one data set.
    pub fn suffix(&self, set: usize) -> String {
        if self.samples.len() == 1 {
            String::new()
        } else {
            format!(" in data set {set}")
        }
    }

    /// Data sets that are needed after a place, soonest first. It lists every data set that is
    /// still needed at least once.
    pub fn upcoming(&self, place: Place) -> Vec<usize> {
        let rest = self.order(place.epoch);
        let mut out = rest.get(place.visit + 1..).unwrap_or(&[]).to_vec();
        out.extend(&self.validated);
        out.extend(self.order(place.epoch + 1));
        out
    }

    /// The same as [`EpochPlan::upcoming`], during the validation of an epoch.
    pub fn upcoming_in_validation(&self, epoch: u32, at: usize) -> Vec<usize> {
        let mut out = self.validated.get(at + 1..).unwrap_or(&[]).to_vec();
        out.extend(self.order(epoch + 1));
        out.extend(&self.validated);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> EpochPlan {
        EpochPlan {
            seed: 7,
            batch_size: 4,
            cap: Some(3),
            samples: vec![5, 0, 100, 4],
            validated: vec![1, 2],
        }
    }

    #[test]
    fn the_cap_applies_to_each_data_set() {
        let p = plan();
        let steps: Vec<usize> = (0..4).map(|s| p.steps(s)).collect();
        assert_eq!(steps, [2, 0, 3, 1]);
        assert_eq!(p.per_epoch(), 6);
    }

    #[test]
    fn every_epoch_visits_each_nonempty_data_set_once() {
        let p = plan();
        let orders: Vec<Vec<usize>> = (1..=12).map(|e| p.order(e)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 2, 3]);
        }
        assert!(orders.iter().any(|o| *o != orders[0]));
        assert_eq!(p.order(3), plan().order(3));
    }

    #[test]
    fn only_places_of_the_plan_are_reached() {
        let p = plan();
        let mut taken = 0;
        for epoch in 1..=3 {
            let mut place = p.start(epoch);
            while place.visit < 3 {
                for step in 0..=p.steps(place.set) {
                    let here = Place { step, ..place };
                    assert!(p.reaches(here, taken + step as u64), "{here:?}");
                    assert!(!p.reaches(here, taken + step as u64 + 1));
                }
                let elsewhere = Place {
                    set: (place.set + 1) % 4,
                    ..place
                };
                assert!(!p.reaches(elsewhere, taken));
                taken += p.steps(place.set) as u64;
                place = p.next_set(place);
            }
            assert!(p.reaches(place, taken), "before the validation: {place:?}");
        }
        assert!(!p.reaches(
            Place {
                epoch: 0,
                visit: 0,
                set: 0,
                step: 0
            },
            0
        ));
    }
}
