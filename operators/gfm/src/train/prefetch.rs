//! Makes items in background threads before they are needed.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

/// Calls `consume` with a function that returns `make(number)` for each number in turn, then
/// `None`. `threads` threads run `make`; each is at most one item ahead.
pub fn prefetch<R: Send, O>(
    threads: usize,
    numbers: Range<usize>,
    make: impl Fn(usize) -> R + Sync,
    consume: impl FnOnce(&mut dyn FnMut() -> Option<R>) -> O,
) -> O {
    let make = &make;
    std::thread::scope(|scope| {
        let mut receivers = Vec::new();
        for first in 0..threads.max(1) {
            // Without a buffer, a thread waits until its item is received.
            let (sender, receiver) = sync_channel(0);
            receivers.push(receiver);
            let mine = numbers.clone().skip(first).step_by(threads.max(1));
            scope.spawn(move || {
                for number in mine {
                    if sender.send(make(number)).is_err() {
                        // The consumer has stopped.
                        return;
                    }
                }
            });
        }
        let mut turns = receivers.iter().cycle();
        let mut left = numbers.len();
        let out = consume(&mut || {
            left = left.checked_sub(1)?;
            turns.next()?.recv().ok()
        });
        drop(receivers);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn items_come_in_order_with_any_number_of_threads() {
        for threads in 1..5 {
            for numbers in [0..0, 3..4, 2..23] {
                let want: Vec<usize> = numbers.clone().map(|n| n * n).collect();
                let all = prefetch(
                    threads,
                    numbers,
                    |n| n * n,
                    |next| std::iter::from_fn(next).collect::<Vec<_>>(),
                );
                assert_eq!(all, want);
            }
        }
    }

    #[test]
    fn stopping_early_makes_no_more_than_was_begun() {
        let made = AtomicUsize::new(0);
        let make = |_| made.fetch_add(1, Ordering::SeqCst);
        prefetch(3, 0..1000, make, |next| {
            next();
            next();
        });
        assert!(made.load(Ordering::SeqCst) <= 8);
    }
}
