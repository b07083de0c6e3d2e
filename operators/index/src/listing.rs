//! Lists the files in a folder or for a pattern: in a fixed order, each once, with the reason for
//! every file that is not read.
//!
//! Hidden files and folders (`.git`) are skipped. Links are followed. A link to a folder that
//! contains the link is refused, and a file that is reached twice is read once. Only regular files
//! are read: opening a FIFO would hang.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use ahash::AHashMap;
use gfm_pipe_api::{Absent, InputFile};
use glob::{MatchOptions, Pattern};
use walkdir::{DirEntry, WalkDir};

use crate::formats::Format;

/// Depth to which nested folders are read: far deeper than people nest them, and safe for the
/// stack.
pub const MAX_DEPTH: usize = 64;

/// A hint for a path that does not exist.
const FROM: &str =
    "the path is relative to the working directory of the run, which `-C DIR` changes";

/// Options for patterns: `*` does not match `/`.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path as the user would write it.
    pub path: PathBuf,
    /// Path below the folder that is read, with `/`. Tables use this name.
    pub name: String,
    /// The format of its content.
    pub format: Format,
}

/// A file that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As [`Found::path`].
    pub path: PathBuf,
    /// As [`Found::name`].
    pub name: String,
    /// Why it is not read.
    pub reason: String,
}

/// The files behind a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Files to read, in order.
    pub found: Vec<Found>,
    /// Files that are not read, in order.
    pub refused: Vec<Refused>,
}

/// Which files an operator reads.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The format of every file, regardless of its name.
    pub format: Option<Format>,
    /// Formats that are read.
    pub formats: &'static [Format],
    /// Size in bytes above which a file is refused.
    pub max_bytes: u64,
}

impl Listing {
    /// Lists the files that `path` names: a file, a folder or a pattern. Relative paths are
    /// relative to `base`.
    ///
    /// # Errors
    /// When there is nothing to read, with what to do.
    pub fn new(path: &Path, base: &Path, wanted: &Wanted) -> Result<Listing, Absent> {
        let full = base.join(path);
        let mut listing = Listing::default();
        match fs::metadata(&full) {
            Ok(meta) if meta.is_dir() => listing.walk(path, base, None, wanted),
            Ok(meta) if meta.is_file() => {
                let name = full.file_name().unwrap_or_default().to_string_lossy();
                listing.add(path.to_owned(), name.into_owned(), meta.len(), wanted);
            }
            Ok(_) => {
                return Err(absent(
                    "it is neither a regular file nor a folder".to_owned(),
                    "name a file, a folder, or a pattern such as `docs/**/*.md`".to_owned(),
                ));
            }
            Err(e) => match pattern(path) {
                Some((root, pattern)) => {
                    let pattern = pattern.map_err(|e| {
                        absent(
                            format!("it is not a pattern of files: {e}"),
                            "`*` stands for any part of a name, `**` for any folders, `[ab]` for one of some letters"
                                .to_owned(),
                        )
                    })?;
                    if !within(base, &root).is_dir() {
                        return Err(absent(
                            format!("there is no folder {}", root.display()),
                            FROM.to_owned(),
                        ));
                    }
                    listing.walk(&root, base, Some(&pattern), wanted);
                    if listing.found.is_empty() && listing.refused.is_empty() {
                        return Err(absent(
                            "no file matches this pattern".to_owned(),
                            format!(
                                "`*` does not cross a `/`, `**/` does; it is looked for from {}",
                                full_or_here(&root)
                            ),
                        ));
                    }
                }
                None if e.kind() == std::io::ErrorKind::NotFound => {
                    return Err(absent(
                        "there is no such file or folder".to_owned(),
                        FROM.to_owned(),
                    ));
                }
                None => {
                    return Err(absent(
                        format!("failed to read: {e}"),
                        "check the path".to_owned(),
                    ));
                }
            },
        }
        Ok(listing)
    }

    /// Removes the files that one of these patterns names: a file, or a folder with everything in
    /// it.
    #[must_use]
    pub fn without(mut self, except: &[String]) -> Listing {
        let patterns: Vec<Pattern> = except.iter().filter_map(|p| Pattern::new(p).ok()).collect();
        let kept = |name: &str| {
            let mut paths = Path::new(name)
                .ancestors()
                .filter(|p| !p.as_os_str().is_empty());
            !paths.any(|path| {
                patterns
                    .iter()
                    .any(|p| p.matches_with(&shown(path), OPTIONS))
            })
        };
        self.found.retain(|file| kept(&file.name));
        self.refused.retain(|file| kept(&file.name));
        self
    }

    /// The files for a stage's key, and those that are not read. Where there is nothing to read,
    /// one absent file stands for them, so that the run reports it before it starts.
    pub fn files(path: &Path, base: &Path, wanted: &Wanted) -> Vec<InputFile> {
        Listing::keyed(path, base, Listing::new(path, base, wanted), wanted)
    }

