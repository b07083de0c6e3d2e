//! Metrics of a run: one series of points for each stage and metric, in memory and as a table.
//!
//! Invariant: steps increase within a series. When a stage is retried, what it reports again
//! replaces what it reported before, so no step occurs twice.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use gfm_pipe_api::table;

use super::events::Event;
use crate::store::{StoreError, atomic};

/// A value at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// One-based epoch; 0 if there are no epochs.
    pub epoch: u32,
    /// Number of steps done.
    pub step: u64,
    /// Value of the metric.
    pub value: f64,
    /// When it was reported: milliseconds since 1970, UTC.
    pub time_ms: u64,
}

/// All values of one metric of one stage, by increasing step.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name of the stage.
    pub stage: String,
    /// Name of the metric.
    pub metric: String,
    /// The values.
    pub points: Vec<Point>,
}

/// Every series of a run, built from its events.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: Vec<Series>,
    /// Indices into `series`, by stage and metric.
    places: HashMap<(String, String), usize>,
    /// Stages that are being retried and have not said yet from which step.
    again: BTreeSet<String>,
}

impl Metrics {
    /// Processes an event; returns whether that changed anything.
    pub fn apply(&mut self, time_ms: u64, event: &Event) -> bool {
        match event {
            Event::StageRetried { stage, .. } => {
                self.again.insert(stage.clone());
                false
            }
            Event::StageResumed { stage, step } => {
                self.again.remove(stage);
                self.forget_after(stage, Some(*step));
                true
            }
            Event::Metric {
                stage,
                epoch,
                step,
                name,
                value,
            } => {
                if self.again.remove(stage) {
                    self.forget_after(stage, None);
                }
                let point = Point {
                    epoch: *epoch,
                    step: *step,
                    value: *value,
                    time_ms,
                };
                self.push(stage, name, point);
                true
            }
            _ => false,
        }
    }

    fn push(&mut self, stage: &str, name: &str, point: Point) {
        let key = (stage.to_owned(), name.to_owned());
        let place = *self.places.entry(key).or_insert_with(|| {
            self.series.push(Series {
                stage: stage.to_owned(),
                metric: name.to_owned(),
                points: Vec::new(),
            });
            self.series.len() - 1
        });
        let points = &mut self.series[place].points;
        let before = points.partition_point(|p| p.step < point.step);
        points.truncate(before);
        points.push(point);
    }

    /// Removes what a stage reported about later steps; with `None`, everything it reported.
    fn forget_after(&mut self, stage: &str, step: Option<u64>) {
        for series in self.series.iter_mut().filter(|s| s.stage == stage) {
            let kept = step.map_or(0, |step| series.points.partition_point(|p| p.step <= step));
            series.points.truncate(kept);
        }
    }

    /// The series with at least one point, in the order in which they first appeared.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|s| !s.points.is_empty())
    }

    /// One series, by stage and metric.
    pub fn get(&self, stage: &str, metric: &str) -> Option<&Series> {
        let mut all = self.series();
        all.find(|s| s.stage == stage && s.metric == metric)
    }

    /// All series with at least one point.
    pub fn into_series(self) -> Vec<Series> {
        let all = self.series.into_iter();
        all.filter(|s| !s.points.is_empty()).collect()
    }

    /// Writes the metrics as a Parquet table (stage, epoch, step, metric, value, time), replacing
    /// an older one. `tmp` is the folder for temporary files.
    ///
    /// # Errors
    /// When the disk refuses; the old table is still there then.
    pub(super) fn write(&self, tmp: &Path, to: &Path) -> Result<(), StoreError> {
        let failed = |e: parquet::errors::ParquetError| {
            StoreError::io("write", to)(std::io::Error::other(e))
        };
        let temp = atomic::TempFile::create(tmp)?;
        let mut writer = table::writer(&temp, schema()).map_err(failed)?;
        for series in self.series() {
            for points in series.points.chunks(table::BATCH_ROWS) {
                writer
                    .write(&batch(series, points).map_err(|e| failed(e.into()))?)
                    .map_err(failed)?;
            }
        }
        writer.close().map_err(failed)?;
        temp.persist(to)?;
        atomic::sync_dir(to.parent().unwrap_or(Path::new(".")))
    }
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let fields = [
        ("stage", DataType::Utf8),
        ("epoch", DataType::UInt32),
        ("step", DataType::UInt64),
        ("metric", DataType::Utf8),
        ("value", DataType::Float64),
        ("time", time),
    ];
    let fields = fields.map(|(name, kind)| Field::new(name, kind, false));
    Arc::new(Schema::new(fields.to_vec()))
}

fn batch(series: &Series, points: &[Point]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text =
        |s: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(points.iter().map(|_| s))) };
    let times = points
        .iter()
        .map(|p| i64::try_from(p.time_ms).unwrap_or(i64::MAX));
    let columns: Vec<ArrayRef> = vec![
        text(&series.stage),
        Arc::new(UInt32Array::from_iter_values(
            points.iter().map(|p| p.epoch),
        )),
        Arc::new(UInt64Array::from_iter_values(points.iter().map(|p| p.step))),
        text(&series.metric),
        Arc::new(Float64Array::from_iter_values(
            points.iter().map(|p| p.value),
        )),
        Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, step: u64, value: f64) -> Event {
        Event::Metric {
            stage: "fit".to_owned(),
            epoch: 1,
            step,
            name: name.to_owned(),
            value,
        }
    }

    fn series_of(events: &[Event]) -> Vec<(String, Vec<(u64, f64)>)> {
        let mut all = Metrics::default();
        for (i, event) in events.iter().enumerate() {
            all.apply(i as u64, event);
        }
        let points = |s: &Series| s.points.iter().map(|p| (p.step, p.value)).collect();
        all.series()
            .map(|s| (s.metric.clone(), points(s)))
            .collect()
    }

    fn retried() -> Event {
        Event::StageRetried {
            stage: "fit".to_owned(),
            retry: 1,
        }
    }

    fn resumed(step: u64) -> Event {
        Event::StageResumed {
            stage: "fit".to_owned(),
            step,
        }
    }

    #[test]
    fn a_retry_that_goes_on_from_a_checkpoint_replaces_what_came_after_it() {
        let got = series_of(&[
            metric("loss", 10, 0.9),
            metric("loss", 20, 0.8),
            metric("valid:mrr", 20, 0.1),
            metric("loss", 30, 0.7),
            retried(),
            resumed(20),
            metric("loss", 25, 0.75),
            metric("loss", 30, 0.71),
        ]);
        let loss = vec![(10, 0.9), (20, 0.8), (25, 0.75), (30, 0.71)];
        assert_eq!(
            got,
            [
                ("loss".to_owned(), loss),
                ("valid:mrr".to_owned(), vec![(20, 0.1)])
            ]
        );
    }

    #[test]
    fn a_retry_from_the_start_forgets_all_of_the_stage() {
        let got = series_of(&[
            metric("loss", 10, 0.9),
            metric("valid:mrr", 10, 0.1),
            retried(),
            metric("loss", 5, 0.95),
        ]);
        assert_eq!(got, [("loss".to_owned(), vec![(5, 0.95)])]);
    }

    #[test]
    fn a_step_reported_again_replaces_the_earlier_values() {
        let got = series_of(&[
            metric("loss", 10, 0.9),
            metric("loss", 20, 0.8),
            metric("loss", 10, 0.85),
        ]);
        assert_eq!(got, [("loss".to_owned(), vec![(10, 0.85)])]);
    }
}
