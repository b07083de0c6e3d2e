//! Counts and times of what a server does, as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Upper bounds of the latency histogram, in seconds.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Upper bounds of the histogram of questions that were scored together.
const TOGETHER: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// The status of requests whose client went away before they were answered.
const GONE: u16 = 499;

/// What has been counted since the server started.
pub(crate) struct Metrics {
    started: f64,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    seconds: Mutex<BTreeMap<&'static str, Histogram>>,
    batches: Mutex<Histogram>,
    answered: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    in_flight: AtomicUsize,
    /// Connections that are open.
    pub connections: AtomicUsize,
}

impl Metrics {
    pub fn new() -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Metrics {
            started: started.as_secs_f64(),
            requests: Mutex::default(),
            seconds: Mutex::default(),
            batches: Mutex::new(Histogram::new(&TOGETHER)),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        }
    }

    /// A request begins. It is counted when the returned value is dropped.
    pub fn begin(self: &Arc<Self>, route: &'static str) -> Observed {
        self.in_flight.fetch_add(1, Relaxed);
        Observed {
            metrics: self.clone(),
            route,
            began: Instant::now(),
            status: GONE,
        }
    }

    /// So many questions are scored together.
    pub fn batch(&self, questions: usize) {
        lock(&self.batches).add(questions as f64);
    }

    /// A question was scored.
    pub fn scored(&self, well: bool) {
        let count = if well { &self.answered } else { &self.failed };
        count.fetch_add(1, Relaxed);
    }

    /// A connection was refused, for which there is no request to count.
    pub fn refused(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// All of it as text, with the number of questions that wait now.
    pub fn text(&self, waiting: usize) -> String {
        let mut out = Text(String::new());
        out.head(
            "gfm_pipe_requests_total",
            "counter",
            "Requests by route and status; 499: the client went away.",
        );
        for ((route, status), count) in &*lock(&self.requests) {
            out.line(
                "gfm_pipe_requests_total",
                &format!("route=\"{route}\",status=\"{status}\""),
                *count as f64,
            );
        }
        let name = "gfm_pipe_request_seconds";
        out.head(
            name,
            "histogram",
            "How long requests took, with reading their bodies.",
        );
        for (route, histogram) in &*lock(&self.seconds) {
            out.histogram(name, &format!("route=\"{route}\""), histogram);
        }
        let name = "gfm_pipe_questions_total";
        out.head(name, "counter", "Questions that were scored.");
        out.line(
            name,
            "result=\"answered\"",
            self.answered.load(Relaxed) as f64,
        );
        out.line(name, "result=\"failed\"", self.failed.load(Relaxed) as f64);
        let name = "gfm_pipe_batch_questions";
        out.head(name, "histogram", "Questions that were scored together.");
        out.histogram(name, "", &lock(&self.batches));
        let mut one = |name, kind, help, value: f64| {
            out.head(name, kind, help);
            out.line(name, "", value);
        };
        one(
            "gfm_pipe_waiting_questions",
            "gauge",
            "Questions that wait to be scored.",
            waiting as f64,
        );
        one(
            "gfm_pipe_requests_in_flight",
            "gauge",
            "Requests that are being answered.",
            self.in_flight.load(Relaxed) as f64,
        );
        one(
            "gfm_pipe_connections",
            "gauge",
            "Open connections.",
            self.connections.load(Relaxed) as f64,
        );
        one(
            "gfm_pipe_rejected_total",
            "counter",
            "Requests and connections refused with 429.",
            self.rejected.load(Relaxed) as f64,
        );
        one(
            "process_start_time_seconds",
            "gauge",
            "When the server started, in seconds since 1970.",
            self.started,
        );
        if let Some(bytes) = resident_bytes() {
            one(
                "process_resident_memory_bytes",
                "gauge",
                "Memory of the process.",
                bytes as f64,
            );
        }
        out.0
    }
}

/// A request that is being answered.
pub(crate) struct Observed {
    metrics: Arc<Metrics>,
    route: &'static str,
    began: Instant,
    /// The status of its answer; until it is set, the client counts as gone.
    pub status: u16,
}

impl Drop for Observed {
    fn drop(&mut self) {
        let metrics = &self.metrics;
        metrics.in_flight.fetch_sub(1, Relaxed);
        *lock(&metrics.requests)
            .entry((self.route, self.status))
            .or_default() += 1;
        if self.status == 429 {
            metrics.rejected.fetch_add(1, Relaxed);
        }
        let mut seconds = lock(&metrics.seconds);
        let histogram = seconds
            .entry(self.route)
            .or_insert_with(|| Histogram::new(&SECONDS));
        histogram.add(self.began.elapsed().as_secs_f64());
    }
}

/// Numbers of values up to each bound.
struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last counts the values above all of them.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Histogram {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    fn add(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

/// Prometheus's text format 0.0.4.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (bucket, mut total) = (format!("{name}_bucket"), 0);
        let bounds = histogram
            .bounds
            .iter()
            .map(f64::to_string)
            .chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            self.line(
                &bucket,
                &format!("{labels}{comma}le=\"{bound}\""),
                total as f64,
            );
        }
        self.line(&format!("{name}_sum"), labels, histogram.sum);
        self.line(&format!("{name}_count"), labels, total as f64);
    }
}

/// Memory of this process, where Linux tells it.
fn resident_bytes() -> Option<u64> {
    // Not statm, which counts pages: their size would need a call that the standard library lacks.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Arc::new(Metrics::new());
        for questions in [1, 2, 3, 300] {
            metrics.batch(questions);
        }
        metrics.begin("/ask").status = 429;
        drop(metrics.begin("/ask"));
        let text = metrics.text(7);
        for line in [
            "gfm_pipe_batch_questions_bucket{le=\"1\"} 1",
            "gfm_pipe_batch_questions_bucket{le=\"2\"} 2",
            "gfm_pipe_batch_questions_bucket{le=\"4\"} 3",
            "gfm_pipe_batch_questions_bucket{le=\"256\"} 3",
            "gfm_pipe_batch_questions_bucket{le=\"+Inf\"} 4",
            "gfm_pipe_batch_questions_sum 306",
            "gfm_pipe_requests_total{route=\"/ask\",status=\"429\"} 1",
            "gfm_pipe_requests_total{route=\"/ask\",status=\"499\"} 1",
            "gfm_pipe_request_seconds_count{route=\"/ask\"} 2",
            "gfm_pipe_rejected_total 1",
            "gfm_pipe_waiting_questions 7",
            "gfm_pipe_requests_in_flight 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        #[cfg(target_os = "linux")]
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
