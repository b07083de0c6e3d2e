//! How far a pass over samples is, as a part of everything of its kind that a stage does.

use gfm_pipe_api::Context;

/// A pass that is a part of a larger count.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Where progress is reported.
    pub ctx: &'a Context,
    /// What is counted.
    pub unit: &'a str,
    /// What is gone through now.
    pub note: &'a str,
    /// Units that were through before.
    pub before: usize,
    /// Units of this pass.
    pub units: usize,
    /// Units in all.
    pub total: usize,
}

impl<'a> Pass<'a> {
    /// All there is of something.
    pub fn whole(ctx: &'a Context, unit: &'a str, units: usize) -> Self {
        Pass {
            ctx,
            unit,
            note: "",
            before: 0,
            units,
            total: units,
        }
    }

    /// Reports that `done` of the pass's `of` parts are through; where it has none, it is. Of
    /// several ranks the first one reports, and its parts stand for those of the others.
    pub fn at(&self, done: usize, of: usize) {
        let part = match of {
            0 => self.units,
            of => (self.units as u128 * done.min(of) as u128 / of as u128) as usize,
        };
        let (done, total) = (self.before + part, self.total);
        if total > 0 {
            self.ctx
                .progress(done as u64, total as u64, self.unit, self.note);
        }
    }
}
