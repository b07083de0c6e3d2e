//! The [`Operator`] trait and its type-erased form, [`OpEntry`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Answers;
use crate::artifact::Artifact;
use crate::context::{Cancel, Context, Reporter};
use crate::error::{ErrorKind, OpError, OpResult};
use crate::kind::Kind;
use crate::schema::{Problem, Schema};

/// How many artifacts an input port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more.
    Many,
    /// None, one or more.
    Any,
}

impl Arity {
    /// Whether something must be connected.
    pub fn is_required(self) -> bool {
        matches!(self, Arity::One | Arity::Many)
    }

    /// Whether a list may be connected.
    pub fn takes_many(self) -> bool {
        matches!(self, Arity::Many | Arity::Any)
    }
}

/// Which kinds an input port takes.
#[derive(Debug, Clone, Copy)]
pub enum Accepts {
    /// One of these kinds.
    Kinds(&'static [&'static Kind]),
    /// Any kind with text columns.
    Text,
    /// Any kind.
    Any,
}

impl Accepts {
    /// Whether an artifact of this kind may be connected.
    pub fn takes(&self, kind: &Kind) -> bool {
        match self {
            Accepts::Kinds(kinds) => kinds.iter().any(|k| **k == *kind),
            Accepts::Text => !kind.text.is_empty(),
            Accepts::Any => true,
        }
    }

    /// For messages: `triples`, `triples or links`, `any kind with text`.
    pub fn describe(&self) -> String {
        match self {
            Accepts::Kinds(kinds) => {
                let names: Vec<&str> = kinds.iter().map(|k| k.name).collect();
                names.join(" or ")
            }
            Accepts::Text => "any kind with text".to_owned(),
            Accepts::Any => "any kind".to_owned(),
        }
    }
}

/// An input port.
#[derive(Debug, Clone)]
pub struct InPort {
    /// Name of the port.
    pub name: &'static str,
    /// Kinds it takes.
    pub accepts: Accepts,
    /// How many artifacts it takes.
    pub arity: Arity,
    /// What it is for.
    pub about: &'static str,
}

impl InPort {
    /// A port that takes artifacts of some kinds.
    pub fn of(
        name: &'static str,
        kinds: &'static [&'static Kind],
        arity: Arity,
        about: &'static str,
    ) -> Self {
        InPort {
            name,
            accepts: Accepts::Kinds(kinds),
            arity,
            about,
        }
    }
}

/// An output port.
#[derive(Debug, Clone)]
pub struct OutPort {
    /// Name of the port.
    pub name: &'static str,
    /// Kind of its artifacts.
    pub kind: &'static Kind,
    /// What it holds.
    pub about: &'static str,
}

/// A file an operator reads besides its input artifacts; its content enters the stage's key. Or a
/// file that it finds where it reads others, and leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Path as the user would write it, relative to the run's working directory.
    pub path: PathBuf,
    /// Whether the stage cannot run without it.
    pub required: bool,
    /// What to say when it is missing, if there is more to say than that.
    pub absent: Option<Absent>,
    /// Whether its content is read. Where it is not, the file is named for people only: its name
    /// changes the result at most through [`Operator::fingerprint`].
    pub read: bool,
}

/// Why a file is missing, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The reason: lower case, no full stop.
    pub why: String,
    /// What the user can do about it.
    pub hint: String,
}

impl InputFile {
    /// A file that must exist if it is `required`.
    pub fn new(path: impl Into<PathBuf>, required: bool) -> Self {
        InputFile {
            path: path.into(),
            required,
            absent: None,
            read: true,
        }
    }

    /// A required file that [`Operator::fetch`] may download; `absent` says what to do where it is
    /// missing.
    pub fn elsewhere(path: impl Into<PathBuf>, absent: Absent) -> Self {
        InputFile {
            path: path.into(),
            required: true,
            absent: Some(absent),
            read: true,
        }
    }

    /// A file that is found where others are read, and is not read itself: a PDF among texts.
    pub fn unread(path: impl Into<PathBuf>) -> Self {
        InputFile {
            read: false,
            ..InputFile::new(path, false)
        }
    }
}

