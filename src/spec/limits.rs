//! The limits of a stage: how often it is tried, for how long, and which resources it uses. None of
//! them is part of its key.

use std::time::Duration;

use gfm_pipe_api::{Field, Schema, Type};
use serde_json::{Map, Value, json};

/// The keys of a stage that set its limits.
pub(super) const KEYS: [&str; 4] = ["retries", "timeout", "resources", "mutex"];

/// The limits of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many times it is tried again after a failure.
    pub retries: u32,
    /// How long one attempt may take; `None` for no limit.
    pub timeout: Option<Duration>,
    /// The resources it uses while it runs.
    pub resources: Resources,
    /// Names, sorted: of all stages with one of them in common, one runs at a time.
    pub mutex: Vec<String>,
}

/// The part of the machine that a stage uses while it runs. Stages run at the same time only when
/// there is room for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Number of CPUs.
    pub cpu: u32,
    /// Number of GPUs.
    pub gpu: u32,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            retries: 0,
            timeout: None,
            resources: Resources {
                cpu: 1,
                gpu: 0,
                memory: 0,
            },
            mutex: Vec::new(),
        }
    }
}

/// The keys as a schema, so that they are checked, and documented, like parameters.
pub fn schema() -> Schema {
    let resources = Schema::new(vec![
        Field::new("cpu", Type::Int { min: 0, max: 4096 }, 1, "CPUs"),
        Field::new("gpu", Type::Int { min: 0, max: 64 }, 0, "GPUs"),
        Field::new(
            "memory",
            Type::Form {
                form: "an amount of memory, as 512MiB or 8GiB",
                check: |text| memory(text).map(drop),
            },
            "0B",
            "memory",
        ),
    ]);
    Schema::new(vec![
        Field::new(
            "retries",
            Type::Int { min: 0, max: 100 },
            0,
            "how often the stage is tried again after it failed",
        ),
        Field::new(
            "timeout",
            Type::Form {
                form: "a time, as 90s, 30m or 1h30m",
                check: |text| timeout(text).map(drop),
            }
            .or_null(),
            Value::Null,
            "how long one attempt may take",
        ),
        Field::group(
            "resources",
            resources,
            "what the stage occupies while it runs",
        ),
        Field::new(
            "mutex",
            Type::list(Type::Form {
                form: "a name",
                check: mutex,
            }),
            json!([]),
            "names of the user's own: of the stages that have one in common, one runs at a time",
        ),
    ])
}

fn mutex(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("a name has at least one character".to_owned());
    }
    Ok(())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(d) if d >= Duration::from_secs(1) => Ok(d),
        Ok(_) => Err(format!("`{text}` is shorter than a second")),
        Err(_) => Err(format!("`{text}` is no time: write 90s, 30m or 1h30m")),
    }
}

fn memory(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|b| b.as_u64())
        .map_err(|_| format!("`{text}` is no amount of memory: write 512MiB or 8GiB"))
}

impl Limits {
    /// Reads the limits from a value that [`schema`] accepted.
    pub(super) fn of(value: &Value) -> Self {
        let number = |path: &str| {
            let n = value.pointer(path).and_then(Value::as_u64);
            u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX)
        };
        let text = |path: &str| value.pointer(path).and_then(Value::as_str);
        let names = value.pointer("/mutex").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let mut mutex: Vec<String> = names.map(str::to_owned).collect();
        mutex.sort();
        mutex.dedup();
        Limits {
            retries: number("/retries"),
            timeout: text("/timeout").and_then(|t| timeout(t).ok()),
            resources: Resources {
                cpu: number("/resources/cpu"),
                gpu: number("/resources/gpu"),
                memory: text("/resources/memory").map_or(0, |t| memory(t).unwrap_or(0)),
            },
            mutex,
        }
    }

    /// The limits as keys of a stage; those that have their defaults are left out.
    pub(super) fn keys(&self) -> Map<String, Value> {
        let usual = Limits::default();
        let mut out = Map::new();
        if self.retries != usual.retries {
            out.insert("retries".to_owned(), self.retries.into());
        }
        if let Some(t) = self.timeout {
            out.insert(
                "timeout".to_owned(),
                humantime::format_duration(t).to_string().into(),
            );
        }
        if self.resources != usual.resources {
            let Resources { cpu, gpu, memory } = self.resources;
            let memory = format!("{memory}B");
            let value = json!({"cpu": cpu, "gpu": gpu, "memory": memory});
            out.insert("resources".to_owned(), value);
        }
        if self.mutex != usual.mutex {
            out.insert("mutex".to_owned(), json!(self.mutex));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let given = json!({"retries": 2, "timeout": "1h30m", "resources": {"cpu": 4, "memory": "1.5GiB"}, "mutex": ["b", "a", "b"]});
        let limits = Limits::of(&schema().normalize(&given).unwrap());
        assert_eq!(limits.retries, 2);
        assert_eq!(limits.timeout, Some(Duration::from_secs(5400)));
        assert_eq!(limits.resources.cpu, 4);
        assert_eq!(limits.resources.memory, 3 << 29);
        assert_eq!(limits.mutex, ["a", "b"]);
        let keys = Value::Object(limits.keys());
        assert_eq!(Limits::of(&schema().normalize(&keys).unwrap()), limits);
        let usual = Limits::of(&schema().normalize(&Value::Null).unwrap());
        assert_eq!(usual, Limits::default());
        assert!(usual.keys().is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("timeout", json!("soon")),
            ("timeout", json!("0s")),
            ("timeout", json!(30)),
            ("retries", json!(-1)),
            ("resources", json!({"memory": "much"})),
            ("mutex", json!("a")),
            ("mutex", json!([""])),
        ] {
            let problems = schema().normalize(&json!({ key: value })).unwrap_err();
            assert_eq!(problems.len(), 1, "{key}");
        }
    }
}
