//! Writes the metrics of a run for TensorBoard: `DIR/<run>/<stage>/events.out.tfevents.…`.
//!
//! A file is TFRecords (length and content, each with a masked CRC-32C) of `Event` messages of
//! TensorBoard's protocol. Four kinds of field are all that scalars need, so they are encoded here;
//! the crates that do it were last released years ago and bring code generators or image libraries.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crc::{CRC_32_ISCSI, Crc};

use super::events::{Event, EventSink};
use super::time::now_ms;
use crate::store::{StoreError, file_name};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Listens to a run and writes its metrics for TensorBoard.
pub struct TensorBoard {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    run: String,
    stages: HashMap<String, Stage>,
    /// The first error; nothing is written after it.
    failed: Option<StoreError>,
}

#[derive(Default)]
struct Stage {
    file: Option<File>,
    /// A retried stage reports steps from this one on again, so what TensorBoard has read of them
    /// is void.
    void_from: Option<u64>,
}

impl TensorBoard {
    /// Writes below `folder`, which is created when there is something to write.
    pub fn new(folder: PathBuf) -> Self {
        TensorBoard {
            folder,
            inner: Mutex::default(),
        }
    }

    /// Takes the error if something could not be written.
    pub fn failed(&self) -> Option<StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.failed.take()
    }
}

impl EventSink for TensorBoard {
    fn emit(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        match event {
            Event::RunStarted { run, .. } => inner.run.clone_from(run),
            Event::StageRetried { stage, .. } => {
                inner.stages.entry(stage.clone()).or_default().void_from = Some(0);
            }
            Event::StageResumed { stage, step } => {
                let s = inner.stages.entry(stage.clone()).or_default();
                s.void_from = s.file.is_some().then(|| step.saturating_add(1));
            }
            Event::Metric {
                stage,
                step,
                name,
                value,
                ..
            } if inner.failed.is_none() => {
                let folder = self.folder.join(&inner.run).join(file_name(stage));
                let s = inner.stages.entry(stage.clone()).or_default();
                inner.failed = s.write(&folder, *step, name, *value).err();
            }
            _ => {}
        }
    }
}

impl Stage {
    fn write(
        &mut self,
        folder: &PathBuf,
        step: u64,
        name: &str,
        value: f64,
    ) -> Result<(), StoreError> {
        #[expect(clippy::cast_precision_loss)]
        let time = now_ms() as f64 / 1000.0;
        let mut bytes = Vec::new();
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
                let name = format!("events.out.tfevents.{}.gfm-pipe", now_ms() / 1000);
                let path = folder.join(name);
                let file = File::options().create_new(true).append(true).open(&path);
                record(&version(time), &mut bytes);
                none.insert(file.map_err(StoreError::io("create", &path))?)
            }
        };
        if let Some(from) = self.void_from.take() {
            record(&restart(time, from), &mut bytes);
        }
        record(&scalar(time, step, name, value), &mut bytes);
        file.write_all(&bytes)
            .map_err(StoreError::io("write", folder))
    }
}

/// Appends a TFRecord.
fn record(content: &[u8], out: &mut Vec<u8>) {
    let masked = |bytes: &[u8]| {
        let crc = CRC.checksum(bytes);
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let length = (content.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length));
    out.extend(content);
    out.extend(masked(content));
}

/// The first event of a file: `Event { wall_time = 1, file_version = 3 }`.
fn version(time: f64) -> Vec<u8> {
    let mut out = fixed64(1, time);
    out.extend(bytes(3, b"brain.Event:2"));
    out
}

/// Tells TensorBoard to discard steps from `step` on:
/// `Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }`.
fn restart(time: f64, step: u64) -> Vec<u8> {
    let mut out = fixed64(1, time);
    out.extend(varint(2, step));
    out.extend(bytes(7, &varint(1, 1)));
    out
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`.
fn scalar(time: f64, step: u64, tag: &str, value: f64) -> Vec<u8> {
    let mut summary = bytes(1, tag.as_bytes());
    summary.push(2 << 3 | 5);
    // The protocol stores values as `f32`.
    #[expect(clippy::cast_possible_truncation)]
    summary.extend((value as f32).to_le_bytes());
    let mut out = fixed64(1, time);
    out.extend(varint(2, step));
    out.extend(bytes(5, &bytes(1, &summary)));
    out
}

fn fixed64(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

fn varint(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    plain_varint(value, &mut out);
    out
}

fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    plain_varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

fn plain_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What version 2.x of the Python package `tensorboard` writes for the same three events.
    #[test]
    fn the_bytes_are_those_of_tensorboard_itself() {
        let want = "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9\
            200000000000000029eda9500900002040fc54d94110ac022a120a100a0976616c69643a6d7272150000403f\
            ae8c238b0f000000000000006d532b090900004040fc54d94110063a020801e0c78b1d";
        let mut got = Vec::new();
        record(&version(1_700_000_000.25), &mut got);
        record(&scalar(1_700_000_000.5, 300, "valid:mrr", 0.75), &mut got);
        record(&restart(1_700_000_001.0, 6), &mut got);
        let hex: String = got.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, want);
    }

    #[test]
    fn a_retry_voids_what_came_after_its_checkpoint_and_another_run_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let events = |run: &str| {
            let (run, stage) = (run.to_owned(), "fit[a]".to_owned());
            let metric = |step| Event::Metric {
                stage: stage.clone(),
                epoch: 1,
                step,
                name: "loss".to_owned(),
                value: 0.5,
            };
            let resumed = |step| Event::StageResumed {
                stage: stage.clone(),
                step,
            };
            let board = TensorBoard::new(dir.path().to_owned());
            board.emit(&Event::RunStarted {
                run: run.clone(),
                pipeline: "p".to_owned(),
                stages: vec![stage.clone()],
                version: "0".to_owned(),
                expected: std::collections::BTreeMap::new(),
            });
            // From a checkpoint of an earlier run.
            board.emit(&resumed(2));
            board.emit(&metric(3));
            board.emit(&Event::StageRetried {
                stage: stage.clone(),
                retry: 1,
            });
            board.emit(&resumed(2));
            board.emit(&metric(3));
            assert!(board.failed().is_none());
            let folder = dir.path().join(&run).join("fit%5ba%5d");
            let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
            lengths(&fs::read(file.path()).unwrap())
        };
        let scalar = scalar(0.0, 3, "loss", 0.5).len();
        let (version, restart) = (version(0.0).len(), restart(0.0, 3).len());
        assert_eq!(events("r"), [version, scalar, restart, scalar]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let board = TensorBoard::new(dir.path().join("file"));
        for step in [1, 2] {
            board.emit(&Event::Metric {
                stage: "s".to_owned(),
                epoch: 0,
                step,
                name: "loss".to_owned(),
                value: 1.0,
            });
        }
        assert!(board.failed().unwrap().to_string().contains("file"));
        assert!(board.failed().is_none());
    }

    /// Lengths of the records of a file.
    fn lengths(mut bytes: &[u8]) -> Vec<usize> {
        let mut out = Vec::new();
        while let Some((head, _)) = bytes.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*head)).unwrap();
            out.push(length);
            bytes = &bytes[8 + 4 + length + 4..];
        }
        out
    }
}