/// A building block of pipelines. One implementation is one file.
pub trait Operator: 'static {
    /// Parameters after validation, with defaults filled in.
    type Params: DeserializeOwned + Serialize;
    /// Name in pipelines.
    const NAME: &'static str;
    /// To be raised when the same inputs and parameters lead to other output: it enters every key.
    const VERSION: u32;
    /// One line for `gfm-pipe ops`.
    const ABOUT: &'static str;
    /// What to use instead, if the operator will be removed: pipelines with it work, with a
    /// warning.
    const DEPRECATED: Option<&'static str> = None;
    /// Whether its ports depend on its parameters. If so, [`Operator::ports`] returns them, and
    /// what [`Operator::inputs`] and [`Operator::outputs`] return is only for documentation.
    const SHAPED: bool = false;
    /// Whether the names of connected artifacts (`STAGE.PORT`) reach its outputs. If so, they are
    /// part of the key; for all other operators, renaming a stage changes nothing.
    const NAMES_INPUTS: bool = false;
    /// Whether a stage of it can be asked questions: see [`Operator::answers`].
    const ANSWERS: bool = false;

    /// Parameters: names, types, defaults, meaning.
    fn schema() -> Schema;
    /// Input ports.
    fn inputs() -> Vec<InPort>;
    /// Output ports.
    fn outputs() -> Vec<OutPort>;
    /// The ports of one stage, for an operator that is [`Operator::SHAPED`]. `connected` are the
    /// names under the stage's `in`; a name that is not among the returned ports is an error in the
    /// pipeline.
    fn ports(_params: &Self::Params, _connected: &[&str]) -> (Vec<InPort>, Vec<OutPort>) {
        (Self::inputs(), Self::outputs())
    }
    /// Checks that the schema cannot express, such as one key against another.
    fn check(_params: &Self::Params) -> Vec<Problem> {
        Vec::new()
    }
    /// Checks what is connected to the ports, one against another and against the parameters, as
    /// far as no artifact has to be read. Problems are reported at the stage's `in`.
    fn check_inputs(_params: &Self::Params, _inputs: &Connected) -> Vec<Problem> {
        Vec::new()
    }
    /// Files read besides the input artifacts. Relative paths are relative to `base`.
    fn files(_params: &Self::Params, _base: &Path) -> Vec<InputFile> {
        Vec::new()
    }
    /// Downloads the files that [`Operator::files`] marks as [`InputFile::elsewhere`], such as a
    /// model from a hub. A run calls it when files of the stage are missing, before any stage
    /// starts. Where there is nothing to download, it does nothing.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    fn fetch(
        _params: &Self::Params,
        _base: &Path,
        _reporter: &dyn Reporter,
        _cancel: &Cancel,
    ) -> OpResult<()> {
        Ok(())
    }
    /// The program that it runs and its arguments, if the pipeline names one. A run refuses to
    /// start such a program unless the user allows it.
    fn command(_params: &Self::Params) -> Option<Vec<String>> {
        None
    }
    /// Whether it computes on the GPU of [`Context::device`], where there is one.
    fn on_gpu(_params: &Self::Params) -> bool {
        false
    }
    /// Whether all ranks of a run take part: see [`crate::ranks`]. Only rank 0's outputs are kept.
    fn on_ranks(_params: &Self::Params) -> bool {
        false
    }
    /// Names of the whole-number parameters that count per rank, such as `train.batch_size`: k
    /// ranks with n each compute what a single rank computes with k n. Used only for stages that
    /// are [`Operator::on_ranks`].
    fn per_rank(_params: &Self::Params) -> &'static [&'static str] {
        &[]
    }
    /// Anything else that the result depends on besides parameters, inputs and files, such as the
    /// digest of a compiled-in table.
    fn fingerprint(_params: &Self::Params, _base: &Path) -> Option<String> {
        None
    }
    /// Estimates what running it takes, from the inputs that exist already (those that are yet to
    /// be made are missing). `device` is `cpu` or the name of a GPU, which is empty where it is not
    /// known. Returns `None` where no estimate is possible, or where `device` is a GPU and the
    /// operator uses none.
    ///
    /// # Errors
    /// When an input cannot be read.
    fn estimate(
        _params: Self::Params,
        _inputs: &BTreeMap<String, Vec<Artifact>>,
        _device: &str,
    ) -> OpResult<Option<Estimate>> {
        Ok(None)
    }
    /// Whether it asks a language model for answers that can be counted before it runs. A plan then
    /// runs it with [`Context::requests`] and without outputs. Nothing is sent, and it stops with
    /// [`OpError::Cancelled`] where it would have answers.
    fn asks_model(_params: &Self::Params) -> bool {
        false
    }
    /// Reads the inputs, writes every table of every output port.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    fn run(params: Self::Params, ctx: &Context) -> OpResult<()>;
    /// Loads what a stage is connected to, to answer questions in plain words. For operators with
    /// [`Operator::ANSWERS`]. The context has the stage's inputs and takes no outputs.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    fn answers(_params: Self::Params, _ctx: &Context) -> OpResult<Arc<dyn Answers>> {
        Err(OpError::internal("this operator answers no questions"))
    }
    /// Writes files outside the store, where the parameters say. It is called with the stage's
    /// outputs whenever these are available, computed or cached, so that a file that was deleted is
    /// restored by a cached run. Where such files go is not part of the result: parameters for it
    /// are `no_effect`.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    fn deliver(
        _params: &Self::Params,
        _ctx: &Context,
        _outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<()> {
        Ok(())
    }
    /// What the user should know about a result before relying on it, and what to try: reported at
    /// the end of a run, whether the result was computed or cached. Each text is one line, lower
    /// case, without a full stop.
    ///
    /// # Errors
    /// When an output cannot be read.
    fn remarks(
        _params: &Self::Params,
        _outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<Vec<String>> {
        Ok(Vec::new())
    }
    /// The folders [`Operator::deliver`] writes to: no two stages of a pipeline may share a folder.
    fn places(_params: &Self::Params) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// What a stage will take, estimated before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Most bytes of the device's memory that it will use.
    pub memory: u64,
    /// Seconds on `device`.
    pub seconds: f64,
    /// Name of the device whose speed was assumed: `cpu`, whose speed was measured briefly, or a
    /// GPU, whose speed is from its data sheet.
    pub device: String,
}

