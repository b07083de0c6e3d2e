//! Models in folders and on the hub, for other operators.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{Absent, Cancel, Context, InputFile, OpError, OpResult, Reporter, files};

use crate::error::EncoderError;
use crate::folder::{self, CONFIG};
use crate::location::{self, Cache, Location, Repo};

/// The value of `model:` for a model that is not an encoder: a folder, or a name on the Hugging
/// Face hub.
pub struct Model(Place);

enum Place {
    Folder(PathBuf),
    Hub(Repo),
}

impl Model {
    /// Parses the value of `model:`. Relative paths are relative to `base`.
    pub fn parse(model: &str, revision: Option<&str>, base: &Path) -> Self {
        Model(match Location::parse(model, revision, base) {
            Location::Static => Place::Folder(PathBuf::from(model)),
            Location::Folder(path) => Place::Folder(path),
            Location::Hub(repo) => Place::Hub(Repo {
                // The default organisation is for encoders only.
                id: model.to_owned(),
                what: "model",
                ..repo
            }),
        })
    }

    fn location(&self) -> Location {
        match &self.0 {
            Place::Folder(path) => Location::Folder(path.clone()),
            Place::Hub(repo) => Location::Hub(repo.clone()),
        }
    }

    /// The model's name, for messages.
    pub fn name(&self) -> String {
        self.location().name()
    }

    /// The model's files, for `Operator::files`.
    pub fn files(&self, base: &Path) -> Vec<InputFile> {
        match &self.0 {
            Place::Folder(path) if !base.join(path).join(CONFIG).is_file() => {
                let absent = Absent {
                    why: "no such file, so the folder holds no model".to_owned(),
                    hint: "`model` is a folder (config.json, tokenizer.json, model.safetensors; \
                           relative to the working directory), or a name on the Hugging Face hub"
                        .to_owned(),
                };
                vec![InputFile::elsewhere(path.join(CONFIG), absent)]
            }
            _ => location::files(&self.location(), base, &Cache::from_env()),
        }
    }

    /// Downloads a model of the hub, for `Operator::fetch`.
    ///
    /// # Errors
    /// When the download fails.
    pub fn fetch(&self, reporter: &dyn Reporter, cancel: &Cancel) -> OpResult<()> {
        match &self.0 {
            Place::Folder(_) => Ok(()),
            Place::Hub(repo) => location::fetch(repo, reporter, cancel),
        }
    }

    /// The folder of the model's files.
    ///
    /// # Errors
    /// When a model of the hub is not on this machine.
    pub fn folder(&self, ctx: &Context) -> OpResult<PathBuf> {
        match &self.0 {
            Place::Folder(path) => Ok(ctx.path(path)),
            Place::Hub(repo) => {
                let folder = Cache::from_env().snapshot(repo);
                folder.ok_or_else(|| OpError::new(location::absent(repo)))
            }
        }
    }
}

/// Digest of the files that determine a model's results.
fn digest(of: &Path) -> OpResult<String> {
    let mut hasher = blake3::Hasher::new();
    for (file, _) in folder::deciding_files(of) {
        let path = of.join(&file);
        if path.is_file() {
            hasher
                .update(file.to_string_lossy().as_bytes())
                .update(&[0]);
            let failed = |e| OpError::wrap("failed to read", e).file(&path);
            let mut own = blake3::Hasher::new();
            own.update_reader(files::open(&path).map_err(failed)?)
                .map_err(failed)?;
            hasher.update(own.finalize().as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Turns an error of a model into an error of an operator.
pub(crate) fn explained(what: String, e: EncoderError) -> OpError {
    let (hint, kind) = (e.hint(), e.kind());
    let e = OpError::wrap(what, e);
    let e = match kind {
        Some(kind) => e.with_kind(kind),
        None => e,
    };
    match hint {
        Some(hint) => e.hint(hint),
        None => e,
    }
}

/// Loads a model with `read`. Returns it with the digest of its files. `what` and `name` are for
/// messages.
///
/// # Errors
/// The errors of `read`, and when the files change meanwhile.
pub(crate) fn load<T>(
    what: &str,
    name: &str,
    folder: &Path,
    read: impl FnOnce() -> Result<T, EncoderError>,
) -> OpResult<(T, String)> {
    let before = digest(folder)?;
    let read = read().map_err(|e| explained(format!("failed to load the {what} {name}"), e))?;
    // Results are kept under the digest, so it must be that of the files that were read.
    if digest(folder)? != before {
        let problem = format!("the {what} {name} changed while it was read");
        return Err(OpError::resource(problem).file(folder).hint("run again"));
    }
    Ok((read, before))
}
