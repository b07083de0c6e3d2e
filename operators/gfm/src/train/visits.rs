//! Which data set is trained on when: the course of an epoch, and a place in it.
//!
//! An epoch visits every data set once, in an order drawn from the seed, and takes each one's batches in a row. Invariant:
//! the course depends on seed, epoch and the data sets' sizes alone, so that a place is found again after a stop.

use serde::{Deserialize, Serialize};

use gfm_pipe_model::model::rng;
use gfm_pipe_model::sampling::permutation;

/// A place between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// One-based epoch.
    pub epoch: u32,
    /// Data sets of this epoch that are through; all of them: the validation comes next.
    pub visit: usize,
    /// The data set being trained on (any number when none is left).
    pub set: usize,
    /// Steps taken on it in this epoch.
    pub step: usize,
}

/// Sizes of the data sets and how batches are made of them.
pub(super) struct Course {
    pub seed: u64,
    pub batch_size: usize,
    /// At most this many steps a data set and epoch.
    pub cap: Option<usize>,
    /// Samples of each data set.
    pub samples: Vec<usize>,
    /// Data sets that are validated on, in order.
    pub validated: Vec<usize>,
}

impl Course {
    /// Steps on a data set in each epoch.
    pub fn steps(&self, set: usize) -> usize {
        let all = self.samples[set].div_ceil(self.batch_size);
        self.cap.map_or(all, |cap| cap.min(all))
    }

    /// Steps of an epoch.
    pub fn per_epoch(&self) -> u64 {
        (0..self.samples.len()).map(|s| self.steps(s) as u64).sum()
    }

    /// Data sets to train on in the order of an epoch.
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

    /// Where an epoch starts.
    pub fn start(&self, epoch: u32) -> Place {
        Place {
            epoch,
            visit: 0,
            set: self.order(epoch).first().copied().unwrap_or(0),
            step: 0,
        }
    }

    /// Where the next data set of an epoch starts.
    pub fn next_set(&self, place: Place) -> Place {
        let visit = place.visit + 1;
        Place {
            epoch: place.epoch,
            visit,
            set: self.order(place.epoch).get(visit).copied().unwrap_or(0),
            step: 0,
        }
    }

    /// Whether a place read from a checkpoint lies on this course after so many steps.
    pub fn holds(&self, place: Place, taken: u64) -> bool {
        let order = self.order(place.epoch);
        let through = place.visit.min(order.len());
        let before: u64 = order[..through].iter().map(|s| self.steps(*s) as u64).sum();
        let fits = match order.get(place.visit) {
            Some(set) => *set == place.set && place.step <= self.steps(*set),
            None => place.visit == order.len() && place.step == 0,
        };
        let epochs = u64::from(place.epoch.saturating_sub(1));
        place.epoch > 0 && fits && taken == epochs * self.per_epoch() + before + place.step as u64
    }

    /// What the name of a random stream ends in to belong to a data set; nothing where there is only one.
    pub fn suffix(&self, set: usize) -> String {
        if self.samples.len() == 1 {
            String::new()
        } else {
            format!(" in data set {set}")
        }
    }

    /// Data sets that will be wanted after a place: enough to name each one that will be wanted at all.
    pub fn upcoming(&self, place: Place) -> Vec<usize> {
        let rest = self.order(place.epoch);
        let mut out = rest.get(place.visit + 1..).unwrap_or(&[]).to_vec();
        out.extend(&self.validated);
        out.extend(self.order(place.epoch + 1));
        out
    }

    /// The same from within the validation of an epoch.
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

    fn course() -> Course {
        Course {
            seed: 7,
            batch_size: 4,
            cap: Some(3),
            samples: vec![5, 0, 100, 4],
            validated: vec![1, 2],
        }
    }

    #[test]
    fn the_cap_holds_for_every_data_set_by_itself() {
        let c = course();
        let steps: Vec<usize> = (0..4).map(|s| c.steps(s)).collect();
        assert_eq!(steps, [2, 0, 3, 1]);
        assert_eq!(c.per_epoch(), 6);
    }

    #[test]
    fn every_epoch_visits_all_that_have_samples_in_an_order_of_its_own() {
        let c = course();
        let orders: Vec<Vec<usize>> = (1..=12).map(|e| c.order(e)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 2, 3]);
        }
        assert!(orders.iter().any(|o| *o != orders[0]));
        assert_eq!(c.order(3), course().order(3));
    }

    #[test]
    fn places_are_those_of_the_course_and_no_others() {
        let c = course();
        let mut taken = 0;
        for epoch in 1..=3 {
            let mut place = c.start(epoch);
            while place.visit < 3 {
                for step in 0..=c.steps(place.set) {
                    let here = Place { step, ..place };
                    assert!(c.holds(here, taken + step as u64), "{here:?}");
                    assert!(!c.holds(here, taken + step as u64 + 1));
                }
                let elsewhere = Place {
                    set: (place.set + 1) % 4,
                    ..place
                };
                assert!(!c.holds(elsewhere, taken));
                taken += c.steps(place.set) as u64;
                place = c.next_set(place);
            }
            assert!(c.holds(place, taken), "before the validation: {place:?}");
        }
        assert!(!c.holds(
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
