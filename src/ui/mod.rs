//! How a run is shown: lines and bars for people, JSON for programs.
//!
//! Together with `cli/`, this is the only part that writes to the terminal. Invariant: if the
//! reader goes away (a closed pipe), output stops, but the run goes on.

mod answer;
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

pub use answer::answer;
pub use audit::{Verdict, judgement, verdict, verdict_of};
pub use closing::{Closing, closing};
pub use human::{HumanUi, Look};
pub use json::JsonUi;
pub use metrics::{MetricRow, is_main, metric_rows, metrics_tables};
pub use out::Out;
pub use plan::plan_text;
pub use text::{bytes, count, duration, items, number, reasons, rows, table};
pub use watch::{Watched, watched};
