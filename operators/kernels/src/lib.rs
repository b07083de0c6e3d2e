//! Kernels of the graph model on the CPU: relational SpMM and other aggregates, matrix products,
//! fused normalisation.
//!
//! Everything works on plain row-major slices of `f32` or `f64` and knows neither candle nor the
//! model. Two promises hold for every function: the result does not depend on the number of threads
//! (work is cut by sizes alone, partial sums are added in a fixed order), and nothing per edge is
//! ever stored. `unsafe` is allowed in this crate only; each block says why it is sound.

pub mod activation;
pub mod adamw;
pub mod extremes;
pub mod gemm;
pub mod gpu;
pub mod layer;
pub mod message;
pub mod norm;
pub mod pages;
mod real;
pub mod rows;
pub mod rspmm;
pub mod score;
mod simd;
#[cfg(test)]
mod testing;
pub mod transformer;

pub use real::Real;
