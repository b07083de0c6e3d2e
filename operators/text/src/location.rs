//! Finds an encoder's files: compiled in, in a folder, or in this machine's cache of the Hugging
//! Face hub. `hub` downloads them, and `folder` reads them.

use std::path::{Path, PathBuf};

#[cfg(not(feature = "hub"))]
use gfm_pipe_api::OpError;
use gfm_pipe_api::{Absent, Cancel, InputFile, OpResult, Reporter, files};

use crate::folder::{self, deciding_files};
use crate::modules;

/// The value of `model:`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// The compiled-in encoder.
    Static,
    /// A folder on this machine, as written.
    Folder(PathBuf),
    /// A model of the hub.
    Hub(Repo),
}

/// A model of the hub at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    /// `ORGANISATION/NAME`.
    pub(crate) id: String,
    /// A branch, tag or commit.
    pub(crate) revision: String,
    /// What it is for: `encoder` or `model`, for messages.
    pub(crate) what: &'static str,
}

/// Checks a model's name. The error says what is wrong with it.
pub(crate) fn check(model: &str) -> Result<(), String> {
    if model.trim().is_empty() {
        return Err(
            "a model is expected: `static`, a folder, or a name on the Hugging Face hub".to_owned(),
        );
    }
    Ok(())
}

impl Location {
    /// Parses the value of `model:`. Relative paths are relative to `base`.
    pub(crate) fn parse(model: &str, revision: Option<&str>, base: &Path) -> Location {
        let written_as_path = model.starts_with(['.', '/', '~'])
            || model.contains('\\')
            || model.matches('/').count() > 1;
        if model == "static" && !base.join(model).join(folder::CONFIG).is_file() {
            Location::Static
        } else if written_as_path || base.join(model).is_dir() {
            Location::Folder(home(model))
        } else {
            // As in sentence-transformers.
            let id = if model.contains('/') {
                model.to_owned()
            } else {
                format!("sentence-transformers/{model}")
            };
            Location::Hub(Repo {
                id,
                revision: revision.unwrap_or("main").to_owned(),
                what: "encoder",
            })
        }
    }

    /// The model's name: that of the folder, or that on the hub, without the default organisation.
    pub(crate) fn name(&self) -> String {
        match self {
            Location::Static => "static".to_owned(),
            Location::Folder(path) => {
                let last = path.components().next_back();
                let name = last.map(|c| c.as_os_str().to_string_lossy().into_owned());
                name.unwrap_or_else(|| path.display().to_string())
            }
            Location::Hub(repo) => {
                let short = repo.id.strip_prefix("sentence-transformers/");
                short.unwrap_or(&repo.id).to_owned()
            }
        }
    }
}

/// Expands `~` as a shell does.
fn home(model: &str) -> PathBuf {
    match (model.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(model),
    }
}

/// The hub's cache on this machine, by the conventions of its own tools.
#[derive(Debug, Clone)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// Uses `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` or `HOME`, the first that is set.
    pub(crate) fn from_env() -> Cache {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let own = var("HF_HUB_CACHE").or_else(|| var("HUGGINGFACE_HUB_CACHE"));
        Cache(own.unwrap_or_else(|| Cache::home().join("hub")))
    }

    /// The folder of the hub's tools, which contains the token.
    pub(crate) fn home() -> PathBuf {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        var("HF_HOME").unwrap_or_else(|| {
            let caches = var("XDG_CACHE_HOME");
            let caches = caches.or_else(|| var("HOME").map(|h| h.join(".cache")));
            caches.unwrap_or_default().join("huggingface")
        })
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Cache {
        Cache(path.to_owned())
    }

    /// Path of the cache.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a model in the cache.
    pub(crate) fn model_folder(&self, repo: &Repo) -> PathBuf {
        self.0
            .join(format!("models--{}", repo.id.replace('/', "--")))
    }

    /// The commit of a revision, as far as this machine knows it.
    pub(crate) fn commit(&self, repo: &Repo) -> Option<String> {
        let known =
            files::read_text(&self.model_folder(repo).join("refs").join(&repo.revision)).ok();
        let known = known
            .map(|commit| commit.trim().to_owned())
            .filter(|c| !c.is_empty());
        known.or_else(|| is_commit(&repo.revision).then(|| repo.revision.clone()))
    }

    /// The folder of a model's files, if all files that determine an embedding are there.
    pub(crate) fn snapshot(&self, repo: &Repo) -> Option<PathBuf> {
        let commit = self.commit(repo)?;
        let snapshot = self.model_folder(repo).join("snapshots").join(&commit);
        let nowhere = self.model_folder(repo).join(".no_exist").join(&commit);
        let is_known = |file: &Path| snapshot.join(file).is_file() || nowhere.join(file).is_file();
        // The steps after the network are known only if there is a list of modules, or a record
        // that the model has none.
        let whole = deciding_files(&snapshot)
            .iter()
            .all(|(file, required)| !required || snapshot.join(file).is_file());
        (whole && is_known(Path::new(modules::MODULES))).then_some(snapshot)
    }
}

