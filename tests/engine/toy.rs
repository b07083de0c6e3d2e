//! Toy operators: small, and able to misbehave in all the ways of a real operator.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use gfm_pipe_api::items::{Item, ItemFunction};
use gfm_pipe_api::kind::col;
use gfm_pipe_api::{
    Absent, Accepts, Arity, Cancel, ColType, Context, Field, InPort, InputFile, Kind, Metric,
    OpEntry, OpError, OpResult, Operator, OutPort, Reporter, Schema, TableSpec, Type, columns,
    kinds,
};
use serde::{Deserialize, Serialize};

pub static LINES: Kind = Kind {
    name: "lines",
    about: "lines of text",
    text: &["line"],
    tables: &[TableSpec {
        name: "lines",
        about: "one line",
        columns: &[col("line", ColType::Text, "the line")],
    }],
};

/// The kinds that `count` accepts.
static COUNTED: &[&Kind] = &[&LINES, &kinds::COUNTS];

pub fn ops() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<Source>(),
        OpEntry::of::<Concat>(),
        OpEntry::of::<Count>(),
        OpEntry::of::<Misbehave>(),
        OpEntry::of::<Slow>(),
        OpEntry::of::<Fit>(),
        OpEntry::of::<Shout>(),
        OpEntry::of::<Folder>(),
        OpEntry::of::<gfm_pipe::pinned::Pinned>(),
        OpEntry::of::<gfm_pipe_exec::Exec>(),
    ]
}

fn lines_port() -> Vec<OutPort> {
    vec![OutPort {
        name: "lines",
        kind: &LINES,
        about: "lines",
    }]
}

fn text_port(arity: Arity) -> Vec<InPort> {
    vec![InPort {
        name: "text",
        accepts: Accepts::Text,
        arity,
        about: "text",
    }]
}

fn write_lines(ctx: &Context, lines: Vec<String>) -> OpResult<()> {
    let batch = RecordBatch::try_new(
        Arc::new(LINES.tables[0].schema(0)),
        vec![Arc::new(StringArray::from(lines))],
    )?;
    ctx.write("lines", "lines", &batch)
}

fn read_lines(ctx: &Context) -> OpResult<Vec<String>> {
    let mut out = Vec::new();
    for artifact in ctx.inputs("text") {
        let batch = artifact.read("lines")?;
        let column = columns::text(&batch, "line")?;
        out.extend(column.iter().flatten().map(ToOwned::to_owned));
    }
    Ok(out)
}

/// Outputs the lines of a file.
pub struct Source;

#[derive(Serialize, Deserialize)]
pub struct SourceParams {
    path: PathBuf,
    extra: Option<PathBuf>,
    from: Option<PathBuf>,
    upper: bool,
    log_interval: u32,
}

impl Operator for Source {
    type Params = SourceParams;
    const NAME: &'static str = "source";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "lines of a file";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required("path", Type::Path, "file"),
            Field::new(
                "extra",
                Type::Path.or_null(),
                serde_json::Value::Null,
                "second file",
            ),
            Field::new(
                "from",
                Type::Path.or_null(),
                serde_json::Value::Null,
                "where the file is got from when it is not there",
            )
            .no_effect(),
            Field::new("upper", Type::Bool, false, "upper case"),
            Field::new("log_interval", Type::int(1), 10, "no effect").no_effect(),
        ])
    }
    fn inputs() -> Vec<InPort> {
        Vec::new()
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn files(p: &SourceParams, _: &Path) -> Vec<InputFile> {
        let mut files = vec![match &p.from {
            None => InputFile::new(p.path.clone(), true),
            Some(from) => InputFile::elsewhere(
                p.path.clone(),
                Absent {
                    why: format!("not here yet, but at {}", from.display()),
                    hint: "a run gets it".to_owned(),
                },
            ),
        }];
        files.extend(
            p.extra
                .iter()
                .map(|path| InputFile::new(path.clone(), false)),
        );
        files
    }
    fn fetch(p: &SourceParams, base: &Path, _: &dyn Reporter, _: &Cancel) -> OpResult<()> {
        let Some(from) = &p.from else {
            return Ok(());
        };
        match fs::copy(base.join(from), base.join(&p.path)) {
            Ok(_) => Ok(()),
            Err(e) => {
                Err(OpError::wrap(format!("failed to get {}", from.display()), e).hint("pray"))
            }
        }
    }
    fn run(p: SourceParams, ctx: &Context) -> OpResult<()> {
        let path = ctx.path(&p.path);
        let mut text = fs::read_to_string(&path)
            .map_err(|e| OpError::wrap("failed to read", e).file(&p.path))?;
        if let Some(extra) = &p.extra {
            text.push_str(&fs::read_to_string(ctx.path(extra)).unwrap_or_default());
        }
        if p.upper {
            text = text.to_uppercase();
        }
        write_lines(ctx, text.lines().map(ToOwned::to_owned).collect())
    }
}