/// What is connected to each input port: `STAGE.PORT`, in order.
pub type Connected = BTreeMap<String, Vec<String>>;

/// Whether a pipeline connects a port.
pub fn is_connected(inputs: &Connected) -> impl Fn(&str) -> bool {
    |port| inputs.get(port).is_some_and(|from| !from.is_empty())
}

type Ports = fn(&Value, &[&str]) -> OpResult<(Vec<InPort>, Vec<OutPort>)>;
type Fetch = fn(&Value, &Path, &dyn Reporter, &Cancel) -> OpResult<()>;
type Estimated = fn(Value, &BTreeMap<String, Vec<Artifact>>, &str) -> OpResult<Option<Estimate>>;
type Remarks = fn(&Value, &BTreeMap<String, Artifact>) -> OpResult<Vec<String>>;
type Deliver = fn(Value, &Context, &BTreeMap<String, Artifact>) -> OpResult<()>;

/// An operator as the engine holds it.
#[derive(Clone)]
pub struct OpEntry {
    /// [`Operator::NAME`].
    pub name: &'static str,
    /// [`Operator::VERSION`].
    pub version: u32,
    /// [`Operator::ABOUT`].
    pub about: &'static str,
    /// [`Operator::DEPRECATED`].
    pub deprecated: Option<&'static str>,
    /// [`Operator::schema`].
    pub schema: Schema,
    /// [`Operator::inputs`].
    pub inputs: Vec<InPort>,
    /// [`Operator::outputs`].
    pub outputs: Vec<OutPort>,
    /// [`Operator::SHAPED`].
    pub shaped: bool,
    /// [`Operator::NAMES_INPUTS`].
    pub names_inputs: bool,
    /// [`Operator::ANSWERS`].
    pub answers_questions: bool,
    ports: Ports,
    command: fn(&Value) -> OpResult<Option<Vec<String>>>,
    check: fn(&Value) -> Vec<Problem>,
    check_inputs: fn(&Value, &Connected) -> Vec<Problem>,
    places: fn(&Value) -> OpResult<Vec<PathBuf>>,
    on_gpu: fn(&Value) -> bool,
    on_ranks: fn(&Value) -> OpResult<bool>,
    per_rank: fn(&Value) -> OpResult<&'static [&'static str]>,
    files: fn(&Value, &Path) -> OpResult<Vec<InputFile>>,
    fetch: Fetch,
    fingerprint: fn(&Value, &Path) -> OpResult<Option<String>>,
    estimate: Estimated,
    asks_model: fn(&Value) -> OpResult<bool>,
    run: fn(Value, &Context) -> OpResult<()>,
    answers: fn(Value, &Context) -> OpResult<Arc<dyn Answers>>,
    deliver: Deliver,
    remarks: Remarks,
}

