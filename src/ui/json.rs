//! Prints every event as one line of JSON.

use super::out::Out;
use crate::record::{Event, EventSink};

/// Prints events as JSON lines.
pub struct JsonUi {
    out: Out,
}

impl JsonUi {
    /// Writes to `out`.
    pub fn new(out: Out) -> Self {
        JsonUi { out }
    }
}

impl EventSink for JsonUi {
    fn emit(&self, event: &Event) {
        // Events contain only text and numbers; a number that JSON cannot represent becomes null.
        if let Ok(line) = serde_json::to_string(event) {
            self.out.document(&format!("{line}\n"));
        }
    }
}
