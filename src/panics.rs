//! Turns the panic of an operator into an error with its message and place.
//!
//! The payload of an unwinding panic has only the message; only the panic hook knows the place. The
//! hook installed here records both for threads that run operators (and for rayon's threads, on
//! which operators compute), and leaves every other panic to the previous hook.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once, PoisonError};

/// A caught panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The panic message.
    pub message: String,
    /// `file:line:column`, if known.
    pub place: Option<String>,
}

thread_local! {
    static RUNS_OPERATOR: Cell<bool> = const { Cell::new(false) };
}

/// Panics not claimed yet. A panic may pass from a rayon thread to the thread that waits for it.
static SEEN: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = RUNS_OPERATOR.get() || rayon::current_thread_index().is_some();
            if !ours {
                before(info);
                return;
            }
            let seen = Panic {
                message: message(info.payload()),
                place: info.location().map(ToString::to_string),
            };
            let mut all = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
            // Panics that an operator itself caught are never claimed, so the list is limited.
            if all.len() >= 64 {
                all.remove(0);
            }
            all.push(seen);
        }));
    });
}

/// Runs `f`; a panic becomes an error.
///
/// # Errors
/// When `f` panicked.
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    install();
    let outer = RUNS_OPERATOR.replace(true);
    // All that an operator shares with the engine is the tables in progress (dropped on failure)
    // and the reporter (which has no invariants).
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    RUNS_OPERATOR.set(outer);
    result.map_err(|payload| {
        let message = message(payload.as_ref());
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.iter().rposition(|p| p.message == message) {
            Some(i) => seen.remove(i),
            None => Panic {
                message,
                place: None,
            },
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn message_and_place_survive() {
        let e = catch(|| panic!("no {}", "luck")).unwrap_err();
        assert_eq!(e.message, "no luck");
        assert!(e.place.unwrap().contains("panics.rs"));
        assert_eq!(catch(|| 3).unwrap(), 3);
    }

    #[test]
    fn a_panic_on_a_rayon_thread_arrives_with_its_place() {
        let e = catch(|| {
            rayon::join(
                || 1,
                || rayon::scope(|s| s.spawn(|_| panic!("inside rayon"))),
            );
        })
        .unwrap_err();
        assert_eq!(e.message, "inside rayon");
        assert!(e.place.unwrap().contains("panics.rs"));
    }
}
