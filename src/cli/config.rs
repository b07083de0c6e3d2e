//! `gfm-pipe config`: the pipeline as it will run, with the origin of each value.

use std::path::PathBuf;

use clap::ValueEnum;
use gfm_pipe_api::{OpEntry, PathSeg};
use serde_json::{Map, Value, json};

use super::error::CliResult;
use super::shared_args::Common;
use crate::spec::{Place, Stage, WrittenValue, resolved, resolved_yaml};
use crate::ui::Out;

/// Origins start at this column, or after the value where that is longer.
const COLUMN: usize = 56;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline; `-` is standard input
    file: PathBuf,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// YAML that loads to the same pipeline, with origins as comments
    Yaml,
    /// The same YAML without comments
    Plain,
    /// JSON, with the origins under `origins` of each stage
    Json,
}

/// Prints the resolved pipeline.
pub fn config(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<()> {
    args.common.apply()?;
    let pipeline = args.common.load(&args.file, ops)?;
    let stage = |name: &str| pipeline.stage(name);
    match args.format {
        Format::Plain => out.document(&resolved_yaml(&pipeline)),
        Format::Yaml => {
            let mut lines = Lines::default();
            for (key, value) in &resolved(&pipeline) {
                match (key.as_str(), value) {
                    ("stages", Value::Object(stages)) => {
                        lines.push(0, "stages:", "");
                        for (name, body) in stages {
                            lines.stage(name, body, stage(name));
                        }
                    }
                    _ => lines.push(0, &format!("{key}: {}", scalar(value)), ""),
                }
            }
            out.document(&lines.0);
        }
        Format::Json => {
            let mut all = resolved(&pipeline);
            if let Some(Value::Object(stages)) = all.get_mut("stages") {
                for (name, body) in stages {
                    if let (Some(s), Value::Object(body)) = (stage(name), body) {
                        body.insert("origins".to_owned(), origins(s));
                    }
                }
            }
            let text = serde_json::to_string_pretty(&all).unwrap_or_default();
            out.document(&format!("{text}\n"));
        }
    }
    Ok(())
}

/// Every parameter's origin, by path.
fn origins(stage: &Stage) -> Value {
    let mut all = Map::new();
    for (key, place) in &stage.written.keys {
        all.insert(key.clone(), place.to_string().into());
    }
    leaves(&stage.params, &mut Vec::new(), &mut |path, _| {
        let written = stage.written.value(path);
        let mut value =
            json!({"from": written.map_or("default".to_owned(), |w| w.place.to_string())});
        for (name, place) in written.map_or(&[][..], |w| &w.vars) {
            value["vars"][name] = place.to_string().into();
        }
        all.insert(
            format!("with.{}", gfm_pipe_api::schema::path_text(path)),
            value,
        );
    });
    Value::Object(all)
}

fn leaves(value: &Value, path: &mut Vec<PathSeg>, each: &mut impl FnMut(&[PathSeg], &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (k, v) in map {
                path.push(PathSeg::Key(k.clone()));
                leaves(v, path, each);
                path.pop();
            }
        }
        other => each(path, other),
    }
}

/// Collects the output, line by line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn push(&mut self, depth: usize, text: &str, comment: &str) {
        let start = self.0.len();
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(text);
        if !comment.is_empty() {
            let width = self.0[start..].chars().count();
            self.0
                .push_str(&" ".repeat(COLUMN.saturating_sub(width).max(2)));
            self.0.push_str("# ");
            self.0.push_str(comment);
        }
        self.0.push('\n');
    }

    fn stage(&mut self, name: &str, body: &Value, stage: Option<&Stage>) {
        let Some(stage) = stage else { return };
        let o = &stage.origin;
        let place = Place::File(o.clone()).to_string();
        self.push(1, &format!("{}:", text(name)), &place);
        let written = |key: &str| stage.written.keys.get(key).map(Place::to_string);
        for (key, value) in body.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("with", Value::Object(_)) => {
                    self.push(2, "with:", "");
                    self.params(3, value, &mut Vec::new(), stage);
                }
                ("in", Value::Object(ports)) => {
                    self.push(2, "in:", "");
                    for (port, v) in ports {
                        let from = written(&format!("in.{port}")).unwrap_or_default();
                        self.push(3, &format!("{}: {}", text(port), scalar(v)), &from);
                    }
                }
                _ => {
                    let from = written(key).unwrap_or_default();
                    self.push(2, &format!("{key}: {}", scalar(value)), &from);
                }
            }
        }
    }

    fn params(&mut self, depth: usize, value: &Value, path: &mut Vec<PathSeg>, stage: &Stage) {
        for (key, v) in value.as_object().into_iter().flatten() {
            path.push(PathSeg::Key(key.clone()));
            match v {
                Value::Object(map) if !map.is_empty() => {
                    self.push(depth, &format!("{}:", text(key)), "");
                    self.params(depth + 1, v, path, stage);
                }
                _ => {
                    // An override replaces a whole list, so the origin of the first item is that of
                    // the list.
                    let first = [path.as_slice(), &[PathSeg::Index(0)]].concat();
                    let written = stage.written.value(&first);
                    let comment = written.map_or("default".to_owned(), origin);
                    self.push(depth, &format!("{}: {}", text(key), scalar(v)), &comment);
                }
            }
            path.pop();
        }
    }
}

fn origin(written: &WrittenValue) -> String {
    let mut out = written.place.to_string();
    for (name, place) in &written.vars {
        out.push_str(&format!("; {name} from {place}"));
    }
    out
}

/// A value on one line: JSON is YAML, but a plain word needs no quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// A value inside a flow list.
fn flow(value: &Value) -> String {
    match value {
        Value::String(s) if !s.contains([',', '[', ']', '{', '}']) => text(s),
        Value::Array(_) => scalar(value),
        other => other.to_string(),
    }
}

fn text(s: &str) -> String {
    // As the YAML library writes it, with or without quotes, where that fits on one line; anything
    // else in JSON's quotes.
    let plain = serde_yaml::to_string(s).unwrap_or_default();
    let plain = plain.trim_end();
    if plain.contains('\n') || plain.starts_with(['|', '>']) {
        return Value::String(s.to_owned()).to_string();
    }
    plain.to_owned()
}