fn parse<P: DeserializeOwned>(op: &str, value: Value) -> OpResult<P> {
    serde_json::from_value(value).map_err(|e| {
        OpError::wrap(format!("parameters of `{op}` do not fit its schema"), e)
            .with_kind(ErrorKind::Internal)
    })
}

impl OpEntry {
    /// What it does, and what to use instead where it is deprecated.
    pub fn meaning(&self) -> String {
        match self.deprecated {
            Some(instead) => format!("{}. Deprecated: {instead}", self.about),
            None => self.about.to_owned(),
        }
    }

    /// Erases the operator's type.
    pub fn of<O: Operator>() -> Self {
        OpEntry {
            name: O::NAME,
            version: O::VERSION,
            about: O::ABOUT,
            deprecated: O::DEPRECATED,
            schema: O::schema(),
            inputs: O::inputs(),
            outputs: O::outputs(),
            shaped: O::SHAPED,
            names_inputs: O::NAMES_INPUTS,
            answers_questions: O::ANSWERS,
            command: |v| Ok(O::command(&parse::<O::Params>(O::NAME, v.clone())?)),
            ports: |v, connected| {
                let params = parse::<O::Params>(O::NAME, v.clone())?;
                Ok(O::ports(&params, connected))
            },
            check: |v| match parse::<O::Params>(O::NAME, v.clone()) {
                Ok(p) => O::check(&p),
                Err(e) => vec![Problem::at_root(e.to_string())],
            },
            check_inputs: |v, inputs| match parse::<O::Params>(O::NAME, v.clone()) {
                Ok(p) => O::check_inputs(&p, inputs),
                Err(e) => vec![Problem::at_root(e.to_string())],
            },
            on_gpu: |v| parse::<O::Params>(O::NAME, v.clone()).is_ok_and(|p| O::on_gpu(&p)),
            on_ranks: |v| Ok(O::on_ranks(&parse::<O::Params>(O::NAME, v.clone())?)),
            per_rank: |v| Ok(O::per_rank(&parse::<O::Params>(O::NAME, v.clone())?)),
            places: |v| Ok(O::places(&parse::<O::Params>(O::NAME, v.clone())?)),
            files: |v, base| Ok(O::files(&parse::<O::Params>(O::NAME, v.clone())?, base)),
            fetch: |v, base, reporter, cancel| {
                let params = parse::<O::Params>(O::NAME, v.clone())?;
                O::fetch(&params, base, reporter, cancel)
            },
            fingerprint: |v, base| {
                Ok(O::fingerprint(
                    &parse::<O::Params>(O::NAME, v.clone())?,
                    base,
                ))
            },
            estimate: |v, inputs, device| {
                O::estimate(parse::<O::Params>(O::NAME, v)?, inputs, device)
            },
            asks_model: |v| Ok(O::asks_model(&parse::<O::Params>(O::NAME, v.clone())?)),
            run: |v, ctx| O::run(parse::<O::Params>(O::NAME, v)?, ctx),
            answers: |v, ctx| O::answers(parse::<O::Params>(O::NAME, v)?, ctx),
            deliver: |v, ctx, outputs| O::deliver(&parse::<O::Params>(O::NAME, v)?, ctx, outputs),
            remarks: |v, outputs| O::remarks(&parse::<O::Params>(O::NAME, v.clone())?, outputs),
        }
    }