/// Outputs the lines of all files of a folder. Those that begin with `_` are found and not read.
pub struct Folder;

#[derive(Serialize, Deserialize)]
pub struct FolderParams {
    path: PathBuf,
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

impl Operator for Folder {
    type Params = FolderParams;
    const NAME: &'static str = "folder";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "lines of all files";

    fn schema() -> Schema {
        Schema::new(vec![Field::required("path", Type::Path, "folder")])
    }
    fn inputs() -> Vec<InPort> {
        Vec::new()
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn files(p: &FolderParams, base: &Path) -> Vec<InputFile> {
        let file = |name: String| {
            let path = p.path.join(&name);
            if name.starts_with('_') {
                InputFile::unread(path)
            } else {
                InputFile::new(path, true)
            }
        };
        names(&base.join(&p.path)).into_iter().map(file).collect()
    }
    fn run(p: FolderParams, ctx: &Context) -> OpResult<()> {
        let folder = ctx.path(&p.path);
        let read = names(&folder)
            .into_iter()
            .filter(|name| !name.starts_with('_'));
        let lines = read.map(|name| fs::read_to_string(folder.join(name)).unwrap());
        write_lines(ctx, lines.collect())
    }
}

/// Concatenates the lines of all inputs.
pub struct Concat;

#[derive(Serialize, Deserialize)]
pub struct ConcatParams {
    prefix: String,
}

impl Operator for Concat {
    type Params = ConcatParams;
    const NAME: &'static str = "concat";
    const VERSION: u32 = 3;
    const ABOUT: &'static str = "lines of all inputs";

    fn schema() -> Schema {
        Schema::new(vec![Field::new(
            "prefix",
            Type::Text,
            "",
            "before each line",
        )])
    }
    fn inputs() -> Vec<InPort> {
        text_port(Arity::Many)
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn run(p: ConcatParams, ctx: &Context) -> OpResult<()> {
        let lines = read_lines(ctx)?;
        let lines = lines.iter().map(|l| format!("{}{l}", p.prefix)).collect();
        write_lines(ctx, lines)
    }
}

/// Counts lines.
pub struct Count;

#[derive(Serialize, Deserialize)]
pub struct CountParams {
    scale: u64,
}

impl Operator for Count {
    type Params = CountParams;
    const NAME: &'static str = "count";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "number of lines";

    fn schema() -> Schema {
        Schema::new(vec![Field::new("scale", Type::int(1), 1, "factor")])
    }
    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "text",
            accepts: Accepts::Kinds(COUNTED),
            arity: Arity::One,
            about: "lines, or counts to scale",
        }]
    }
    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "counts",
            kind: &kinds::COUNTS,
            about: "count",
        }]
    }
    fn run(p: CountParams, ctx: &Context) -> OpResult<()> {
        let input = ctx.input("text")?;
        let n: u64 = if *input.kind == LINES {
            input.rows("lines")? as u64
        } else {
            let batch = input.read("counts")?;
            columns::u64s(&batch, "value")?.values().iter().sum()
        };
        let batch = RecordBatch::try_new(
            Arc::new(kinds::COUNTS.tables[0].schema(0)),
            vec![
                Arc::new(StringArray::from(vec!["lines"])),
                Arc::new(UInt64Array::from(vec![n * p.scale])),
            ],
        )?;
        ctx.write("counts", "counts", &batch)
    }
}

/// Does what the parameter `how` says.
pub struct Misbehave;

#[derive(Serialize, Deserialize)]
pub struct MisbehaveParams {
    how: String,
    path: Option<PathBuf>,
}

