//! Things that are made before they are wanted, by threads beside the one that wants them.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

/// Calls `take` with a function that gives what `make` makes of each number in turn, and `None` after the last. Each of `threads` threads
/// is one ahead at most.
pub fn ahead<R: Send, O>(
    threads: usize,
    numbers: Range<usize>,
    make: impl Fn(usize) -> R + Sync,
    take: impl FnOnce(&mut dyn FnMut() -> Option<R>) -> O,
) -> O {
    let make = &make;
    std::thread::scope(|scope| {
        let mut made = Vec::new();
        for first in 0..threads.max(1) {
            // Whoever has made one waits until it is taken.
            let (give, got) = sync_channel(0);
            made.push(got);
            let mine = numbers.clone().skip(first).step_by(threads.max(1));
            scope.spawn(move || {
                for number in mine {
                    if give.send(make(number)).is_err() {
                        // Nobody wants any more.
                        return;
                    }
                }
            });
        }
        let mut turns = made.iter().cycle();
        let mut left = numbers.len();
        let out = take(&mut || {
            left = left.checked_sub(1)?;
            turns.next()?.recv().ok()
        });
        drop(made);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn everything_comes_in_order_whoever_makes_it() {
        for threads in 1..5 {
            for numbers in [0..0, 3..4, 2..23] {
                let want: Vec<usize> = numbers.clone().map(|n| n * n).collect();
                let all = ahead(
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
    fn who_stops_early_waits_for_no_more_than_is_being_made() {
        let made = AtomicUsize::new(0);
        let make = |_| made.fetch_add(1, Ordering::SeqCst);
        ahead(3, 0..1000, make, |next| {
            next();
            next();
        });
        assert!(made.load(Ordering::SeqCst) <= 8);
    }
}
