//! The files of a pipeline: the main file, the files it includes, and files of variables.
//!
//! One rule combines them: mappings are merged key by key, anything else is replaced, and the later
//! file wins. A file's includes come before the file itself, in the order listed. Invariant: all
//! files of a pipeline together stay within the limits of a single file ([`super::MAX_BYTES`],
//! [`super::MAX_VALUES`]), and a file is read once however often it is included.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use gfm_pipe_api::{encoding, files};

use super::error::{Mistake, SpecErrors};
use super::node::{Entry, Kind, Node, quote};
use super::parse::{self, Budget, Purpose};
use super::source::{Sources, Span};
use super::templates::no_template;
use super::validate::version;
use super::{MAX_BYTES, MAX_FILES, STDIN};
use gfm_pipe_api::shell;

const FORM: &str = "include: [FILE, FILE], relative to the file that says so";

/// Reads the text of the pipeline's own file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn main_text(file: &Path, base: &Path) -> Result<String, SpecErrors> {
    named(file, base).map_err(|t| {
        let hint = t.hint.or_else(|| {
            if t.missing {
                Some("the path is relative to the working directory (-C)".to_owned())
            } else {
                base.join(file)
                    .is_dir()
                    .then(|| instead_of_folder(file, base))
            }
        });
        let message = format!("{} the pipeline{}", t.what, t.why);
        SpecErrors::whole(shown(file), message, hint)
    })
}

/// Parses the text and merges everything it includes. Returns `None`, and reports why, when there
/// is no tree to continue with.
pub(super) fn read(
    file: &Path,
    text: &str,
    base: &Path,
    sources: &mut Sources,
    budget: &mut Budget,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let id = sources.add_file(shown(file), text);
    let root = parse::parse(id, text, Purpose::Pipeline, budget, mistakes);
    let mut files = Files {
        base,
        sources,
        budget,
        mistakes,
        bytes: text.len(),
        chain: vec![(file.to_owned(), identity(&base.join(file)))],
        done: HashMap::new(),
        broken: false,
    };
    let root = root.map(|root| files.with_includes(file, root));
    root.filter(|_| !files.broken)
}

