//! Wall-clock times as text, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Year, month, day, and milliseconds of the day.
fn civil(t: SystemTime) -> (u64, u64, u64, u64) {
    let ms = ms(t);
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    // Days since 0000-03-01 in cycles of 400 years: leap days then come last in their year.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, day, ms)
}

/// Milliseconds since 1970, UTC.
pub fn ms(t: SystemTime) -> u64 {
    let since = t.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time now, as [`ms`].
pub fn now_ms() -> u64 {
    ms(SystemTime::now())
}

/// `2026-11-23T05:12:07Z`.
pub fn utc(t: SystemTime) -> String {
    let (y, mo, d, ms) = civil(t);
    let s = ms / 1000;
    format!(
        "{y:04}-{mo:02}-{d:02}T{:02}:{:02}:{:02}Z",
        s / 3600,
        s / 60 % 60,
        s % 60
    )
}

/// A name for a run that sorts by time and differs between processes: `20261123-051207-123-4f2a`.
pub fn run_id(t: SystemTime) -> String {
    let (y, mo, d, ms) = civil(t);
    let s = ms / 1000;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&std::process::id().to_le_bytes());
    let nanos = t.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    hasher.update(&nanos.to_le_bytes());
    let tail = hasher.finalize().to_hex();
    format!(
        "{y:04}{mo:02}{d:02}-{:02}{:02}{:02}-{:03}-{}",
        s / 3600,
        s / 60 % 60,
        s % 60,
        ms % 1000,
        &tail[..4]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
    fn run_ids_sort_by_time() {
        let t = UNIX_EPOCH + Duration::from_millis(1_767_225_599_999);
        let (a, b) = (run_id(t), run_id(t + Duration::from_millis(1)));
        assert!(a.starts_with("20251231-235959-999-"), "{a}");
        assert!(a < b);
    }
}