/// Whether a revision is a commit, whose meaning cannot change.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The files that a stage reads, for its key.
pub(crate) fn files(location: &Location, base: &Path, cache: &Cache) -> Vec<InputFile> {
    let of = |folder: &Path| {
        let files = deciding_files(&base.join(folder)).into_iter();
        files
            .map(|(file, required)| InputFile::new(folder.join(file), required))
            .collect()
    };
    match location {
        Location::Static => Vec::new(),
        Location::Folder(path) if !base.join(path).join(folder::CONFIG).is_file() => {
            vec![InputFile::elsewhere(path.join(folder::CONFIG), Absent {
                why: "no such file, so the folder holds no encoder".to_owned(),
                hint: "`model` is `static`, a folder of sentence-transformers (config.json, tokenizer.json, model.safetensors, …; relative to the working directory), or a name on the Hugging Face hub".to_owned(),
            })]
        }
        Location::Folder(folder) => of(folder),
        Location::Hub(repo) => match cache.snapshot(repo) {
            Some(snapshot) => of(&snapshot),
            None => vec![InputFile::elsewhere(
                cache.model_folder(repo),
                Absent {
                    why: absent(repo),
                    hint: if offline() {
                        by_hand(repo, cache)
                    } else {
                        format!(
                            "`gfm-pipe run` downloads it; a folder here is written `./{}`",
                            repo.id
                        )
                    },
                },
            )],
        },
    }
}

/// Whether the environment forbids using the hub.
pub(crate) fn offline() -> bool {
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
        .iter()
        .any(|name| {
            let set = std::env::var(name).unwrap_or_default().to_lowercase();
            matches!(set.as_str(), "1" | "true" | "yes" | "on")
        })
}

/// Downloads a model of the hub.
#[cfg(feature = "hub")]
pub(crate) fn fetch(repo: &Repo, reporter: &dyn Reporter, cancel: &Cancel) -> OpResult<()> {
    crate::hub::Hub::from_env().fetch(repo, reporter, cancel)
}

/// Fails with a hint how to get a model of the hub, because this build cannot download.
#[cfg(not(feature = "hub"))]
pub(crate) fn fetch(repo: &Repo, _: &dyn Reporter, _: &Cancel) -> OpResult<()> {
    let e = OpError::new(format!(
        "{}, and this build downloads nothing (feature `hub`)",
        absent(repo)
    ));
    Err(e.hint(by_hand(repo, &Cache::from_env())))
}

/// The message for a model that is not on this machine.
pub(crate) fn absent(repo: &Repo) -> String {
    format!(
        "the {} {} (revision {}) is not on this machine yet",
        repo.what, repo.id, repo.revision
    )
}

/// A hint for working without the hub: use the static encoder where an encoder is wanted, or copy
/// the model's files by hand.
pub(crate) fn by_hand(repo: &Repo, cache: &Cache) -> String {
    let instead = if cfg!(feature = "static-encoder") && repo.what == "encoder" {
        "`-p encoder=static` takes the compiled-in encoder instead (in a pipeline without this variable: `model: static`); or "
    } else {
        ""
    };
    format!(
        "{instead}get it on another machine: `hf download {id} --revision {revision}`, then copy models--{dashes} of its cache into {cache}; or put all JSON files of https://huggingface.co/{id}/tree/{revision}, those in its folders too, and model.safetensors (or pytorch_model.bin) into a folder and write `model: ./FOLDER`",
        id = repo.id,
        revision = repo.revision,
        dashes = repo.id.replace('/', "--"),
        cache = cache.path().display(),
    )
}