/// Reads a file of variables: a mapping of names to values, each entry with its place. A file that
/// cannot be read is reported at `at`.
pub(super) fn variables(
    file: &Path,
    base: &Path,
    at: Span,
    sources: &mut Sources,
    budget: &mut Budget,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Entry> {
    let text = match named(file, base) {
        Ok(text) => text,
        Err(t) => {
            let mistake = Mistake::new(at, format!("{} the file{}", t.what, t.why));
            mistakes.push(Mistake {
                hint: t.hint,
                ..mistake
            });
            return Vec::new();
        }
    };
    let id = sources.add_file(shown(file), &text);
    let root = parse::parse(id, &text, Purpose::Part, budget, mistakes);
    match root.map(|n| (n.span, n.found(), n.kind)) {
        None => Vec::new(),
        Some((_, _, Kind::Map(entries))) => entries,
        Some((span, found, _)) => {
            let message = format!("a file of variables is a mapping, found {found}");
            mistakes.push(Mistake::new(span, message).hint("NAME: VALUE, one a line"));
            Vec::new()
        }
    }
}

/// The name of a file as reports show it: standard input is `<stdin>`.
pub(super) fn shown(file: &Path) -> &Path {
    if file == Path::new(STDIN) {
        Path::new("<stdin>")
    } else {
        file
    }
}

/// The hint for a folder that was named instead of a pipeline.
fn instead_of_folder(folder: &Path, base: &Path) -> String {
    let inside = folder.join("pipeline.yaml");
    if base.join(&inside).is_file() {
        format!("name the pipeline in it: {}", shell::path(&inside))
    } else {
        format!(
            "`gfm-pipe init {}` writes a pipeline for a folder of data",
            shell::path(folder)
        )
    }
}

/// Why a file cannot be read. In the message, `what` comes before the words that name the file, and
/// `why` after them.
struct Trouble {
    what: &'static str,
    why: String,
    missing: bool,
    hint: Option<String>,
}

fn trouble(why: String, hint: Option<&str>) -> Trouble {
    Trouble {
        what: "cannot use",
        why,
        missing: false,
        hint: hint.map(str::to_owned),
    }
}

fn unreadable(e: &io::Error) -> Trouble {
    Trouble {
        what: "cannot read",
        missing: e.kind() == ErrorKind::NotFound,
        ..trouble(format!(": {e}"), None)
    }
}

/// Reads a file that the command line names; `-` is standard input.
fn named(file: &Path, base: &Path) -> Result<String, Trouble> {
    if file == Path::new(STDIN) {
        return utf8(io::stdin().lock());
    }
    let path = base.join(file);
    // What a shell passes on (`<(…)`, /dev/stdin) is open already. Reading any other pipe or device
    // might block for ever.
    let handed = ["/dev/fd", "/proc/self/fd", "/dev/stdin"]
        .iter()
        .any(|p| path.starts_with(p));
    match path.metadata() {
        Ok(m) if m.is_dir() => Err(trouble(": it is a folder".to_owned(), None)),
        Ok(m) if !m.is_file() && !handed => Err(trouble(
            ": it is not a regular file".to_owned(),
            Some("`-` reads standard input"),
        )),
        Ok(_) if handed => utf8(File::open(&path).map_err(|e| unreadable(&e))?),
        _ => text(&path),
    }
}

fn text(path: &Path) -> Result<String, Trouble> {
    utf8(files::open(path).map_err(|e| unreadable(&e))?)
}

fn utf8(from: impl Read) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    let read = from.take(limit).read_to_end(&mut bytes);
    read.map_err(|e| unreadable(&e))?;
    if bytes.len() > MAX_BYTES {
        let why = format!(": it is larger than {} MiB", MAX_BYTES >> 20);
        return Err(trouble(why, None));
    }
    if let Some(encoding) = encoding::foreign(&bytes) {
        let why = format!(": it is {}, not UTF-8", encoding.describe());
        return Err(trouble(why, Some(&encoding.hint())));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..good].iter().filter(|b| **b == b'\n').count();
        let why = format!(": it is not UTF-8 text: line {line}, byte {}", good + 1);
        trouble(why, Some("save it as UTF-8"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// What identifies a file, whatever path leads to it.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

struct Files<'a> {
    base: &'a Path,
    sources: &'a mut Sources,
    budget: &'a mut Budget,
    mistakes: &'a mut Vec<Mistake>,
    /// Bytes of all files read so far.
    bytes: usize,
    /// The files that are being read, each included by the one before: its name for messages, and
    /// its [`identity`].
    chain: Vec<(PathBuf, PathBuf)>,
    /// Files that were read, merged with their own includes.
    done: HashMap<PathBuf, Option<Node>>,
    /// Whether something is missing, which is reported: other apparent mistakes may only follow
    /// from it.
    broken: bool,
}

impl Files<'_> {
    /// The tree of a file, merged over the files it includes.
    fn with_includes(&mut self, file: &Path, mut root: Node) -> Node {
        let Kind::Map(entries) = &mut root.kind else {
            return root;
        };
        let Some(at) = entries.iter().position(|e| e.key.text == "include") else {
            return root;
        };
        let include = entries.remove(at);
        let mut under: Option<Node> = None;
        for (path, span) in self.listed(&include) {
            let Some(node) = self.included(file, &path, span) else {
                self.broken = true;
                continue;
            };
            under = Some(match under {
                None => node,
                Some(before) => merge(before, node),
            });
        }
        match under {
            None => root,
            Some(under) => merge(under, root),
        }
    }

    /// The paths that an `include` lists, each with its place.
    fn listed(&mut self, include: &Entry) -> Vec<(String, Span)> {
        let items = match &include.value.kind {
            Kind::List(items) => items.as_slice(),
            _ if include.value.is_null() => &[],
            _ => std::slice::from_ref(&include.value),
        };
        let mut out = Vec::new();
        for item in items {
            match &item.kind {
                Kind::Scalar { text, .. } if !item.is_null() && !text.is_empty() => {
                    if no_template(text, item.span, "includes", self.mistakes) {
                        out.push((text.clone(), item.span));
                    } else {
                        self.broken = true;
                    }
                }
                _ => {
                    let message =
                        format!("an include is the path of a file, found {}", item.found());
                    self.mistakes
                        .push(Mistake::new(item.span, message).hint(FORM));
                    self.broken = true;
                }
            }
        }
        out
    }

    fn included(&mut self, by: &Path, path: &str, span: Span) -> Option<Node> {
        let name = by.parent().unwrap_or(Path::new("")).join(path);
        let place = self.base.join(&name);
        let id = identity(&place);
        if let Some(from) = self.chain.iter().position(|(_, f)| *f == id) {
            let mut round: Vec<String> = self.chain[from..]
                .iter()
                .map(|(name, _)| name.display().to_string())
                .collect();
            round.push(name.display().to_string());
            let message = format!("files include each other: {}", round.join(" -> "));
            self.mistakes
                .push(Mistake::new(span, message).hint("leave out one of these includes"));
            return None;
        }
        if let Some(done) = self.done.get(&id) {
            let node = done.clone()?;
            return match self.budget.copy(&node, span) {
                Ok(()) => Some(node),
                Err(m) => {
                    self.mistakes.push(m);
                    None
                }
            };
        }
        let node = self.read(&name, &place, id.clone(), span);
        self.done.insert(id, node.clone());
        node
    }

    fn read(&mut self, name: &Path, place: &Path, id: PathBuf, span: Span) -> Option<Node> {
        let refuse = |message: String, hint: Option<String>| {
            let mistake = Mistake::new(span, message);
            Mistake { hint, ..mistake }
        };
        if self.done.len() + self.chain.len() >= MAX_FILES {
            let message = format!("more than {MAX_FILES} files");
            self.mistakes.push(refuse(message, None));
            return None;
        }
        let text = match text(place) {
            Ok(text) => text,
            Err(t) => {
                let shown = quote(&name.display().to_string());
                let hint = t.hint.or_else(|| {
                    let relative = "an include is relative to the file that says so";
                    t.missing.then(|| relative.to_owned())
                });
                let message = format!("{} `{shown}`{}", t.what, t.why);
                self.mistakes.push(refuse(message, hint));
                return None;
            }
        };
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            let message = format!("the files are larger than {} MiB together", MAX_BYTES >> 20);
            self.mistakes.push(refuse(message, None));
            return None;
        }
        let source = self.sources.add_file(name, &text);
        let mut root = parse::parse(source, &text, Purpose::Part, self.budget, self.mistakes)?;
        let Kind::Map(entries) = &mut root.kind else {
            let message = format!("an included file is a mapping, found {}", root.found());
            let hint = "it has the keys of a pipeline: vars, stages, …";
            self.mistakes
                .push(Mistake::new(root.span, message).hint(hint));
            return None;
        };
        // Checked in each file, not after merging: a wrong version that another file replaces would
        // go unnoticed.
        if let Some(at) = entries.iter().position(|e| e.key.text == "version") {
            version(&entries.remove(at), self.mistakes);
        }
        self.chain.push((name.to_owned(), id));
        let node = self.with_includes(name, root);
        self.chain.pop();
        Some(node)
    }
}

