//! Questions in plain words: `ask` and `serve` give the documents and scores of `evaluate`.
#![cfg(all(unix, feature = "gfm", feature = "static-encoder", feature = "english"))]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{copy, folder, real, stdout, text};

/// Questions of the fixture that tests ask, in another order than in its files.
const SMITH: &str = "What does a smith work with?";

/// The rows of a table.
fn rows(path: &Path, table: &str) -> Vec<Value> {
    let output = real(path, &["show", table, "--json"]).output().unwrap();
    let rows: Value = serde_json::from_str(&stdout(&output)).unwrap();
    rows.as_array().unwrap().clone()
}

/// Titles and scores of an answer's documents.
fn ranking(answer: &Value) -> Vec<(String, f64)> {
    let documents = answer["documents"].as_array().unwrap().iter();
    let found = documents.map(|d| {
        let title = d["title"].as_str().unwrap().to_owned();
        (title, d["score"].as_f64().unwrap())
    });
    found.collect()
}

/// Asks a question and returns the answer, without the time that it took.
fn ask(path: &Path, args: &[&str]) -> Value {
    let args = [&["ask", "--json"], args].concat();
    let output = real(path, &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    timeless(serde_json::from_str(&stdout(&output)).unwrap())
}

fn timeless(mut answer: Value) -> Value {
    answer["seconds"] = Value::Null;
    answer
}

/// A server, which is killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Sends a request and returns status and body.
fn request(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn questions_in_plain_words_are_answered_as_evaluated() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/mixed");
    copy(&fixture, &path.join("mixed"));
    let nothing = real(&path, &["ask", SMITH]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        text(&nothing).contains("gfm-pipe init FOLDER"),
        "{}",
        text(&nothing)
    );

    let run = |args: &[&str]| {
        let output = real(&path, args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    };
    run(&["init", "mixed"]);
    // There are few training questions, so the weighted features would answer.
    let pipeline = fs::read_to_string(path.join("pipeline.yaml")).unwrap();
    assert!(pipeline.contains("system: fused "));
    let pipeline = pipeline.replace("system: fused ", "system: model ");
    fs::write(path.join("pipeline.yaml"), pipeline).unwrap();
    run(&["run", "pipeline.yaml"]);

    // Every question of the test split, all at once.
    let questions = rows(&path, "questions.test");
    let texts = questions.iter().map(|q| q["question"].as_str().unwrap());
    fs::write(path.join("asked.txt"), texts.collect::<Vec<_>>().join("\n")).unwrap();
    let asked = ["ask", "--file", "asked.txt", "-k", "20", "--paths", "2"];
    let output = real(&path, &asked).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let answers: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), questions.len());
    let rankings = rows(&path, "evaluate.rankings");
    let (mut by_model, mut stepped) = (0, 0);
    for (question, answer) in questions.iter().zip(&answers) {
        let system = answer["system"].as_str().unwrap();
        by_model += usize::from(system == "model");
        let of = rankings.iter().filter(|r| {
            let named = r["system"].as_str().unwrap();
            r["question"] == question["id"] && named.split(' ').next() == Some(system)
        });
        let want: Vec<(String, f64)> = of
            .map(|r| {
                let title = r["document"].as_str().unwrap().to_owned();
                (title, r["score"].as_f64().unwrap())
            })
            .collect();
        let got = ranking(answer);
        assert!(!got.is_empty(), "{answer}");
        assert_eq!(got, want[..got.len()], "{system}: {question}");
        for document in answer["documents"].as_array().unwrap() {
            let text = document["text"].as_str().unwrap();
            if let Some(sentence) = document["sentence"].as_str() {
                assert!(text.contains(sentence), "{document}");
            }
            for path in document["paths"].as_array().unwrap() {
                let steps = path["steps"].as_array().unwrap();
                stepped += steps.len();
                // Each step begins where the one before ended.
                let ends = |step: &Value| {
                    let ends = (step["head_node"].clone(), step["tail_node"].clone());
                    if step["inverse"] == true {
                        (ends.1, ends.0)
                    } else {
                        ends
                    }
                };
                for pair in steps.windows(2) {
                    assert_eq!(ends(&pair[0]).1, ends(&pair[1]).0, "{path}");
                }
            }
        }
    }
    assert!(by_model > 0 && stepped > 0, "{by_model} {stepped}");
    explained(&path, &questions, &answers);
    linked(&path, &answers);

    // More questions at once than a server scores together.
    let many = answers.iter().cycle().take(40);
    let texts = many.clone().map(|a| a["question"].as_str().unwrap());
    fs::write(path.join("many.txt"), texts.collect::<Vec<_>>().join("\n")).unwrap();
    let asked = ["ask", "--file", "many.txt", "-k", "20", "--paths", "2"];
    let output = real(&path, &asked).output().unwrap();
    let again = stdout(&output)
        .lines()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(again.len(), 40);
    for (again, answer) in again.iter().zip(many) {
        let again = timeless(serde_json::from_str(again).unwrap());
        assert_eq!(again, timeless(answer.clone()));
    }

    // Alone a question has the same answer as among others.
    let one = ask(&path, &[SMITH]);
    assert_eq!(one["documents"][0]["title"], "Smith", "{one}");
    assert_eq!(one, ask(&path, &["--pipeline", "pipeline.yaml", SMITH]));
    let titled = ask(&path, &[SMITH, "-k", "1", "--why-not", "smith"]);
    assert_eq!(titled["why_not"][0]["rank"], 1, "{titled}");

    // Documents are chosen by their files.
    let source = one["documents"][0]["source"].as_str().unwrap();
    let within = ask(&path, &[SMITH, "--where", &format!("source={source}")]);
    let all = within["documents"].as_array().unwrap();
    assert!(all.iter().all(|d| d["source"] == *source), "{within}");
    let none = real(&path, &["ask", SMITH, "--where", "source=*.none"]).output();
    assert_eq!(none.unwrap().status.code(), Some(2));

    // What cannot be meant is refused, and not ignored.
    for (args, want) in [
        (
            &["ask", SMITH, "--set", "retriever.with.system=ppr"][..],
            "--pipeline FILE",
        ),
        (&["ask", SMITH, "-k", "0"], "1..=1000"),
        (&["ask", " "], "write it in plain words"),
        (
            &["ask", SMITH, "--why-not", "Atlantis"],
            "no document \"Atlantis\"",
        ),
    ] {
        let refused = real(&path, args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains(want), "{}", text(&refused));
    }
    let other = ["ask", SMITH, "--pipeline", "pipeline.yaml", "-p", "dim=24"];
    let other = text(&real(&path, &other).output().unwrap());
    assert!(other.contains("--until retriever -p dim=24"), "{other}");

    // A question about nothing that is there is no failure.
    ask(&path, &["zzz qqq"]);

    #[cfg(feature = "serve")]
    served(&path, &one);
}