    /// As [`Listing::files`], for a listing of `path` that already exists.
    pub fn keyed(
        path: &Path,
        base: &Path,
        listing: Result<Listing, Absent>,
        wanted: &Wanted,
    ) -> Vec<InputFile> {
        let listing = match listing {
            Err(absent) => return vec![InputFile::elsewhere(path, absent)],
            Ok(listing) => listing,
        };
        let mut files: Vec<InputFile> = if listing.found.is_empty() {
            // The folder exists; what is missing is the files in it.
            let missing = if within(base, path).is_dir() {
                path.join("*")
            } else {
                path.to_owned()
            };
            vec![InputFile::elsewhere(missing, listing.nothing(wanted))]
        } else {
            let found = listing.found.into_iter();
            found.map(|f| InputFile::new(f.path, true)).collect()
        };
        let refused = listing.refused.into_iter();
        files.extend(refused.map(|r| InputFile::unread(r.path)));
        files
    }

    /// Adds what a result depends on besides the contents of files: their names, and what is not
    /// read.
    pub fn digest(&self, hasher: &mut blake3::Hasher) {
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        for file in &self.found {
            add(&file.name);
            add(file.format.name());
        }
        for file in &self.refused {
            add(&file.name);
            add(&file.reason);
        }
    }

    /// The error that nothing can be read, with the reason.
    pub fn nothing(&self, wanted: &Wanted) -> Absent {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for file in &self.refused {
            *reasons.entry(&file.reason).or_default() += 1;
        }
        let formats: Vec<&str> = wanted.formats.iter().map(|f| f.name()).collect();
        let read = format!("files are read as {}", formats.join(", "));
        let reasons: Vec<String> = reasons
            .iter()
            .take(3)
            .map(|(reason, n)| format!("{n} refused: {reason}"))
            .collect();
        if reasons.is_empty() {
            absent("there is no file in it".to_owned(), read)
        } else {
            absent(
                "none of its files can be read".to_owned(),
                format!("{}; {read}", reasons.join("; ")),
            )
        }
    }

    fn add(&mut self, path: PathBuf, name: String, size: u64, wanted: &Wanted) {
        let format = match wanted.format {
            Some(format) => Ok(format),
            None => Format::of_name(&name),
        };
        let format = format.and_then(|format| {
            if wanted.formats.contains(&format) {
                Ok(format)
            } else {
                Err(format!("{} is not read here", format.name()))
            }
        });
        // Parquet is read piece by piece, all other formats as a whole.
        let format = format.and_then(|format| {
            if size > wanted.max_bytes && format != Format::Parquet {
                Err(format!(
                    "the file has {size} bytes, more than the {} of `max_file_bytes`",
                    wanted.max_bytes
                ))
            } else {
                Ok(format)
            }
        });
        match format {
            Ok(format) => self.found.push(Found { path, name, format }),
            Err(reason) => self.refused.push(Refused { path, name, reason }),
        }
    }

    fn walk(&mut self, root: &Path, base: &Path, pattern: Option<&Pattern>, wanted: &Wanted) {
        let full = within(base, root);
        let walk = WalkDir::new(&full)
            .follow_links(true)
            .max_depth(MAX_DEPTH + 1)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|e| e.depth() == 0 || !is_hidden(e));
        let below =
            |path: &Path| -> PathBuf { path.strip_prefix(&full).unwrap_or(path).to_owned() };
        let matches = |name: &str| pattern.is_none_or(|p| p.matches_with(name, OPTIONS));
        let refuse = |path: &Path, reason: String| Refused {
            path: root.join(path),
            name: shown(path),
            reason,
        };
        let mut entries: Vec<(PathBuf, u64)> = Vec::new();
        let mut linked = false;
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    let path = below(e.path().unwrap_or(&full));
                    let reason = match (e.loop_ancestor(), e.io_error()) {
                        (Some(_), _) => "the link leads back into a folder it lies in".to_owned(),
                        (None, Some(e)) => format!("failed to read: {e}"),
                        (None, None) => "failed to read".to_owned(),
                    };
                    self.refused.push(refuse(&path, reason));
                    continue;
                }
            };
            linked |= entry.path_is_symlink();
            let path = below(entry.path());
            let name = shown(&path);
            if entry.file_type().is_dir() {
                if entry.depth() > MAX_DEPTH {
                    let reason = format!("folders are read {MAX_DEPTH} deep, and this is deeper");
                    self.refused.push(refuse(&path, reason));
                }
            } else if !matches(&name) {
            } else if !entry.file_type().is_file() {
                let reason = "it is not a regular file".to_owned();
                self.refused.push(refuse(&path, reason));
            } else {
                match entry.metadata() {
                    Ok(meta) => entries.push((path, meta.len())),
                    Err(e) => {
                        let reason = format!("failed to read: {e}");
                        self.refused.push(refuse(&path, reason));
                    }
                }
            }
        }
        let twice = if linked {
            reached_twice(&full, &entries)
        } else {
            AHashMap::new()
        };
        for (i, (path, size)) in entries.into_iter().enumerate() {
            let name = shown(&path);
            match twice.get(&i) {
                Some(first) => {
                    let reason = format!("a link to {first}, which is read");
                    self.refused.push(refuse(&path, reason));
                }
                None => self.add(root.join(&path), name, size, wanted),
            }
        }
        self.refused.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// Files that are the same as another one of the list: by position, the name of the other one. A
