//! How a run looks: lines and bars for people, JSON for programs.
//!
//! With `cli/`, the only part that writes to the terminal. Invariant: a reader that went away (a
//! closed pipe) ends the output, not the run.

mod audit;
mod closing;
mod human;
mod json;
mod metrics;
mod out;
mod plan;
mod plot;
mod text;
mod watch;

pub use audit::{Verdict, judged, judgement, verdict};
pub use closing::{Closing, closing};
pub use human::{HumanUi, Look};
pub use json::JsonUi;
pub use metrics::{MetricRow, is_main, metric_rows, metrics_tables};
pub use out::Out;
pub use plan::plan_text;
pub use text::{bytes, count, duration, number, reasons, rows, table};
pub use watch::{Watched, watched};
