//! Language models: a pipeline that uses recorded answers, the rules that made them, and runs that
//! are killed while they ask.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use gfm_pipe_testing::{Act, Asked, ModelServer, Random};
use serde_json::{Value, json};

use crate::program::{real, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PIPELINE: &str = "pipelines/llm.yaml";
/// Number of documents of the demo.
const DOCUMENTS: usize = 30;

/// Runs the program in the root of the repository and returns what it prints.
fn ran(args: &[&str]) -> String {
    let output = real(Path::new(ROOT), args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {told}");
    stdout(&output)
}

fn rows(store: &str, what: &str) -> Vec<Value> {
    let text = ran(&["show", what, "--json", "--store", store]);
    serde_json::from_str(&text).unwrap()
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

/// Whether the answer to a request must have this property. Each kind of request has another one.
fn asks_for(asked: &Asked, property: &str) -> bool {
    let schema = &asked.body["response_format"]["json_schema"]["schema"];
    schema["properties"].get(property).is_some()
}

/// What the rules that stand in for a model know.
struct Rules {
    /// Texts by title, and the facts that the English pipeline finds in them.
    texts: Vec<(String, String)>,
    facts: HashMap<String, Vec<[String; 3]>>,
    /// Answers and gold documents by question.
    questions: HashMap<String, (String, Vec<String>)>,
}

impl Rules {
    /// Reads documents and questions, and the facts from a store where `by_rules` ran.
    fn read(store: &str) -> Rules {
        let documents = rows(store, "documents.documents");
        let texts: Vec<(String, String)> = documents
            .iter()
            .map(|row| (text(row, "title"), text(row, "text")))
            .collect();
        let mut facts: HashMap<String, Vec<[String; 3]>> = HashMap::new();
        for row in rows(store, "by_rules.facts") {
            let title = &texts[row["document"].as_u64().unwrap() as usize].0;
            let fact = ["subject", "relation", "object"].map(|part| text(&row, part));
            facts.entry(title.clone()).or_default().push(fact);
        }
        let path = Path::new(ROOT).join("data/llm/questions.json");
        let questions: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let questions = questions.iter().map(|q| {
            let gold = q["supporting_facts"].as_array().unwrap().iter();
            let gold = gold
                .map(|title| title.as_str().unwrap().to_owned())
                .collect();
            (text(q, "question"), (text(q, "answer"), gold))
        });
        Rules {
            texts,
            facts,
            questions: questions.collect(),
        }
    }

    /// The documents that a message shows, in its order.
    fn shown(&self, message: &str) -> Vec<&str> {
        let place = |text: &str| message.find(&serde_json::to_string(text).unwrap());
        let shown = self
            .texts
            .iter()
            .filter_map(|(title, text)| Some((place(text)?, title)));
        let mut shown: Vec<(usize, &str)> = shown.map(|(at, title)| (at, title.as_str())).collect();
        shown.sort_unstable();
        shown.into_iter().map(|(_, title)| title).collect()
    }

    fn answer(&self, asked: &Asked) -> Value {
        let message = asked.last();
        let shown = self.shown(&message);
        if asks_for(asked, "answer") {
            let asked = self.questions.iter().find(|(q, _)| message.contains(*q));
            let (_, (answer, gold)) = asked.unwrap();
            let cited: Vec<usize> = (1..)
                .zip(&shown)
                .filter(|(_, title)| gold.iter().any(|g| g == *title))
                .map(|(number, _)| number)
                .collect();
            let knows = cited.iter().any(|number| {
                let title = shown[number - 1];
                let of = self.texts.iter().find(|(t, _)| t == title).unwrap();
                of.1.contains(answer.as_str()) || of.0.contains(answer.as_str())
            });
            return if knows {
                json!({"reasoning": "A rule found the answer in a gold document.", "answer": answer, "cited": cited})
            } else {
                json!({"reasoning": "No rule found the answer.", "answer": "", "cited": []})
            };
        }
        let [title] = shown[..] else {
            panic!("one document: {shown:?}")
        };
        let facts = self.facts.get(title).map(Vec::as_slice).unwrap_or_default();
        if asks_for(asked, "triples") {
            return json!({"triples": facts});
        }
        assert!(asks_for(asked, "named_entities"), "{}", asked.body);
        let ends = facts.iter().flat_map(|[s, _, o]| [s, o]);
        let entities: BTreeSet<&String> = ends.collect();
        json!({"named_entities": entities})
    }
}

/// Chooses test questions of the demo set until their documents are enough.
fn choose() {
    let read = |name: &str| -> Value {
        let path = Path::new(ROOT).join("data/atlas/raw").join(name);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (questions, corpus) = (read("test.json"), read("dataset_corpus.json"));
    let (mut titles, mut chosen) = (BTreeSet::new(), Vec::new());
    for question in questions.as_array().unwrap() {
        let gold = question["supporting_facts"].as_array().unwrap();
        let gold: BTreeSet<&str> = gold.iter().map(|title| title.as_str().unwrap()).collect();
        if titles.union(&gold).count() <= DOCUMENTS {
            titles.extend(gold);
            chosen.push(question.clone());
        }
    }
    let documents: BTreeMap<&str, &Value> = titles.iter().map(|t| (*t, &corpus[*t])).collect();
    let write = |name: &str, value: &Value| {
        let path = Path::new(ROOT).join("data/llm").join(name);
        let text = serde_json::to_string_pretty(value).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    };
    write("documents.json", &json!(documents));
    write("questions.json", &json!(chosen));
}

/// The recorded answers are those of the rules. With UPDATE_GOLDEN=1, they are made.
#[test]
fn recorded_answers_are_those_of_the_rules() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        choose();
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().to_str().unwrap();
    ran(&[
        "run",
        PIPELINE,
        "--store",
        store,
        "--until",
        "by_rules",
        "--until",
        "questions",
    ]);
    let rules = Rules::read(store);
    assert_eq!(rules.texts.len(), DOCUMENTS);
    let questions = rules.questions.len();
    let server =
        ModelServer::start(move |asked| Act::Say(rules.answer(asked).to_string())).unwrap();
    let url = server.base_url();
    let address = format!("base_url={url}");
    let asking = ["-p", "offline=no", "-p", "recorded=null", "-p", &address];
    let run = [&["run", PIPELINE, "--store", store][..], &asking].concat();
    ran(&run);
    let asked = server.asked().len();
    assert_eq!(asked, 2 * DOCUMENTS + questions);
    let answers = ran(&["answers", "--store", store]);
    let path = Path::new(ROOT).join("data/llm/answers.jsonl");
    if update {
        std::fs::write(&path, &answers).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert!(
        answers == recorded,
        "make them again: UPDATE_GOLDEN=1 cargo test --test cli llm"
    );
    // A second run asks nothing, even when it is forced.
    let forced = [&run[..], &["--force", "extract", "--force", "answer"]].concat();
    ran(&forced);
    assert_eq!(server.asked().len(), asked);
    // `gc` keeps answers, even with --items. Only --answers removes them.
    ran(&["gc", "--items", "--keep", "1", "--store", store]);
    ran(&forced);
    assert_eq!(server.asked().len(), asked);
    ran(&[
        "gc",
        "--items",
        "--answers",
        "--keep",
        "1",
        "--store",
        store,
    ]);
    ran(&forced);
    assert_eq!(server.asked().len(), 2 * asked);
    // The recorded answers give the same, without a server.
    let other = tempfile::tempdir().unwrap();
    let other = other.path().to_str().unwrap();
    ran(&["run", PIPELINE, "--store", other]);
    for table in ["extract.facts", "answer.responses", "scores.metrics"] {
        assert_eq!(rows(store, table), rows(other, table), "{table}");
    }
    let metrics = rows(other, "scores.metrics");
    let all = |metric: &str| {
        let of = |row: &&Value| row["metric"] == metric && row["group"] == "all";
        metrics.iter().find(of).unwrap()["value"].as_f64().unwrap()
    };
    // What the rules answer is right, and they do not know everything.
    assert!(all("f1") > 0.3 && all("f1") == all("exact_match"));
    assert!(all("f1") <= all("answered"));
}

#[test]
fn a_plan_counts_requests_and_offline_runs_name_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().to_str().unwrap();
    ran(&["run", PIPELINE, "--store", store, "--until", "documents"]);
    let plan = [
        "plan",
        PIPELINE,
        "--store",
        store,
        "--until",
        "extract",
        "-p",
        "recorded=null",
    ];
    let told = ran(&plan);
    let want = format!(
        "{} of {0} requests to the language model left",
        2 * DOCUMENTS
    );
    assert!(told.contains(&want), "{told}");
    let told = ran(&plan[..plan.len() - 2]);
    assert!(
        told.contains("all 60 answers of the language model are stored"),
        "{told}"
    );
    let run = [
        "run",
        PIPELINE,
        "--store",
        store,
        "--until",
        "extract",
        "--offline",
    ];
    let missing = [&run[..], &["-p", "recorded=null", "-p", "offline=no"]].concat();
    let output = real(Path::new(ROOT), &missing).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("answers are not stored") && told.contains("more"),
        "{told}"
    );
}

/// A number that stands for a request, which its answer repeats.
fn tag(asked: &Asked) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    asked.body.to_string().hash(&mut hasher);
    format!("tag{:016x}", hasher.finish())
}

fn tagged(asked: &Asked) -> Value {
    let tag = tag(asked);
    if asks_for(asked, "triples") {
        json!({"triples": [["Ada Alder", tag, "Quillmouth"]]})
    } else {
        json!({"named_entities": ["Ada Alder", tag]})
    }
}

/// All bytes of the store's items.
fn kept(folder: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => kept(&path, out),
            path => out.extend(std::fs::read(path).unwrap_or_default()),
        }
    }
}

