//! Downloads a model from the Hugging Face hub into its cache on this machine.
//!
//! The files that determine an embedding are downloaded from one commit, complete and checked.
//! Invariant: afterwards there is a snapshot as the hub's own tools make it. An interrupted
//! download continues where it stopped. `location` knows where the cache is.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use gfm_pipe_api::{Cancel, ErrorKind, OpError, OpResult, Reporter, files};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use sha2::{Digest, Sha256};

use crate::folder::{CONFIG, WEIGHTS, deciding_files, weight_folders};
use crate::location::{Cache, Repo, by_hand};
use crate::modules::MODULES;

/// Attempts after a connection that broke.
const RETRIES: usize = 5;
/// How long to wait for progress before checking for cancellation.
const LOOK: Duration = Duration::from_millis(100);

/// Settings of the hub from the environment.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) cache: Cache,
    pub(crate) endpoint: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and the variables of
    /// [`Cache::from_env`].
    pub(crate) fn from_env() -> Hub {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let kept = var("HF_TOKEN_PATH").map_or_else(|| Cache::home().join("token"), PathBuf::from);
        let token = var("HF_TOKEN").or_else(|| files::read_text(&kept).ok());
        Hub {
            cache: Cache::from_env(),
            endpoint: var("HF_ENDPOINT"),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: crate::location::offline(),
        }
    }

    /// Completes the snapshot of a model.
    ///
    /// # Errors
    /// When there is no network or no permission, this build cannot use the model, or the user
    /// stops.
    pub(crate) fn fetch(
        &self,
        repo: &Repo,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        if self.cache.snapshot(repo).is_some() {
            return Ok(());
        }
        if self.offline {
            return Err(OpError::new(format!(
                "the encoder {} is not on this machine, and HF_HUB_OFFLINE forbids to download it",
                repo.id
            ))
            .hint(by_hand(repo, &self.cache)));
        }
        let (sender, news) = mpsc::channel();
        let (hub, of) = (self.clone(), repo.clone());
        // On a separate thread, so that the user can stop even when a connection hangs.
        std::thread::spawn(move || {
            let done = hub.download(&of, &sender);
            let _ = sender.send(News::End(done));
        });
        loop {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            match news.recv_timeout(LOOK) {
                Ok(News::Bytes { file, done, total }) => {
                    reporter.progress(done, total, "bytes", &format!("of {}/{file}", repo.id))
                }
                Ok(News::End(done)) => return done.map_err(|e| self.explain(repo, e)),
                Err(mpsc::RecvTimeoutError::Timeout) => (),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(OpError::internal("the download ended without a word"));
                }
            }
        }
    }

    fn api(&self) -> Result<Api, ApiError> {
        let cache = hf_hub::Cache::new(self.cache.path().to_owned());
        let mut api = ApiBuilder::from_cache(cache)
            .with_progress(false)
            .with_retries(RETRIES)
            .with_token(self.token.clone());
        if let Some(endpoint) = &self.endpoint {
            api = api.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        api.build()
    }

    fn download(&self, repo: &Repo, sender: &mpsc::Sender<News>) -> Result<(), Failure> {
        let api = self.api()?;
        let model = |revision: &str| {
            hf_hub::Repo::with_revision(
                repo.id.clone(),
                hf_hub::RepoType::Model,
                revision.to_owned(),
            )
        };
        let info = api.repo(model(&repo.revision)).info()?;
        let snapshot = self
            .cache
            .model_folder(repo)
            .join("snapshots")
            .join(&info.sha);
        let there = |file: &Path| {
            info.siblings
                .iter()
                .any(|s| Path::new(&s.rfilename) == file)
        };
        let at = api.repo(model(&info.sha));
        let get = |file: &Path| -> Result<(), Failure> {
            if snapshot.join(file).is_file() {
                return Ok(());
            }
            let name = file.to_string_lossy().replace('\\', "/");
            let progress = ProgressSender {
                news: sender.clone(),
                file: name.clone(),
                done: 0,
                total: 0,
            };
            checked(&at.download_with_progress(&name, progress)?)
        };
        // The files that list other files come first.
        for file in [CONFIG, MODULES] {
            if there(Path::new(file)) {
                get(Path::new(file))?;
            }
        }
        // An index of weights also lists files. The weights themselves come last.
        let folders = weight_folders(&snapshot);
        let of = |folder: &PathBuf| {
            let mut all = WEIGHTS.iter().map(|name| folder.join(name));
            all.find(|file| there(file))
        };
        let weights: Vec<Option<PathBuf>> = folders.iter().map(of).collect();
        let is_index = |file: &Path| file.extension().is_some_and(|e| e == "json");
        for index in weights.iter().flatten().filter(|f| is_index(f)) {
            get(index)?;
        }
        let mut missing = Vec::new();
        if weights.first().is_none_or(Option::is_none) {
            missing.push("weights".to_owned());
        }
        for (file, required) in deciding_files(&snapshot) {
            if file
                .file_name()
                .is_some_and(|n| WEIGHTS.iter().any(|w| n == *w))
            {
                continue;
            }
            if there(&file) {
                get(&file)?;
            } else if required {
                missing.push(file.display().to_string());
            } else {
                // The hub's own tools record a missing file in this way.
                self.nowhere(repo, &info.sha, &file)?;
            }
        }
        if !missing.is_empty() {
            return Err(Failure::NoEncoder(format!(
                "it has no {}",
                missing.join(", ")
            )));
        }
        for file in weights.iter().flatten().rev() {
            get(file)?;
        }
        // Records the commit of a branch, so that the next run does not ask the hub.
        let cache = hf_hub::Cache::new(self.cache.path().to_owned());
        cache.repo(model(&repo.revision)).create_ref(&info.sha)?;
        Ok(())
    }

    fn nowhere(&self, repo: &Repo, commit: &str, file: &Path) -> Result<(), Failure> {
        let path = self
            .cache
            .model_folder(repo)
            .join(".no_exist")
            .join(commit)
            .join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, b"")?;
        Ok(())
    }

    fn explain(&self, repo: &Repo, failure: Failure) -> OpError {
        let what = format!(
            "failed to get the encoder {} (revision {}) from the hub",
            repo.id, repo.revision
        );
        match failure {
            Failure::Io(e) => OpError::wrap(what, e).file(self.cache.model_folder(repo)),
            Failure::NoEncoder(why) => OpError::new(format!("{}: {why}", repo.id)).hint("a model of sentence-transformers with tokenizer.json and safetensors or pytorch_model.bin is expected"),
            Failure::Damaged(path) => OpError::resource(format!("{what}: a file arrived damaged and was removed")).file(path).hint("run again"),
            Failure::Api(e) => {
                let status = status(&e);
                let hint = match status {
                    // Without a token, the hub also answers 401 for models that do not exist.
                    Some(401 | 403) => format!("it may be private or ask for consent (accept its terms on its page, and set HF_TOKEN to a token that may read it), or not exist: a folder here is written `./{}`", repo.id),
                    Some(404) => format!("there is no such model or revision; is `{}` meant to be a folder here? write it `./{}`", repo.id, repo.id),
                    _ => format!("without a network here: {}", by_hand(repo, &self.cache)),
                };
                let kind = match status {
                    Some(401 | 403 | 404) => ErrorKind::User,
                    _ => ErrorKind::Resource,
                };
                OpError::wrap(what, e).with_kind(kind).hint(hint)
            }
        }
    }
}