impl Operator for Misbehave {
    type Params = MisbehaveParams;
    const NAME: &'static str = "misbehave";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "fails in the way asked for";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "how",
                Type::one_of(&[
                    "fail",
                    "fail-twice",
                    "panic",
                    "panic-in-rayon",
                    "write-nothing",
                    "edit-input",
                    "rewrite-input",
                    "edit-and-fail",
                    "spoil-input",
                    "not-at-all",
                ]),
                "fail",
                "how",
            ),
            Field::new(
                "path",
                Type::Path.or_null(),
                serde_json::Value::Null,
                "file",
            ),
        ])
    }
    fn inputs() -> Vec<InPort> {
        text_port(Arity::Optional)
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn files(p: &MisbehaveParams, _: &Path) -> Vec<InputFile> {
        let file = p.path.iter().map(|path| InputFile::new(path.clone(), true));
        file.collect()
    }
    fn run(p: MisbehaveParams, ctx: &Context) -> OpResult<()> {
        match p.how.as_str() {
            "fail" => Err(OpError::new("the moon is wrong")
                .file("data/moon.txt")
                .line(7)
                .hint("wait a fortnight")),
            "fail-twice" => {
                let tries = ctx.workdir.join("tries");
                let before = fs::read(&tries).map_or(0, |t| t.len());
                fs::write(&tries, vec![b'x'; before + 1]).unwrap();
                if before < 2 {
                    return Err(OpError::new(format!("try {}", before + 1)));
                }
                write_lines(ctx, read_lines(ctx)?)
            }
            "panic" => panic!("index {} out of cheese", 5),
            "panic-in-rayon" => {
                rayon::scope(|s| s.spawn(|_| panic!("cheese on another thread")));
                Ok(())
            }
            "write-nothing" => Ok(()),
            "rewrite-input" => {
                // As `cp same.txt f.txt` does: someone reading in between sees half of the file.
                let path = ctx.path(p.path.unwrap_or_default());
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, &text[..text.len() / 2]).unwrap();
                fs::write(ctx.workdir.join("checkpoint"), "of half a file").unwrap();
                write_lines(ctx, vec![fs::read_to_string(&path).unwrap()])?;
                fs::write(&path, text).unwrap();
                Ok(())
            }
            "edit-and-fail" => {
                fs::write(ctx.path(p.path.unwrap_or_default()), "half").unwrap();
                Err(OpError::new("line 1 is half a line"))
            }
            "spoil-input" => {
                let table = &ctx.input("text")?.tables[0];
                let mut bytes = fs::read(&table.objects[0].path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&table.objects[0].path, bytes).unwrap();
                write_lines(ctx, read_lines(ctx)?)
            }
            "edit-input" => {
                let path = ctx.path(p.path.unwrap_or_default());
                write_lines(ctx, vec![fs::read_to_string(&path).unwrap_or_default()])?;
                let mut file = fs::File::options().append(true).open(&path).unwrap();
                writeln!(file, "one line more").unwrap();
                Ok(())
            }
            _ => write_lines(ctx, read_lines(ctx)?),
        }
    }
}

/// Takes a while, in steps, and can resume after each.
pub struct Slow;

#[derive(Serialize, Deserialize)]
pub struct SlowParams {
    steps: u64,
    step_ms: u64,
}

impl Operator for Slow {
    type Params = SlowParams;
    const NAME: &'static str = "slow";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "waits, step by step";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("steps", Type::int(0), 10, "steps"),
            Field::new("step_ms", Type::int(0), 10, "length of a step").no_effect(),
        ])
    }
    fn inputs() -> Vec<InPort> {
        text_port(Arity::Optional)
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn run(p: SlowParams, ctx: &Context) -> OpResult<()> {
        let checkpoint = ctx.workdir.join("step");
        let mut start = 0;
        if let Ok(text) = fs::read_to_string(&checkpoint)
            && let Ok(step) = text.parse()
        {
            start = step;
            ctx.reporter.resumed_at(step);
        }
        for step in start..p.steps {
            ctx.check_cancelled()?;
            thread::sleep(Duration::from_millis(p.step_ms));
            fs::write(ctx.workdir.join("new"), (step + 1).to_string()).unwrap();
            fs::rename(ctx.workdir.join("new"), &checkpoint).unwrap();
            ctx.progress(step + 1, p.steps, "steps", "");
        }
        let mut lines = read_lines(ctx)?;
        lines.push(format!("{} steps", p.steps));
        write_lines(ctx, lines)
    }
}

