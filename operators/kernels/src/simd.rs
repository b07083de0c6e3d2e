//! Loops compiled for what the processor has.

/// Runs `f` compiled with the vector instructions this processor has (AVX2, AVX-512). `f` and all
/// it calls must be inlined, so the closure is to be marked `#[inline(always)]`.
///
/// It is a `FnMut` on purpose: called as the `FnOnce` that pulp takes, a closure goes through a
/// function of its own which the compiler need not inline, and a large one then runs with SSE2
/// alone.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnMut() -> R) -> R {
    struct Call<F>(F);
    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Call<F> {
        type Output = R;
        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Call(f))
}
