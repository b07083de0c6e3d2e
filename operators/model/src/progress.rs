//! Reports the progress of a pass over samples as a part of all the passes of a stage.

use gfm_pipe_api::Context;

/// One pass of a stage.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Where progress is reported.
    pub ctx: &'a Context,
    /// Name of the unit that is counted.
    pub unit: &'a str,
    /// Name of the pass; may be empty.
    pub note: &'a str,
    /// Number of units in earlier passes.
    pub before: usize,
    /// Number of units in this pass.
    pub units: usize,
    /// Number of units in all passes.
    pub total: usize,
}

impl<'a> Pass<'a> {
    /// The only pass of a stage.
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

    /// Reports that `done` of the `of` parts of this pass are done. A pass without parts is done.
    /// In a distributed stage only the first rank reports, and its parts stand for those of all
    /// ranks.
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