/// file that was reached without a link is preferred to one behind a link.
fn reached_twice(root: &Path, entries: &[(PathBuf, u64)]) -> AHashMap<usize, String> {
    let real_root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let real: Vec<PathBuf> = entries
        .iter()
        .map(|(path, _)| fs::canonicalize(root.join(path)).unwrap_or_else(|_| root.join(path)))
        .collect();
    let direct = |i: usize| real[i] == real_root.join(&entries[i].0);
    let mut first: AHashMap<&Path, usize> = AHashMap::new();
    for straight in [true, false] {
        for i in (0..entries.len()).filter(|i| direct(*i) == straight) {
            first.entry(&real[i]).or_insert(i);
        }
    }
    let all = (0..entries.len()).map(|i| (i, first[real[i].as_path()]));
    all.filter(|(i, first)| i != first)
        .map(|(i, first)| (i, shown(&entries[first].0)))
        .collect()
}

/// The path by which a folder can be opened: the empty path is the working directory.
fn within(base: &Path, root: &Path) -> PathBuf {
    let full = base.join(root);
    if full.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        full
    }
}

fn absent(why: String, hint: String) -> Absent {
    Absent { why, hint }
}

fn full_or_here(root: &Path) -> String {
    if root.as_os_str().is_empty() {
        "the working directory".to_owned()
    } else {
        root.display().to_string()
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// A path with `/` as the separator on every system.
fn shown(path: &Path) -> String {
    let parts = path.components().map(|c| c.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a text is a pattern of files.
///
/// # Errors
/// What is wrong with the pattern.
pub fn check_pattern(text: &str) -> Result<(), String> {
    match Pattern::new(text) {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("`{text}` is not a pattern of files: {e}")),
    }
}

/// The folder of `path`: itself, the one that contains a file, or the one that a pattern begins
/// with.
pub fn folder_of(path: &Path) -> PathBuf {
    match pattern(path) {
        _ if path.is_dir() => path.to_owned(),
        Some((root, _)) if !path.exists() => root,
        _ => path.parent().unwrap_or(Path::new("")).to_owned(),
    }
}

/// The folder that a pattern begins with, and the rest of it. `None` for a path without `*`, `?`
/// and `[`.
fn pattern(path: &Path) -> Option<(PathBuf, Result<Pattern, glob::PatternError>)> {
    let special = |c: &Component<'_>| {
        let bytes = c.as_os_str().as_encoded_bytes();
        bytes.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
    };
    let all: Vec<Component<'_>> = path.components().collect();
    let first = all.iter().position(special)?;
    let root = all[..first].iter().collect();
    let rest: PathBuf = all[first..].iter().collect();
    Some((root, Pattern::new(&shown(&rest))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WANTED: Wanted = Wanted {
        format: None,
        formats: Format::ALL,
        max_bytes: 100,
    };

    fn put(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "text").unwrap();
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.found.iter().map(|f| f.name.as_str()).collect()
    }

    fn refused(listing: &Listing) -> Vec<(&str, &str)> {
        let all = listing.refused.iter();
        all.map(|r| (r.name.as_str(), r.reason.as_str())).collect()
    }

    #[test]
    fn folders_are_read_in_order_without_what_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.txt",
            "a/z.md",
            "a/c/x.html",
            ".git/config.txt",
            "a/.hidden.md",
            "p.png",
            "README",
        ] {
            put(dir.path(), name);
        }
        fs::write(dir.path().join("big.txt"), "x".repeat(101)).unwrap();
        let listing = Listing::new(Path::new(""), dir.path(), &WANTED).unwrap();
        assert_eq!(names(&listing), ["README", "a/c/x.html", "a/z.md", "b.txt"]);
        let [big, png] = refused(&listing)[..] else {
            panic!("{listing:?}")
        };
        assert_eq!(
            big,
            (
                "big.txt",
                "the file has 101 bytes, more than the 100 of `max_file_bytes`"
            )
        );
        assert_eq!(png.0, "p.png");
        // From another directory, names are still relative to the folder, and paths are as the user
        // would write them.
        let name = dir.path().file_name().unwrap();
        let base = dir.path().parent().unwrap();
        let other = Listing::new(Path::new(name), base, &WANTED).unwrap();
        assert_eq!(names(&other), names(&listing));
        assert_eq!(other.found[3].path, Path::new(name).join("b.txt"));
    }

    #[test]
    fn patterns_and_single_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["d/a.md", "d/b.txt", "d/e/c.md", "d/e/f/g.md", "d/[x].md"] {
            put(dir.path(), name);
        }
        let of = |path: &str| Listing::new(Path::new(path), dir.path(), &WANTED);
        for (path, want) in [
            ("d/*.md", &["[x].md", "a.md"][..]),
            ("d/**/*.md", &["[x].md", "a.md", "e/c.md", "e/f/g.md"]),
            ("d/?.*", &["a.md", "b.txt"]),
            ("*/e/*.md", &["d/e/c.md"]),
            ("d/b.txt", &["b.txt"]),
            // The name of an existing file takes precedence over its meaning as a pattern.
            ("d/[x].md", &["[x].md"]),
        ] {
            assert_eq!(names(&of(path).unwrap()), want, "{path}");
        }
        for (path, why) in [
            ("d/*.html", "no file matches this pattern"),
            ("e", "there is no such file or folder"),
            ("e/*.md", "there is no folder e"),
            ("d/[", "it is not a pattern of files"),
        ] {
            let e = of(path).unwrap_err();
            assert!(e.why.starts_with(why), "{path}: {e:?}");
        }
    }

    #[test]
    fn a_folder_with_nothing_to_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let files = || Listing::files(Path::new("."), dir.path(), &WANTED);
        // The folder exists, so it is not reported as missing.
        assert_eq!(files()[0].path, Path::new("./*"));
        assert_eq!(
            files()[0].absent.as_ref().unwrap().why,
            "there is no file in it"
        );
        put(dir.path(), "one.pdf");
        put(dir.path(), "two.pdf");
        let absent = files()[0].absent.clone().unwrap();
        assert_eq!(absent.why, "none of its files can be read");
        assert!(
            absent.hint.contains("2 refused: ") && absent.hint.contains("pdftotext"),
            "{absent:?}"
        );
    }

    #[test]
    fn names_and_reasons_are_in_the_digest_and_places_are_not() {
        let digest = |root: &Path| {
            let mut hasher = blake3::Hasher::new();
            Listing::new(root, Path::new(""), &WANTED)
                .unwrap()
                .digest(&mut hasher);
            hasher.finalize()
        };
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            put(dir.path(), "x/one.txt");
        }
        let first = digest(a.path());
        assert_eq!(first, digest(b.path()));
        put(b.path(), "p.png");
        assert_ne!(first, digest(b.path()));
        fs::rename(a.path().join("x"), a.path().join("y")).unwrap();
        assert_ne!(first, digest(a.path()));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_special_files_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        put(dir.path(), "docs/z.txt");
        put(out.path(), "far.txt");
        symlink(dir.path().join("docs"), dir.path().join("docs/loop")).unwrap();
        symlink("z.txt", dir.path().join("docs/a.txt")).unwrap();
        symlink(out.path(), dir.path().join("docs/out")).unwrap();
        symlink(out.path().join("far.txt"), dir.path().join("docs/same.txt")).unwrap();
        symlink("nowhere.txt", dir.path().join("docs/gone.txt")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join("docs/s.txt")).unwrap();
        let listing = Listing::new(Path::new("docs"), dir.path(), &WANTED).unwrap();
        drop(socket);
        assert_eq!(names(&listing), ["out/far.txt", "z.txt"]);
        let all = refused(&listing);
        let reasons: Vec<&str> = all.iter().map(|r| r.0).collect();
        assert_eq!(reasons, ["a.txt", "gone.txt", "loop", "s.txt", "same.txt"]);
        assert_eq!(all[0].1, "a link to z.txt, which is read");
        assert!(all[1].1.starts_with("failed to read"), "{all:?}");
        assert_eq!(all[2].1, "the link leads back into a folder it lies in");
        assert_eq!(all[3].1, "it is not a regular file");
        assert_eq!(all[4].1, "a link to out/far.txt, which is read");
    }

    #[test]
    fn folders_too_deep_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(MAX_DEPTH + 3);
        put(dir.path(), &format!("{deep}x.txt"));
        put(dir.path(), "x.txt");
        let listing = Listing::new(Path::new(""), dir.path(), &WANTED).unwrap();
        assert_eq!(names(&listing), ["x.txt"]);
        assert!(listing.refused[0].reason.contains("deeper"), "{listing:?}");
    }
}
