//! A folder with a store, and runs in that folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gfm_pipe::exec::{RunOptions, RunSummary, run};
use gfm_pipe::plan::{Prepared, Request, RequestError, prepare};
use gfm_pipe::record::{Event, EventSink, StageStatus};
use gfm_pipe::spec::{LoadOptions, Pipeline, load};
use gfm_pipe::store::{Manifest, Store};
use gfm_pipe_api::files::Stamp;
use gfm_pipe_api::{Cancel, Level};

use crate::toy;

/// Longer than any run here takes; a run that takes this long has hung.
const HANG: Duration = Duration::from_secs(60);

pub struct Lab {
    dir: tempfile::TempDir,
}

#[derive(Default)]
pub struct Events(pub Mutex<Vec<Event>>);

impl EventSink for Events {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let warnings = events.iter().filter_map(|e| match e {
            Event::Message { level, text, .. } if *level == Level::Warn => Some(text.clone()),
            _ => None,
        });
        warnings.collect()
    }
}

impl Lab {
    pub fn new() -> Self {
        Lab {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    pub fn pipeline(&self, yaml: &str) -> Pipeline {
        self.write("p.yaml", yaml);
        let opts = LoadOptions {
            base: self.dir.path().to_owned(),
            ..LoadOptions::default()
        };
        load(Path::new("p.yaml"), &opts, &toy::ops()).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn request(&self) -> Request {
        Request {
            base: self.dir.path().to_owned(),
            ..Request::default()
        }
    }

    pub fn options(&self) -> RunOptions {
        RunOptions {
            request: self.request(),
            ..RunOptions::default()
        }
    }

    pub fn plan(&self, yaml: &str) -> Result<Prepared, RequestError> {
        prepare(&self.pipeline(yaml), &self.store(), &self.request())
    }

    pub fn run(&self, yaml: &str) -> RunSummary {
        self.run_with(yaml, &self.options())
    }

    pub fn run_with(&self, yaml: &str, options: &RunOptions) -> RunSummary {
        let events = Arc::new(Events::default());
        self.run_heard(yaml, options, events, &Cancel::default())
    }

    /// Runs the pipeline with a listener; panics when the run hangs.
    pub fn run_heard(
        &self,
        yaml: &str,
        options: &RunOptions,
        listener: Arc<dyn EventSink>,
        cancel: &Cancel,
    ) -> RunSummary {
        let (tell, told) = mpsc::channel();
        let (pipeline, store) = (self.pipeline(yaml), self.store());
        let (options, cancel) = (options.clone(), cancel.clone());
        std::thread::spawn(move || {
            let _ = tell.send(run(&pipeline, &store, &options, listener, &cancel));
        });
        let result = told.recv_timeout(HANG).expect("the run hangs");
        result.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Changes a byte of an object as a failing disk does: size and times stay the same.
    pub fn rot(&self, object: &Path) {
        let mut bytes = fs::read(object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(object, bytes).unwrap();
        let stamp = Stamp::of(&fs::metadata(object).unwrap());
        let digest = object.file_stem().unwrap().to_str().unwrap();
        let memory = self.path("store/objects.json");
        let text = fs::read_to_string(&memory).unwrap();
        let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(all["files"][digest].is_object(), "it was never looked at");
        all["files"][digest] = serde_json::json!({"stamp": stamp, "digest": digest});
        fs::write(&memory, all.to_string()).unwrap();
    }

    pub fn lines(&self, summary: &RunSummary, stage: &str) -> Vec<String> {
        let artifact = &summary.artifacts[stage]["lines"];
        artifact.texts().unwrap()
    }
}

/// `name status (reasons)` of every stage.
pub fn told(summary: &RunSummary) -> Vec<String> {
    let stages = summary.stages.iter();
    stages
        .map(|s| {
            let status = match s.status {
                StageStatus::Ran => "ran",
                StageStatus::Cached => "cached",
                StageStatus::Failed => "failed",
                StageStatus::Skipped => "skipped",
            };
            let reasons = s.reasons.join("; ");
            let text = format!("{} {status} {reasons}", s.name);
            text.trim_end().to_owned()
        })
        .collect()
}

/// A file damaged in every way (`None` means removed): gone, empty, cut, longer, and with a bit
/// flipped in every `step`th byte at the same size.
pub fn damages(whole: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
    let cut = |part: usize| Some(whole[..whole.len() * part / 4].to_vec());
    let mut ways = vec![None, Some(Vec::new()), cut(1), cut(2), cut(3)];
    ways.push(Some([whole, b"more"].concat()));
    for at in (0..whole.len()).step_by(step.max(1)) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << (at % 8);
        ways.push(Some(bytes));
    }
    ways
}

/// Whether a damaged manifest still means the same: for example, an `e` in a number became an `E`,
/// or a name whose value is `null` is not recognised any more.
pub fn same_manifest(damaged: Option<&[u8]>, whole: &[u8]) -> bool {
    let read = |bytes: &[u8]| serde_json::from_slice::<Manifest>(bytes).ok();
    read(whole).is_some() && damaged.and_then(read) == read(whole)
}
