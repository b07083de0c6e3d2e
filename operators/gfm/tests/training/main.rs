//! The training operators on tiny graphs: they learn, are reproducible, continue after a stop, take
//! several data sets, and every parameter does what its documentation says. Values that are not
//! numbers, or too large, are rejected.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod bad_values;
mod baselines;
mod divided;
mod evaluation;
mod features;
mod files;
mod keys;
mod learning;
mod progress;
mod ranks;
mod reasoner;
mod reported_metrics;
mod resume;
mod sets;
mod starts;
mod toy;
mod twins;
