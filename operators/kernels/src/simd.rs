//! Loops compiled for the processor's vector instructions.

/// Runs `f` compiled with the vector instructions of this processor (AVX2, AVX-512). `f` and
/// everything that it calls must be inlined, so mark the closure `#[inline(always)]`.
///
/// It is a `FnMut` on purpose. As the `FnOnce` that pulp takes, a closure would go through a
/// separate function, which the compiler need not inline; a large closure would then run with SSE2
/// only.
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
