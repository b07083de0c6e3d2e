//! A pool of large buffers. Each step needs buffers of the same sizes as the step before, and fresh
//! memory costs more than the computation in it: every page causes a fault and is cleared first.

use std::ops::{Deref, DerefMut};

use gfm_pipe_kernels::pages::ask_for_large;

use crate::tensor::Elem;

/// Most unused buffers that a pool keeps.
const MAX_UNUSED: usize = 128;

/// A buffer that returns to its pool when dropped.
pub struct Buffer<T: Elem>(Vec<T>);

impl<T: Elem> Buffer<T> {
    /// A buffer of `len` elements whose values are unspecified.
    pub fn dirty(len: usize) -> Self {
        let found = T::pool().with(|free| {
            // A buffer that is far too large stays for a larger request.
            let fits = |b: &Vec<T>| (len..=4 * len + (1 << 20)).contains(&b.capacity());
            let all = || (0..free.len()).map(|i| (free[i].capacity(), i));
            let best = all().filter(|(_, i)| fits(&free[*i])).min();
            let too_small = all().filter(|(capacity, _)| *capacity < len).max();
            match (best, too_small) {
                (Some((_, i)), _) => Some(free.swap_remove(i)),
                // A new buffer replaces one that is too small. Otherwise sizes that grow step by
                // step would pile up.
                (None, Some((_, i))) => {
                    drop(free.swap_remove(i));
                    None
                }
                (None, None) => None,
            }
        });
        let mut buffer = found.unwrap_or_else(|| {
            let new = Vec::with_capacity(len + len / 8);
            ask_for_large(&new);
            new
        });
        if buffer.len() > len {
            buffer.truncate(len);
        } else {
            buffer.resize(len, T::zero());
        }
        Buffer(buffer)
    }

    /// A buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Buffer::dirty(len);
        buffer.fill(T::zero());
        buffer
    }
}

impl<T: Elem> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Elem> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Elem> Drop for Buffer<T> {
    fn drop(&mut self) {
        let mine = std::mem::take(&mut self.0);
        T::pool().with(|free| {
            free.push(mine);
            if free.len() > MAX_UNUSED {
                let smallest = (0..free.len()).min_by_key(|i| free[*i].capacity());
                smallest.map(|i| free.swap_remove(i));
            }
        });
    }
}

/// Returns all unused buffers to the system when dropped. A training or an evaluation holds one
/// while it runs.
pub struct Lease;

impl Drop for Lease {
    fn drop(&mut self) {
        <f32 as Elem>::pool().with(|free| *free = Vec::new());
        <f64 as Elem>::pool().with(|free| *free = Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_the_requested_length_and_zeros_on_request() {
        let _lease = Lease;
        let mut first = Buffer::<f64>::zeros(10);
        first.fill(3.0);
        drop(first);
        assert_eq!(Buffer::<f64>::dirty(7).len(), 7);
        assert!(Buffer::<f64>::zeros(9).iter().all(|x| *x == 0.0));
        assert_eq!(Buffer::<f64>::dirty(100).len(), 100);
    }
}
