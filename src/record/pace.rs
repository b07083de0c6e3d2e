//! How fast a stage counts through its work, and how long the rest will take.
//!
//! A stage may count several units, each with its own total: a training counts steps, and the
//! samples it validates on. Elapsed time is attributed to the unit that was counted in it, so that
//! each unit has its own speed.

/// Estimated time that a stage still needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remaining {
    /// Seconds.
    pub seconds: f64,
    /// Whether there is more work whose speed is not known yet, so that it takes longer than this.
    pub at_least: bool,
}

/// One kind of thing that is counted.
#[derive(Debug, Clone)]
struct Unit {
    name: String,
    done: u64,
    total: u64,
    /// Number of units counted during `ms`.
    timed: u64,
    /// Milliseconds that those took.
    ms: u64,
}

/// What is known about a stage's speed.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    units: Vec<Unit>,
    /// When something was last counted (milliseconds since 1970), and the index of that unit.
    last: Option<(u64, usize)>,
}

impl Pace {
    /// Records that `done` of `total` units are done. `time_ms` is in milliseconds since 1970.
    pub fn count(&mut self, time_ms: u64, unit: &str, done: u64, total: u64) {
        let at = self.units.iter().position(|u| u.name == unit);
        let new = Unit {
            name: unit.to_owned(),
            done,
            total,
            timed: 0,
            ms: 0,
        };
        let at = match at {
            // A count that starts over may have another speed.
            Some(at) if self.units[at].total != total || self.units[at].done > done => {
                self.units[at] = new;
                at
            }
            Some(at) => at,
            None => {
                self.units.push(new);
                self.units.len() - 1
            }
        };
        let more = done - self.units[at].done;
        if let Some((before, last)) = self.last {
            // Time in which this unit did not advance was spent on the previously counted unit, or
            // before anything was counted.
            let spent_on = if more > 0 { at } else { last };
            let unit = &mut self.units[spent_on];
            if more > 0 || unit.timed > 0 {
                unit.ms += time_ms.saturating_sub(before);
            }
        }
        self.units[at].done = done;
        self.units[at].timed += more;
        self.last = Some((time_ms.max(self.last.map_or(0, |l| l.0)), at));
    }

    /// Whether everything that was announced has been counted.
    pub fn is_over(&self) -> bool {
        !self.units.is_empty() && self.units.iter().all(|u| u.done >= u.total)
    }

    /// Estimated time for the rest of what was announced, by the speed so far; `None` if no speed
    /// is known, or nothing is left to count.
    pub fn left(&self, now_ms: u64) -> Option<Remaining> {
        let (last, _) = self.last?;
        let (mut ms, mut at_least, mut known) = (0.0, false, false);
        for u in self.units.iter().filter(|u| u.done < u.total) {
            if u.timed == 0 || u.ms == 0 {
                at_least = true;
                continue;
            }
            known = true;
            ms += (u.total - u.done) as f64 * u.ms as f64 / u.timed as f64;
        }
        let seconds = (ms - now_ms.saturating_sub(last) as f64) / 1000.0;
        known.then_some(Remaining {
            seconds: seconds.max(0.0),
            at_least,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(seconds: f64, at_least: bool) -> Option<Remaining> {
        Some(Remaining { seconds, at_least })
    }

    #[test]
    fn steps_and_validations_have_their_own_speed() {
        let mut pace = Pace::default();
        // Two epochs of 100 steps, each with a validation on 50 samples.
        pace.count(1_000, "samples", 0, 100);
        assert_eq!(pace.left(1_000), None);
        pace.count(2_000, "steps", 0, 200);
        pace.count(12_000, "steps", 100, 200);
        // 100 ms per step; the duration of a validation is not known yet.
        assert_eq!(pace.left(12_000), left(10.0, true));
        assert_eq!(pace.left(15_000), left(7.0, true));
        // A sample takes ten times as long as a step.
        pace.count(22_000, "samples", 10, 100);
        assert_eq!(pace.left(22_000), left(10.0 + 90.0, false));
        pace.count(62_000, "samples", 50, 100);
        pace.count(63_000, "steps", 110, 200);
        assert_eq!(pace.left(63_000), left(9.0 + 50.0, false));
        pace.count(72_000, "steps", 200, 200);
        assert_eq!(pace.left(72_000), left(50.0, false));
        assert!(!pace.is_over());
        pace.count(122_000, "samples", 100, 100);
        assert_eq!(pace.left(122_000), None);
        assert!(pace.is_over() && !Pace::default().is_over());
    }

    #[test]
    fn a_count_that_goes_on_or_starts_over_begins_where_it_was() {
        let mut pace = Pace::default();
        pace.count(0, "steps", 600, 1000);
        assert_eq!(pace.left(0), None);
        pace.count(10_000, "steps", 700, 1000);
        assert_eq!(pace.left(10_000), left(30.0, false));
        // Retried from an earlier checkpoint.
        pace.count(20_000, "steps", 650, 1000);
        assert_eq!(pace.left(20_000), None);
        // When the clock is set back, no time is counted.
        pace.count(19_000, "steps", 660, 1000);
        assert_eq!(pace.left(19_000), None);
        pace.count(22_000, "steps", 670, 1000);
        assert_eq!(pace.left(22_000), left(33.0, false));
    }

    #[test]
    fn time_before_a_count_begins_belongs_to_what_was_counted_before() {
        let mut pace = Pace::default();
        pace.count(0, "steps", 0, 10);
        pace.count(8_000, "steps", 8, 10);
        // The last two steps were not reported before the next unit was announced with nothing
        // done.
        pace.count(10_000, "samples", 0, 4);
        pace.count(12_000, "samples", 1, 4);
        assert_eq!(pace.left(12_000), left(2.0 * 10.0 / 8.0 + 3.0 * 2.0, false));
    }
}
