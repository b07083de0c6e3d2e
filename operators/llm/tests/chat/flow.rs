//! Many requests at the same time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gfm_pipe_api::{Level, Reporter};
use gfm_pipe_testing::{Act, Asked, Random};
use serde_json::json;

use crate::common::{Stage, numbered, params, serve};

#[test]
fn sixty_four_requests_are_in_flight_at_once() {
    let server = serve(|asked| {
        let answer = Act::Say(asked.last());
        Act::After(Duration::from_millis(500), Box::new(answer))
    });
    let stage = Stage::new();
    let start = Instant::now();
    let params = params(&server.base_url(), json!({"concurrency": 64}));
    let got = stage.texts(&params, &numbered(256)).unwrap();
    let time = start.elapsed();
    assert_eq!(got, numbered(256));
    assert_eq!(server.most_at_once(), 64);
    println!("256 requests of half a second, 64 at a time: {time:.2?}");
    assert!(time < Duration::from_secs(20), "{time:?}");
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let server =
        serve(|asked| Act::After(Duration::from_millis(20), Box::new(Act::Say(asked.last()))));
    let params = params(&server.base_url(), json!({"concurrency": 3}));
    Stage::new().texts(&params, &numbered(30)).unwrap();
    assert_eq!(server.most_at_once(), 3);
}

/// Notes progress.
#[derive(Default)]
struct Noted(Mutex<Vec<(u64, u64, String)>>);

impl Reporter for Noted {
    fn progress(&self, done: u64, total: u64, _: &str, note: &str) {
        self.0.lock().unwrap().push((done, total, note.to_owned()));
    }
    fn message(&self, _: Level, _: &str) {}
    fn resumed_at(&self, _: u64) {}
}

#[test]
fn progress_counts_up_and_shows_tokens() {
    let server = serve(|asked| Act::Say(asked.last()));
    let mut stage = Stage::new();
    let noted = Arc::new(Noted::default());
    stage.ctx.reporter = Arc::clone(&noted) as _;
    let params = params(&server.base_url(), json!({"concurrency": 16}));
    stage.texts(&params, &numbered(100)).unwrap();
    let all = noted.0.lock().unwrap();
    let done: Vec<u64> = all.iter().map(|(done, ..)| *done).collect();
    assert_eq!(done, (1..=100).collect::<Vec<u64>>());
    let (_, total, note) = all.last().unwrap();
    assert_eq!(*total, 100);
    // Five words of prompt and two of answer are ten tokens as the server counts.
    assert_eq!(note, "1000 tokens");
}

/// Answers late or early, and now and then not at the first try.
fn moody(seed: u64) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| {
        let mut random = Random::new(seed + asked.number as u64);
        let answer = match random.below(10) {
            0 => Act::Status(503, vec![("retry-after", "0.01".to_owned())], String::new()),
            // An answer that is sent back, and mended.
            _ if asked.body["messages"].as_array().unwrap().len() == 2
                && asked.last().ends_with('3') =>
            {
                Act::Say("what?".to_owned())
            }
            _ => Act::Say(json!({"names": [asked.text().len().to_string()]}).to_string()),
        };
        let delay = Duration::from_millis(random.below(15) as u64);
        Act::After(delay, Box::new(answer))
    }
}

#[test]
fn neither_threads_nor_delays_change_results() {
    let questions = numbered(60);
    // Some questions come twice.
    let questions: Vec<&str> = questions
        .iter()
        .chain(&questions[..7])
        .map(String::as_str)
        .collect();
    let results = [(1, 1), (64, 2), (64, 3), (5, 4)].map(|(threads, seed)| {
        let server = serve(moody(seed));
        let more = json!({"concurrency": threads, "retries": 20});
        let stage = Stage::new();
        let got = stage.names(&params(&server.base_url(), more), &questions);
        (got.unwrap(), stage.ctx.items.take_used())
    });
    assert!(results[0].0.iter().all(Result::is_ok));
    for other in &results[1..] {
        assert_eq!(other.0, results[0].0);
        assert_eq!(other.1, results[0].1);
    }
}

#[test]
fn a_limit_that_one_request_meets_holds_for_all() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = serve(move |asked| {
        noted.lock().unwrap().push(Instant::now());
        match asked.number {
            20 => Act::Status(429, vec![("retry-after", "1".to_owned())], String::new()),
            _ => Act::After(Duration::from_millis(5), Box::new(Act::Say(asked.last()))),
        }
    });
    let params = params(&server.base_url(), json!({"concurrency": 8}));
    let got = Stage::new().texts(&params, &numbered(100)).unwrap();
    assert_eq!(got, numbered(100));
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 101);
    // Some were on their way.
    let after = |t: &&Instant| **t > times[20] + Duration::from_millis(300);
    let next = times.iter().find(after).unwrap();
    assert!(*next >= times[20] + Duration::from_secs(1));
    let before = times.iter().position(|t| t == next).unwrap();
    assert!(before < 60, "{before} requests were sent before all knew");
}

#[test]
fn tokens_a_minute_slow_the_stage_down() {
    let server = serve(|asked| {
        Act::Reply(json!({
            "choices": [{"message": {"content": asked.last()}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 100},
        }))
    });
    let timed = |more| {
        let params = params(&server.base_url(), more);
        let start = Instant::now();
        Stage::new().texts(&params, &numbered(13)).unwrap();
        start.elapsed()
    };
    // 1000 tokens a second, and ten seconds' worth at once at the start.
    let limit = json!({"concurrency": 1, "tokens_per_minute": 60_000});
    let limited = timed(limit);
    assert!(limited >= Duration::from_millis(1800), "{limited:?}");
    let free = timed(json!({"concurrency": 1}));
    assert!(free < limited / 2, "{free:?}");
}
