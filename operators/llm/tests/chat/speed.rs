//! How much time is taken besides the server's. Bounds are wide: tests are not optimised, and run
//! beside others.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use gfm_pipe_testing::Act;
use serde_json::json;

use crate::common::{Stage, conversation, numbered, params, serve};

#[test]
fn ten_thousand_stored_answers_are_read_fast() {
    const N: usize = 10_000;
    let server = serve(|asked| Act::Say(asked.last()));
    let more = params(&server.base_url(), json!({"concurrency": 64}));
    let mut stage = Stage::new();
    let start = Instant::now();
    stage.texts(&more, &numbered(N)).unwrap();
    println!("{N} answers were asked for in {:.2?}", start.elapsed());

    stage.run_again();
    let plain = params(&server.base_url(), json!({}));
    let start = Instant::now();
    let got = stage.texts(&plain, &numbered(N)).unwrap();
    let time = start.elapsed();
    assert_eq!(got, numbered(N));
    assert_eq!(server.asked().len(), N);
    println!("{N} stored answers were read in {time:.2?}");
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[test]
fn a_request_costs_little_besides_the_server() {
    const N: usize = 300;
    let server = serve(|asked| Act::Say(asked.last()));
    let url = format!("{}/chat/completions", server.base_url());
    let agent = ureq::Agent::new_with_defaults();
    let bare = |question: &str| {
        let body = json!({"model": "tester", "messages": conversation(question)});
        let mut response = agent.post(&url).send(body.to_string().as_bytes()).unwrap();
        response.body_mut().read_to_string().unwrap();
    };
    bare("first");
    let start = Instant::now();
    for question in numbered(N) {
        bare(&question);
    }
    let alone = start.elapsed() / N as u32;

    let stage = Stage::new();
    let disk = synced(&stage.path("disk"), N);
    let params = params(&server.base_url(), json!({"concurrency": 1}));
    stage.texts(&params, &["first".to_owned()]).unwrap();
    let start = Instant::now();
    stage.texts(&params, &numbered(N)).unwrap();
    let all = start.elapsed() / N as u32;
    let own = all.saturating_sub(alone + disk);
    println!("a request takes {all:.2?}: {alone:.2?} to exchange it, {disk:.2?} to have it on the");
    println!("disk, and {own:.2?} besides");
    assert!(all < alone + disk + Duration::from_millis(50));
}

/// The time to have a few more bytes on the disk.
fn synced(path: &Path, n: usize) -> Duration {
    let mut file = File::create(path).unwrap();
    let start = Instant::now();
    for _ in 0..n {
        file.write_all(&[7; 150]).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed() / n as u32
}
