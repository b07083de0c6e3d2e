//! Memory that is used again: a step needs the same large buffers as the one before, and fresh ones cost more than what is
//! computed in them (every page is a fault and is cleared first).

use std::ops::{Deref, DerefMut};

use gfm_pipe_kernels::pages::ask_for_large;

use crate::tensor::Elem;

/// Buffers kept for later.
const KEPT: usize = 128;

/// A buffer that goes back when dropped.
pub struct Buffer<T: Elem>(Vec<T>);

impl<T: Elem> Buffer<T> {
    /// A buffer of this length with whatever was in it.
    pub fn dirty(len: usize) -> Self {
        let found = T::pool().with(|free| {
            // Not one that is far too large: the next to ask may need it.
            let fits = |b: &Vec<T>| (len..=4 * len + (1 << 20)).contains(&b.capacity());
            let all = || (0..free.len()).map(|i| (free[i].capacity(), i));
            let best = all().filter(|(_, i)| fits(&free[*i])).min();
            let too_small = all().filter(|(capacity, _)| *capacity < len).max();
            match (best, too_small) {
                (Some((_, i)), _) => Some(free.swap_remove(i)),
                // One that is too small makes room for one that is not, or sizes that grow step by step would pile up.
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

    /// A buffer of zeros.
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
            if free.len() > KEPT {
                let smallest = (0..free.len()).min_by_key(|i| free[*i].capacity());
                smallest.map(|i| free.swap_remove(i));
            }
        });
    }
}

/// Gives what nobody uses back to the system when dropped: a training or an evaluation ended.
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
    fn a_buffer_has_the_length_asked_for_and_zeros_where_asked_for() {
        let _lease = Lease;
        let mut first = Buffer::<f64>::zeros(10);
        first.fill(3.0);
        drop(first);
        assert_eq!(Buffer::<f64>::dirty(7).len(), 7);
        assert!(Buffer::<f64>::zeros(9).iter().all(|x| *x == 0.0));
        assert_eq!(Buffer::<f64>::dirty(100).len(), 100);
    }
}