/// Answers start where the stage `link` says.
fn linked(path: &Path, answers: &[Value]) {
    let starts = rows(path, "link.test_starts.starts");
    let mut compared = 0;
    for (number, answer) in answers.iter().enumerate() {
        let of = |start: &Value| {
            let name = |key: &str| start[key].as_str().unwrap().to_owned();
            (
                start["node"].as_u64(),
                name("source"),
                name("text"),
                start["weight"].as_f64(),
            )
        };
        let wanted = starts.iter().filter(|s| s["question"] == number);
        let wanted: BTreeSet<String> = wanted.map(|s| format!("{:?}", of(s))).collect();
        let got = answer["start"].as_array().unwrap();
        let got: BTreeSet<String> = got.iter().map(|s| format!("{:?}", of(s))).collect();
        assert_eq!(got, wanted, "{answer}");
        compared += got.len();
    }
    assert!(compared > 0);
}

/// The stage `explain` has the paths of answers, for the documents that the model found.
fn explained(path: &Path, questions: &[Value], answers: &[Value]) {
    let paths = rows(path, "explain.paths");
    assert!(!paths.is_empty());
    let mut compared = 0;
    for (question, answer) in questions.iter().zip(answers) {
        if answer["system"] != "model" {
            continue;
        }
        for document in answer["documents"].as_array().unwrap().iter().take(5) {
            let of = |number: usize| {
                let of = paths.iter().filter(move |row| {
                    row["question"] == question["id"]
                        && row["rank"] == document["rank"]
                        && row["path"] == number
                });
                of.collect::<Vec<_>>()
            };
            let shown = document["paths"].as_array().unwrap();
            assert_eq!(of(shown.len()).is_empty(), shown.is_empty(), "{document}");
            for (number, path) in (1..).zip(shown) {
                let rows = of(number);
                let steps = path["steps"].as_array().unwrap();
                assert_eq!(rows.len(), steps.len().max(1), "{path}");
                for row in &rows {
                    assert_eq!(row["weight"], path["weight"]);
                    assert_eq!(row["document"], document["title"]);
                }
                for (row, step) in rows.iter().zip(steps) {
                    for column in ["layer", "head", "relation", "tail", "inverse", "sentence"] {
                        assert_eq!(row[column], step[column], "{column}: {row} {step}");
                    }
                    assert_eq!(row["evidence"], step["title"]);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 0);
}

/// The server's answer is that of `ask`, and the server stops when it is asked to.
#[cfg(feature = "serve")]
fn served(path: &Path, one: &Value) {
    let mut server = real(path, &["serve", "--addr", "127.0.0.1:0", "--reload"])
        .stderr(Stdio::piped())
        .spawn()
        .map(Server)
        .unwrap();
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line.rsplit("http://").next().unwrap().to_owned();
    let body = format!("{{\"question\": {SMITH:?}}}");
    let (status, answer) = request(&address, "POST /ask", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(&timeless(serde_json::from_str(&answer).unwrap()), one);
    let (status, page) = request(&address, "GET /", "");
    assert!(status == 200 && page.contains("</html>"), "{page}");
    assert_eq!(request(&address, "GET /documents/999999", "").0, 404);
    reloaded(path, &address, &body);
    let pid = server.0.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let ended = server.0.wait().unwrap();
    assert_eq!(ended.code(), Some(0));

    // Or when the program that started it ends.
    let args = ["serve", "--addr", "127.0.0.1:0", "--until-eof"];
    let mut server = real(path, &args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Server)
        .unwrap();
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains(" answers at "));
    assert!(server.0.try_wait().unwrap().is_none());
    drop(server.0.stdin.take());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

/// After a run with another document, the server answers from it, and no request before, during or
/// after that fails.
#[cfg(feature = "serve")]
fn reloaded(path: &Path, address: &str, body: &str) {
    assert!(!request(address, "POST /ask", body).1.contains("copper"));
    let file = path.join("mixed/docs/smith.txt");
    fs::write(file, "A smith does work with copper.").unwrap();
    let mut run = real(path, &["run", "pipeline.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        let (status, answer) = request(address, "POST /ask", body);
        assert_eq!(status, 200, "{answer}");
        if answer.contains("copper") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(run.wait().unwrap().code(), Some(0));
}