fn status(e: &ApiError) -> Option<u16> {
    match e {
        ApiError::TooManyRetries(e) => status(e),
        ApiError::RequestError(e) => match **e {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// Checks that a file matches its name in the cache: large files are named by their SHA-256.
fn checked(path: &Path) -> Result<(), Failure> {
    let blob = std::fs::canonicalize(path)?;
    let name = blob
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    if name.len() != 64 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hasher = Sha256::new();
    std::io::copy(&mut std::fs::File::open(&blob)?, &mut hasher)?;
    let digest: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    if digest == name {
        return Ok(());
    }
    std::fs::remove_file(&blob)?;
    std::fs::remove_file(path)?;
    Err(Failure::Damaged(path.to_owned()))
}

enum News {
    Bytes { file: String, done: u64, total: u64 },
    End(Result<(), Failure>),
}

#[derive(Debug)]
enum Failure {
    Api(ApiError),
    Io(std::io::Error),
    NoEncoder(String),
    Damaged(PathBuf),
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Self {
        Failure::Api(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Failure::Io(e)
    }
}

struct ProgressSender {
    news: mpsc::Sender<News>,
    file: String,
    done: u64,
    total: u64,
}

impl Progress for ProgressSender {
    fn init(&mut self, size: usize, _file: &str) {
        self.total = size as u64;
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        // After the user stopped, there is no receiver any more.
        let _ = self.news.send(News::Bytes {
            file: self.file.clone(),
            done: self.done,
            total: self.total,
        });
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use gfm_pipe_api::local::Collected;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A hub with one model. It cuts off its first answer with weights, and records the requests.
    struct Served {
        files: Vec<(&'static str, Vec<u8>)>,
        asked: Mutex<Vec<String>>,
        token: Option<&'static str>,
        cut: Mutex<bool>,
        /// Whether weights are named by a wrong digest.
        lie: bool,
    }

    impl Served {
        fn new() -> Self {
            let weights: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
            Served {
                files: vec![
                    ("config.json", b"{}".to_vec()),
                    ("tokenizer.json", b"{\"t\": 1}".to_vec()),
                    ("README.md", b"unwanted".to_vec()),
                    (
                        "modules.json",
                        br#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}, {"path": "2_Dense", "type": "a.Dense"}]"#.to_vec(),
                    ),
                    ("1_Pooling/config.json", b"{\"p\": 1}".to_vec()),
                    ("model.safetensors", weights),
                    ("pytorch_model.bin", b"unwanted".to_vec()),
                    ("2_Dense/config.json", b"{}".to_vec()),
                    ("2_Dense/pytorch_model.bin", b"dense".to_vec()),
                ],
                asked: Mutex::default(),
                token: None,
                cut: Mutex::new(false),
                lie: false,
            }
        }

        /// Starts the server. Returns its address.
        fn start(self) -> (String, Arc<Served>) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let hub = Arc::new(self);
            let served = Arc::clone(&hub);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let _ = served.answer(stream);
                }
            });
            (address, hub)
        }

        fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            let first = lines.next().unwrap_or(Ok(String::new()))?;
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut from, mut one, mut token) = (0, false, None);
            for line in lines {
                let line = line?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
                if name.eq_ignore_ascii_case("range") {
                    let range = value.strip_prefix("bytes=").unwrap_or_default();
                    let (a, b) = range.split_once('-').unwrap_or_default();
                    from = a.parse().unwrap_or(0);
                    one = b == "0";
                }
                if name.eq_ignore_ascii_case("authorization") {
                    token = Some(value.to_owned());
                }
            }
            self.asked.lock().unwrap().push(format!("{path} {from}"));
            let head = |status: &str, more: &str, n: usize| {
                format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {n}\r\nconnection: close\r\n{more}\r\n"
                )
            };
            if self
                .token
                .is_some_and(|t| token.as_deref() != Some(&format!("Bearer {t}")))
            {
                return stream.write_all(head("401 Unauthorized", "", 0).as_bytes());
            }
            if path == "/api/models/org/tiny/revision/main" {
                let names: Vec<_> = self
                    .files
                    .iter()
                    .map(|(n, _)| serde_json::json!({"rfilename": n}))
                    .collect();
                let body = serde_json::json!({"sha": COMMIT, "siblings": names}).to_string();
                stream.write_all(head("200 OK", "", body.len()).as_bytes())?;
                return stream.write_all(body.as_bytes());
            }
            let found = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
            let found = found.and_then(|name| self.files.iter().find(|(n, _)| *n == name));
            let Some((name, bytes)) = found else {
                return stream.write_all(head("404 Not Found", "", 0).as_bytes());
            };
            let etag = if name.ends_with("safetensors") {
                let hashed: &[u8] = if self.lie { b"other" } else { bytes };
                Sha256::digest(hashed)
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect()
            } else {
                format!("small-{name}").replace('/', "-")
            };
            let rest = if one { &bytes[..1] } else { &bytes[from..] };
            let more = format!(
                "etag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\ncontent-range: bytes {from}-{}/{}\r\n",
                from + rest.len() - 1,
                bytes.len()
            );
            stream.write_all(head("206 Partial Content", &more, rest.len()).as_bytes())?;
            let cut = !one
                && name.ends_with("safetensors")
                && std::mem::take(&mut *self.cut.lock().unwrap());
            stream.write_all(if cut { &rest[..rest.len() / 2] } else { rest })
        }
    }

    fn repo() -> Repo {
        Repo {
            id: "org/tiny".to_owned(),
            revision: "main".to_owned(),
            what: "encoder",
        }
    }

    fn hub(cache: &Path, endpoint: String, token: Option<&str>) -> Hub {
        Hub {
            cache: Cache::at(cache),
            endpoint: Some(endpoint),
            token: token.map(ToOwned::to_owned),
            offline: false,
        }
    }

    fn fetch(hub: &Hub) -> OpResult<()> {
        hub.fetch(&repo(), &Collected::default(), &Cancel::default())
    }

    /// The message and the hint of an error, which must be of this kind.
    fn explained(kind: ErrorKind, e: &OpError) -> (String, String) {
        assert_eq!(e.kind(), kind, "{e}");
        let OpError::Failed(failure) = e else {
            panic!("{e}")
        };
        (
            failure.to_string(),
            failure.hint.clone().unwrap_or_default(),
        )
    }

    #[test]
    fn a_model_is_got_once_whole_and_goes_on_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let served = Served {
            cut: Mutex::new(true),
            token: Some("secret"),
            ..Served::new()
        };
        let weights = served.files[5].1.clone();
        let (address, served) = served.start();
        let here = hub(dir.path(), address, Some("secret"));
        assert_eq!(here.cache.snapshot(&repo()), None);
        fetch(&here).unwrap();
        let snapshot = here.cache.snapshot(&repo()).unwrap();
        assert_eq!(
            std::fs::read(snapshot.join("model.safetensors")).unwrap(),
            weights
        );
        assert!(snapshot.join("1_Pooling/config.json").is_file());
        assert!(snapshot.join("2_Dense/pytorch_model.bin").is_file());
        assert!(
            !snapshot.join("README.md").exists() && !snapshot.join("pytorch_model.bin").exists()
        );
        let asked = served.asked.lock().unwrap().clone();
        let later = asked
            .iter()
            .filter(|a| a.contains("safetensors") && !a.ends_with(" 0"))
            .count();
        assert_eq!(later, 1, "the rest alone is asked for: {asked:?}");
        // The hub is not asked again, and no network is needed.
        let offline = Hub {
            offline: true,
            ..here.clone()
        };
        fetch(&offline).unwrap();
        assert_eq!(served.asked.lock().unwrap().len(), asked.len());
        // A commit names the same files.
        let pinned = Repo {
            revision: COMMIT.to_owned(),
            ..repo()
        };
        assert_eq!(here.cache.snapshot(&pinned), Some(snapshot.clone()));
        // A file that was lost is downloaded again.
        std::fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
        assert_eq!(here.cache.snapshot(&repo()), None);
        fetch(&here).unwrap();
        assert_eq!(here.cache.snapshot(&repo()), Some(snapshot));
    }

    #[test]
    fn what_goes_wrong_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let (address, _) = Served {
            token: Some("secret"),
            ..Served::new()
        }
        .start();
        let (message, hint) = explained(
            ErrorKind::User,
            &fetch(&hub(dir.path(), address.clone(), None)).unwrap_err(),
        );
        assert!(
            message.contains("org/tiny") && hint.contains("HF_TOKEN"),
            "{message} / {hint}"
        );
        let other = Repo {
            id: "org/none".to_owned(),
            ..repo()
        };
        let here = hub(dir.path(), address, Some("secret"));
        let (message, hint) = explained(
            ErrorKind::User,
            &here
                .fetch(&other, &Collected::default(), &Cancel::default())
                .unwrap_err(),
        );
        assert!(
            message.contains("org/none") && hint.contains("./org/none"),
            "{message} / {hint}"
        );
        let offline = Hub {
            offline: true,
            ..here
        };
        let (message, hint) = explained(ErrorKind::User, &fetch(&offline).unwrap_err());
        assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
        assert!(
            hint.contains("models--org--tiny") && hint.contains("model.safetensors"),
            "{hint}"
        );
        let nobody = hub(dir.path(), "http://127.0.0.1:9".to_owned(), None);
        let (message, hint) = explained(ErrorKind::Resource, &fetch(&nobody).unwrap_err());
        assert!(
            message.contains("org/tiny") && hint.contains("without a network"),
            "{message} / {hint}"
        );
        if cfg!(feature = "static-encoder") {
            assert!(hint.contains("`-p encoder=static`"), "{hint}");
        }
        let stopped = Cancel::default();
        stopped.cancel();
        assert!(matches!(
            nobody.fetch(&repo(), &Collected::default(), &stopped),
            Err(OpError::Cancelled)
        ));
        let (address, _) = Served {
            lie: true,
            ..Served::new()
        }
        .start();
        let lied = hub(dir.path(), address, None);
        let (message, hint) = explained(ErrorKind::Resource, &fetch(&lied).unwrap_err());
        assert!(
            message.contains("damaged") && hint == "run again",
            "{message} / {hint}"
        );
        assert_eq!(lied.cache.snapshot(&repo()), None);
        let mut bare = Served::new();
        bare.files.retain(|(n, _)| *n != "tokenizer.json");
        let (address, _) = bare.start();
        let bare = hub(&dir.path().join("bare"), address, None);
        let (message, _) = explained(ErrorKind::User, &fetch(&bare).unwrap_err());
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}
