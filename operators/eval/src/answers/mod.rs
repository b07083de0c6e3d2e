//! `evaluate-answers`: how often answers in words are right, and whether they cite their sources.
//!
//! `normal` brings texts into the form in which they are compared, `score` compares two of them,
//! `metrics` has the metrics of a question, `read` reads what is compared, and `results` makes the
//! tables.

mod metrics;
mod normal;
mod operator;
mod read;
mod results;
mod score;
#[cfg(test)]
mod tests;

pub use metrics::{AnswerMetric, METRICS, SHOWN, TARGET};
pub use operator::EvaluateAnswers;