    /// Validates parameters: fills in defaults, or returns all problems at once.
    ///
    /// # Errors
    /// Every problem found, each with the path of the value inside the parameters.
    pub fn validate(&self, params: &Value) -> Result<Value, Vec<Problem>> {
        let full = self.schema.normalize(params)?;
        let problems = (self.check)(&full);
        if problems.is_empty() {
            Ok(full)
        } else {
            Err(problems)
        }
    }

    /// The operator with the ports of one stage: see [`Operator::ports`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn of_stage(&self, params: &Value, connected: &[&str]) -> OpResult<OpEntry> {
        let (inputs, outputs) = (self.ports)(params, connected)?;
        Ok(OpEntry {
            inputs,
            outputs,
            ..self.clone()
        })
    }

    /// See [`Operator::command`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn command(&self, params: &Value) -> OpResult<Option<Vec<String>>> {
        (self.command)(params)
    }

    /// See [`Operator::check_inputs`], with validated parameters.
    pub fn check_inputs(&self, params: &Value, inputs: &Connected) -> Vec<Problem> {
        (self.check_inputs)(params, inputs)
    }

    /// See [`Operator::on_gpu`], with validated parameters.
    pub fn on_gpu(&self, params: &Value) -> bool {
        (self.on_gpu)(params)
    }

    /// See [`Operator::on_ranks`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn on_ranks(&self, params: &Value) -> OpResult<bool> {
        (self.on_ranks)(params)
    }

    /// See [`Operator::per_rank`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn per_rank(&self, params: &Value) -> OpResult<&'static [&'static str]> {
        (self.per_rank)(params)
    }

    /// See [`Operator::places`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn places(&self, params: &Value) -> OpResult<Vec<PathBuf>> {
        (self.places)(params)
    }

    /// Files read with these (validated) parameters.
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn files(&self, params: &Value, base: &Path) -> OpResult<Vec<InputFile>> {
        (self.files)(params, base)
    }

    /// See [`Operator::fetch`], with validated parameters.
    ///
    /// # Errors
    /// See [`Operator::fetch`].
    pub fn fetch(
        &self,
        params: &Value,
        base: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        (self.fetch)(params, base, reporter, cancel)
    }

    /// See [`Operator::fingerprint`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn fingerprint(&self, params: &Value, base: &Path) -> OpResult<Option<String>> {
        (self.fingerprint)(params, base)
    }

    /// See [`Operator::estimate`].
    ///
    /// # Errors
    /// See [`Operator::estimate`].
    pub fn estimate(
        &self,
        params: Value,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        device: &str,
    ) -> OpResult<Option<Estimate>> {
        (self.estimate)(params, inputs, device)
    }

    /// See [`Operator::asks_model`].
    ///
    /// # Errors
    /// When the parameters were not validated.
    pub fn asks_model(&self, params: &Value) -> OpResult<bool> {
        (self.asks_model)(params)
    }

    /// Runs the operator with validated parameters.
    ///
    /// # Errors
    /// See [`Operator::run`].
    pub fn run(&self, params: Value, ctx: &Context) -> OpResult<()> {
        (self.run)(params, ctx)
    }

    /// See [`Operator::answers`], with validated parameters.
    ///
    /// # Errors
    /// See [`Operator::answers`].
    pub fn answers(&self, params: Value, ctx: &Context) -> OpResult<Arc<dyn Answers>> {
        (self.answers)(params, ctx)
    }

    /// See [`Operator::remarks`], with validated parameters.
    ///
    /// # Errors
    /// See [`Operator::remarks`].
    pub fn remarks(
        &self,
        params: &Value,
        outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<Vec<String>> {
        (self.remarks)(params, outputs)
    }

    /// Writes the files outside the store that validated parameters ask for; see
    /// [`Operator::deliver`].
    ///
    /// # Errors
    /// See [`Operator::deliver`].
    pub fn deliver(
        &self,
        params: Value,
        ctx: &Context,
        outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<()> {
        (self.deliver)(params, ctx, outputs)
    }
}