/// Killed at 20 random moments, a run repeats no request whose answer it had kept, loses none that
/// arrived, and ends with the same tables.
#[test]
#[cfg(unix)]
fn killed_runs_pay_for_nothing_twice() {
    const KILLS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("texts");
    std::fs::create_dir(&folder).unwrap();
    for i in 0..200 {
        let text = format!("Ada Alder was born in Quillmouth. She had {i} apples.");
        std::fs::write(folder.join(format!("{i:03}.txt")), text).unwrap();
    }
    let server = ModelServer::start(|asked| {
        Act::After(
            Duration::from_millis(40),
            Box::new(Act::Say(tagged(asked).to_string())),
        )
    })
    .unwrap();
    let pipeline = format!(
        "stages:\n  documents: {{op: ingest-documents, with: {{path: texts}}}}\n  extract:\n    \
         op: extract\n    in: {{documents: documents.documents}}\n    with: {{by: llm, llm: {{model: \
         m, base_url: \"{}\"}}}}\n",
        server.base_url()
    );
    std::fs::write(dir.path().join("p.yaml"), pipeline).unwrap();
    let command = |store: &str| real(dir.path(), &["run", "p.yaml", "--store", store]);
    let mut random = Random::new(27);
    let mut kept_before: HashSet<String> = HashSet::new();
    for kill in 0..KILLS {
        let first = server.asked().len();
        let mut child = command("killed")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let requests = first + random.below(32);
        let start = Instant::now();
        while server.asked().len() <= requests && start.elapsed() < Duration::from_secs(60) {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended before kill {kill}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut bytes = Vec::new();
        kept(&dir.path().join("killed/items"), &mut bytes);
        let bytes = String::from_utf8_lossy(&bytes);
        let asked: Vec<String> = server.asked().iter().map(tag).collect();
        let kept: HashSet<String> = asked
            .iter()
            .filter(|t| bytes.contains(*t))
            .cloned()
            .collect();
        // Whoever asks next has kept its answer before: only the last eight may be missing.
        let answered = &asked[first..asked.len().saturating_sub(8).max(first)];
        let lost = answered.iter().filter(|tag| !kept.contains(*tag)).count();
        let repeated = asked[first..]
            .iter()
            .filter(|tag| kept_before.contains(*tag))
            .count();
        assert_eq!((lost, repeated), (0, 0), "kill {kill}");
        assert!(kept.is_superset(&kept_before));
        kept_before = kept;
    }
    assert!(kept_before.len() > 100, "{}", kept_before.len());
    let rest = command("killed").output().unwrap();
    assert!(
        rest.status.success(),
        "{}",
        String::from_utf8_lossy(&rest.stderr)
    );
    let all: HashSet<String> = server.asked().iter().map(tag).collect();
    assert_eq!(all.len(), 400);
    // A run that nobody disturbs has the same tables.
    let whole = command("whole").output().unwrap();
    assert!(whole.status.success());
    for table in ["extract.facts", "extract.mentions", "extract.rejects"] {
        let show = |store| {
            let shown = real(dir.path(), &["show", table, "--json", "--store", store]);
            stdout(&{ shown }.output().unwrap())
        };
        assert_eq!(show("killed"), show("whole"), "{table}");
    }
}

/// A key that somebody wrote into a pipeline or a command is refused, and printed nowhere.
#[test]
fn a_key_in_a_pipeline_is_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = |llm: &str| {
        format!(
            "vars: {{k: x}}\nstages:\n  d: {{op: ingest-documents, with: {{path: .}}}}\n  e: {{op: \
             extract, in: {{documents: d.documents}}, with: {{by: llm, llm: {{model: m, {llm}}}}}}}\n"
        )
    };
    let told = |llm: &str, args: &[&str]| {
        std::fs::write(dir.path().join("p.yaml"), pipeline(llm)).unwrap();
        let all = [&["plan", "p.yaml"][..], args].concat();
        let output = real(dir.path(), &all).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{llm} {args:?}");
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stderr),
            stdout(&output)
        )
    };
    for (llm, args) in [
        ("api_key: sk-hidden1", &[][..]),
        ("api_key_env: sk-hidden1", &[]),
        ("base_url: \"https://me:hidden1@host/v1\"", &[]),
        ("api_key: \"{{ k }}\"", &["-p", "k=sk-hidden1"]),
        ("seed: 1", &["--set", "e.with.llm.api_key=hidden1"]),
        ("seed: 1", &["--set", "e.with.llm.api_key_env=sk-hidden1"]),
        (
            "seed: 1",
            &["--set", "e.with.llm.base_url=https://me:hidden1@host/v1"],
        ),
    ] {
        let told = told(llm, args);
        assert!(
            told.contains("error:") && !told.contains("hidden1"),
            "{told}"
        );
    }
}
