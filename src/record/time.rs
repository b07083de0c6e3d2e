//! Wall-clock times as text, UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last time that has four digits for its year: 9999-12-31T23:59:59.999Z.
const LAST: u64 = 253_402_300_799_999;

/// Moves a time into the years 1970 to 9999, so that it can be printed even if the clock is wrong.
fn printable(t: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms(t).min(LAST))
}

/// Milliseconds since 1970, UTC.
pub fn ms(t: SystemTime) -> u64 {
    let since = t.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The current time, as in [`ms`].
pub fn now_ms() -> u64 {
    ms(SystemTime::now())
}

/// A time as text: `2026-11-23T05:12:07Z`.
pub fn utc(t: SystemTime) -> String {
    humantime::format_rfc3339_seconds(printable(t)).to_string()
}

/// A name for a run that sorts by time and differs between processes: `20261123-051207-123-4f2a`.
pub fn run_id(t: SystemTime) -> String {
    let time = humantime::format_rfc3339_millis(printable(t)).to_string();
    let name: String = time
        .chars()
        .filter_map(|c| match c {
            'T' | '.' => Some('-'),
            '0'..='9' => Some(c),
            _ => None,
        })
        .collect();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&std::process::id().to_le_bytes());
    let nanos = t.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    hasher.update(&nanos.to_le_bytes());
    let tail = hasher.finalize().to_hex();
    format!("{name}-{}", &tail[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_right() {
        let at = |secs| utc(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn clocks_that_are_off_do_not_panic() {
        assert_eq!(
            utc(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
        let far = UNIX_EPOCH + Duration::from_millis(LAST + 1000);
        assert_eq!(utc(far), "9999-12-31T23:59:59Z");
        assert!(run_id(far).starts_with("99991231-235959-999-"));
    }

    #[test]
    fn run_ids_sort_by_time() {
        let t = UNIX_EPOCH + Duration::from_millis(1_767_225_599_999);
        let (a, b) = (run_id(t), run_id(t + Duration::from_millis(1)));
        assert!(a.starts_with("20251231-235959-999-"), "{a}");
        assert!(a < b);
    }
}