/// Merges `over` into `under`: mappings key by key; anything else is replaced.
fn merge(under: Node, over: Node) -> Node {
    let (below, above) = match (under.kind, over.kind) {
        (Kind::Map(below), Kind::Map(above)) => (below, above),
        (_, kind) => return Node { kind, ..over },
    };
    let mut entries = below;
    let mut at: HashMap<String, usize> = HashMap::new();
    for (i, e) in entries.iter().enumerate() {
        at.insert(e.key.text.clone(), i);
    }
    for e in above {
        match at.get(&e.key.text) {
            Some(&i) => {
                let empty = Node::plain(e.value.span, String::new());
                let before = std::mem::replace(&mut entries[i].value, empty);
                let both_maps =
                    matches!((&before.kind, &e.value.kind), (Kind::Map(_), Kind::Map(_)));
                entries[i].value = merge(before, e.value);
                // Mistakes of a whole mapping (something is missing) are reported where it was
                // first written.
                if !both_maps {
                    entries[i].key = e.key;
                }
            }
            None => entries.push(e),
        }
    }
    Node {
        span: over.span,
        flawed: under.flawed || over.flawed,
        kind: Kind::Map(entries),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use serde_json::json;

    use super::super::testing::toy;
    use super::super::{LoadOptions, Pipeline, SpecErrors, load};
    use super::*;

    const MAIN: &str = "
include: [base.yaml, more/other.yaml]
vars: {data: mine}
stages:
  kg: {with: {lower: yes}}
  new: {op: upper, in: {texts: kg.words}}
";
    const BASE: &str = "
name: base
vars: {data: theirs, path: '{{ data }}/x'}
stages:
  kg: {op: words, with: {path: '{{ path }}', language: de}}
  old: {op: upper, in: {texts: kg.words}}
";
    const OTHER: &str = "
include: ../base.yaml
stages: {old: {with: {}}, kg: {with: {language: en}}}
";

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, LoadOptions) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let opts = LoadOptions {
            base: dir.path().to_owned(),
            ..LoadOptions::default()
        };
        (dir, opts)
    }

    fn loaded(opts: &LoadOptions) -> Result<Pipeline, SpecErrors> {
        load(Path::new("p.yaml"), opts, &toy::ops())
    }

    #[test]
    fn mappings_are_merged_and_what_comes_later_wins() {
        let files = [
            ("p.yaml", MAIN),
            ("base.yaml", BASE),
            ("more/other.yaml", OTHER),
        ];
        let (_dir, mut opts) = folder(&files);
        let p = loaded(&opts).unwrap();
        assert_eq!(p.name, "base");
        let names: Vec<&str> = p.stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["kg", "old", "new"]);
        let kg = p.stage("kg").unwrap();
        let want = |path: &str| json!({"path": path, "lower": true, "language": "en"});
        for (key, value) in want("mine/x").as_object().unwrap() {
            assert_eq!(&kg.params[key], value, "{key}");
        }
        // A stage's place is where it was first written; a parameter's is where it was last
        // written.
        assert_eq!(
            (kg.origin.file.as_path(), kg.origin.line),
            (Path::new("base.yaml"), 5)
        );
        let place = |key: &str| {
            let path = [gfm_pipe_api::PathSeg::Key(key.to_owned())];
            kg.written.value(&path).map(|v| v.place.to_string())
        };
        assert_eq!(place("lower").as_deref(), Some("p.yaml:5:22"));
        assert_eq!(place("language").as_deref(), Some("more/other.yaml:3:49"));
        assert_eq!(place("nosuch"), None);

        opts.vars.push(("data".to_owned(), "given".to_owned()));
        let p = loaded(&opts).unwrap();
        assert_eq!(p.stage("kg").unwrap().params["path"], "given/x");
    }

    #[test]
    fn a_file_of_variables_sets_what_is_declared_and_p_wins() {
        let main = "vars: {a: 1, b: 2}\nstages: {kg: {op: words, with: {path: '{{ a }}-{{ b }}'}}}";
        let files = [
            ("p.yaml", main),
            ("v.yaml", "a: 3\nb: '{{ a + 1 }}'\n"),
            ("w.yaml", "c: 3"),
        ];
        let (_dir, mut opts) = folder(&files);
        opts.var_files.push("v.yaml".into());
        let path = |opts: &LoadOptions| loaded(opts).unwrap().stages[0].params["path"].clone();
        assert_eq!(path(&opts), "3-4");
        opts.vars.push(("a".to_owned(), "7".to_owned()));
        assert_eq!(path(&opts), "7-8");
        opts.var_files.extend(["w.yaml".into(), "none.yaml".into()]);
        let e = loaded(&opts).err().unwrap().to_string();
        assert!(
            e.contains(" --> w.yaml:1:1") && e.contains("no variable `c`"),
            "{e}"
        );
        assert!(
            e.contains(" --> --vars none.yaml") && e.contains("cannot read the file"),
            "{e}"
        );
    }

    #[test]
    fn of_the_environment_only_what_is_declared_is_seen() {
        let main = "env: {N: 2, TEXT: '7'}\nstages: {kg: {op: words, with: {path: '{{ env.N + 1 }}{{ env.TEXT }}'}}}";
        let (_dir, mut opts) = folder(&[("p.yaml", main)]);
        let path = |opts: &LoadOptions| loaded(opts).unwrap().stages[0].params["path"].clone();
        assert_eq!(path(&opts), "37");
        opts.env.insert("N".to_owned(), "40".to_owned());
        opts.env.insert("OTHER".to_owned(), "x".to_owned());
        assert_eq!(path(&opts), "417");
        for hidden in [
            "{{ env.OTHER }}",
            "{{ env['OTHER'] }}",
            "{{ env | tojson }}",
            "{{ env | items | list }}",
        ] {
            fs::write(
                opts.base.join("p.yaml"),
                main.replace("{{ env.N + 1 }}", hidden),
            )
            .unwrap();
            let shown =
                loaded(&opts).map_or_else(|e| e.to_string(), |p| p.stages[0].params.to_string());
            assert!(
                !shown.contains('x') || shown.contains("error"),
                "{hidden}: {shown}"
            );
        }
    }

    #[test]
    fn all_files_together_stay_within_the_bounds_of_one() {
        let many: String = (0..MAX_FILES).map(|i| format!("- f{i}.yaml\n")).collect();
        let main = format!("include:\n{many}stages: {{kg: {{op: words, with: {{path: x}}}}}}");
        let (dir, opts) = folder(&[("p.yaml", &main)]);
        for i in 0..MAX_FILES {
            fs::write(
                dir.path().join(format!("f{i}.yaml")),
                format!("vars: {{v{i}: 1}}"),
            )
            .unwrap();
        }
        let e = loaded(&opts).err().unwrap().to_string();
        assert!(e.contains("more than 100 files"), "{e}");

        let half = format!("vars: {{a: {}}}", "x".repeat(MAX_BYTES / 2));
        let main = "include: [a.yaml, b.yaml]\nstages: {}";
        let (_dir, opts) = folder(&[("p.yaml", main), ("a.yaml", &half), ("b.yaml", &half)]);
        let e = loaded(&opts).err().unwrap().to_string();
        assert!(
            e.contains("the files are larger than 4 MiB together"),
            "{e}"
        );

        // A file that is included again and again counts every time.
        let again = "- a.yaml\n".repeat(9);
        let main = format!("include:\n{again}stages: {{}}");
        let (_dir, opts) = folder(&[("p.yaml", &main), ("a.yaml", &half)]);
        let e = loaded(&opts).err().unwrap().to_string();
        assert!(e.contains("make this file too large"), "{e}");
    }
}