/// Reports a loss at every step and a score at every fifth; resumes from the last fifth step.
pub struct Fit;

#[derive(Serialize, Deserialize)]
pub struct FitParams {
    steps: u64,
    step_ms: u64,
    fail_at: Option<u64>,
}

impl Operator for Fit {
    type Params = FitParams;
    const NAME: &'static str = "fit";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "tells losses";

    fn schema() -> Schema {
        let none = serde_json::Value::Null;
        Schema::new(vec![
            Field::new("steps", Type::int(0), 10, "steps"),
            Field::new("step_ms", Type::int(0), 0, "length of a step").no_effect(),
            Field::new(
                "fail_at",
                Type::int(0).or_null(),
                none,
                "fails after this step, once",
            )
            .no_effect(),
        ])
    }
    fn inputs() -> Vec<InPort> {
        text_port(Arity::Optional)
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn remarks(
        p: &FitParams,
        outputs: &std::collections::BTreeMap<String, gfm_pipe_api::Artifact>,
    ) -> OpResult<Vec<String>> {
        let told = outputs["lines"].texts()?;
        let few = told.into_iter().filter(|_| p.steps == 7);
        Ok(few
            .map(|line| format!("{line}: too few to learn"))
            .collect())
    }
    fn run(p: FitParams, ctx: &Context) -> OpResult<()> {
        let (checkpoint, failed) = (ctx.workdir.join("step"), ctx.workdir.join("failed"));
        let start = fs::read_to_string(&checkpoint).ok();
        let start: u64 = start.map_or(0, |text| text.parse().unwrap());
        if start > 0 {
            ctx.reporter.resumed_at(start);
        }
        for step in start + 1..=p.steps {
            ctx.check_cancelled()?;
            thread::sleep(Duration::from_millis(p.step_ms));
            let tell = |name, value| {
                let epoch = u32::try_from((step - 1) / 5 + 1).unwrap();
                ctx.metric(Metric {
                    epoch,
                    step,
                    name,
                    value,
                });
            };
            tell("loss", 1.0 / step as f64);
            if step.is_multiple_of(5) {
                tell("valid:score", step as f64);
                fs::write(&checkpoint, step.to_string()).unwrap();
            }
            ctx.progress(step, p.steps, "steps", "");
            if p.fail_at == Some(step) && !failed.exists() {
                fs::write(&failed, "").unwrap();
                ctx.warn("it will fail");
                return Err(OpError::new("the loss became NaN"));
            }
        }
        write_lines(ctx, vec![format!("{} steps", p.steps)])
    }
}

/// Shouts every line: each is an item, named by its first word.
pub struct Shout;

#[derive(Serialize, Deserialize)]
pub struct ShoutParams {
    mark: String,
    step_ms: u64,
}

const SHOUT: ItemFunction = ItemFunction {
    name: "shout",
    version: 1,
};

impl Operator for Shout {
    type Params = ShoutParams;
    const NAME: &'static str = "shout";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "shouts, line by line";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("mark", Type::Text, "!", "behind each line"),
            Field::new("step_ms", Type::int(0), 0, "time for a line").no_effect(),
        ])
    }
    fn inputs() -> Vec<InPort> {
        text_port(Arity::Many)
    }
    fn outputs() -> Vec<OutPort> {
        lines_port()
    }
    fn run(p: ShoutParams, ctx: &Context) -> OpResult<()> {
        let lines = read_lines(ctx)?;
        let mut work = ctx.items.open(&SHOUT, &[&p.mark]);
        let mut shouted = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            let item = Item {
                name: line.split_whitespace().next().unwrap_or_default(),
                parts: &[line],
            };
            let decode = |_, bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            shouted.extend(work.obtain(&[item], decode, |_| {
                ctx.check_cancelled()?;
                thread::sleep(Duration::from_millis(p.step_ms));
                let loud = format!("{}{}", line.to_uppercase(), p.mark);
                Ok(vec![(loud.clone(), loud.into_bytes())])
            })?);
            ctx.progress(i as u64 + 1, lines.len() as u64, "lines", "");
        }
        write_lines(ctx, shouted)
    }
}
