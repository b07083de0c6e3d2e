//! Kernels of the graph model on the CPU: relational SpMM and other aggregates, matrix products,
//! fused normalisation.
//!
//! All functions work on row-major slices of `f32` or `f64`, and depend neither on candle nor on
//! the model. Every function makes two promises. The result does not depend on the number of
//! threads: work is divided by sizes alone, and partial sums are added in a fixed order. And
//! nothing is stored per edge. `unsafe` is allowed only in this crate; each block says why it is
//! sound.

pub mod activation;
pub mod adamw;
pub mod csr;
pub mod gemm;
pub mod gpu;
pub mod layer;
pub mod message;
pub mod norm;
pub mod pages;
mod real;
pub mod rows;
pub mod score;
mod simd;
#[cfg(test)]
mod testing;
pub mod transformer;

pub use real::Real;
