//! Message functions: what a neighbour's state `x` and a relation state `w` make of each other, and
//! the gradients.
//!
//! These are all of NBFNet's (Zhu et al., 2021, table 2). Everything works on one row of `dim`
//! values and adds to its output, so that callers sum over edges without storing messages.
//!
//! A new message function takes one file here, with its formulas and all its properties; a line in
//! the table below; and one file in `gpu/messages/`, with the formulas for the GPU. Everything else
//! is generated from the table: the values of [`Function`] and what they are called, the choice of
//! a type by value ([`by_message_function`](crate::by_message_function)), and the list of GPU
//! kernels (`gpu/generated.h`).

mod distmult;
mod each;
mod rotate;
mod transe;

pub use distmult::DistMult;
pub use rotate::RotatE;
pub use transe::TransE;

use serde::{Deserialize, Serialize};

use crate::Real;

/// A message function on rows of equal length.
pub trait Message: Copy + Send + Sync + 'static {
    /// Whether a row is a vector of pairs, and must have an even length.
    const PAIRS: bool = false;
    /// The way of passing messages that the reference trains this function on.
    const PATH: Path;
    /// Whether the message of a state of zeros is zero, whatever the relation.
    const ZEROS_ARE_SILENT: bool;
    /// Whether PNA on the fused path sums the squares of state and relation, `x² + w²`, instead of
    /// those of messages, as the reference's kernel does.
    const SQUARES_OF_PARTS: bool = false;

    /// `out = message(x, w)`, bit for bit what [`Message::add`] adds.
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]);
    /// `out += message(x, w)`.
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]);
    /// `dx += gᵀ ∂message/∂x`.
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], w: &[T]);
    /// `dw += gᵀ ∂message/∂w`.
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], x: &[T]);

    /// [`Message::add`] of several rows `out` and `x` with one `w`.
    #[inline(always)]
    fn add_rows<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        let d = w.len();
        for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            Self::add(out, x, w);
        }
    }

    /// [`Message::add_x_grad`] of several rows and [`Message::add_w_grad`] of their sum, rows in
    /// order.
    #[inline(always)]
    fn add_grads<T: Real>(dx: &mut [T], dw: &mut [T], g: &[T], x: &[T], w: &[T]) {
        let d = w.len();
        let rows = dx.chunks_exact_mut(d).zip(g.chunks_exact(d));
        for ((dx, g), x) in rows.zip(x.chunks_exact(d)) {
            Self::add_x_grad(dx, g, w);
            Self::add_w_grad(dw, g, x);
        }
    }
}

/// Which of the reference's two ways of passing messages. They are different functions of the same
/// weights, because messages run in opposite directions (so each edge acts with the other relation
/// of its pair), and because they share the gradient of tied extremes differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// The reference's fused kernel: (h, r, t) sends from t to h. Every tied edge receives the
    /// whole gradient, or half of it if the boundary ties too, which then receives the other half.
    Fused,
    /// The reference's plain message passing: (h, r, t) sends from h to t. Ties share the gradient
    /// equally; a tie at exactly zero has one share more, which is lost, because PyTorch's
    /// `scatter_reduce` counts the zero that it starts from.
    Plain,
}

/// Generates from a list of names and types what is chosen by value. `$d` is a dollar sign, for the
/// macro that this one defines.
macro_rules! message_functions {
    ($d:tt; $($(#[$meta:meta])* $name:literal => $Type:ident,)*) => {
        /// A message function, as a value. Its serialized form is its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub enum Function {
            $(
                $(#[$meta])*
                #[serde(rename = $name)]
                $Type,
            )*
        }

        impl Function {
            /// All message functions.
            pub const ALL: &'static [Function] = &[$(Function::$Type),*];

            /// The names of all message functions.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name in configurations, and in the names of GPU kernels and their files.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Function::$Type => $name,)*
                }
            }

            /// The name of the type, here and in `gpu/messages/`.
            pub const fn type_name(self) -> &'static str {
                match self {
                    $(Function::$Type => stringify!($Type),)*
                }
            }

            /// See [`Message::PAIRS`].
            pub const fn pairs(self) -> bool {
                match self {
                    $(Function::$Type => <$Type as Message>::PAIRS,)*
                }
            }

            /// See [`Message::PATH`].
            pub const fn path(self) -> Path {
                match self {
                    $(Function::$Type => <$Type as Message>::PATH,)*
                }
            }

            /// See [`Message::ZEROS_ARE_SILENT`].
            pub const fn zeros_are_silent(self) -> bool {
                match self {
                    $(Function::$Type => <$Type as Message>::ZEROS_ARE_SILENT,)*
                }
            }

            /// See [`Message::SQUARES_OF_PARTS`].
            pub const fn squares_of_parts(self) -> bool {
                match self {
                    $(Function::$Type => <$Type as Message>::SQUARES_OF_PARTS,)*
                }
            }
        }

        /// Evaluates an expression with a type alias for the [`Message`] that a
        /// [`Function`](crate::message::Function) is:
        /// `by_message_function!(function, M => sum::<M>(x))`.
        #[macro_export]
        macro_rules! by_message_function {
            ($d function:expr, $d M:ident => $d body:expr) => {
                match $d function {
                    $($crate::message::Function::$Type => {
                        type $d M = $crate::message::$Type;
                        $d body
                    })*
                }
            };
        }
    };
}

message_functions! {
    $;
    /// `x + w`.
    "transe" => TransE,
    /// `x ∘ w`.
    #[default]
    "distmult" => DistMult,
    /// Complex product of `x` and `w`.
    "rotate" => RotatE,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<M: Message>(x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; x.len()];
        M::write(&mut out, x, w);
        out
    }

    /// Checks a function's properties and gradients against its formula.
    fn check<M: Message>(function: Function) {
        let (x, w, g) = ([0.5, -1.5], [2.0, 0.75], [1.25, -0.5]);
        let silent = message::<M>(&[0.0; 2], &w) == [0.0; 2];
        assert_eq!(silent, function.zeros_are_silent(), "{function:?}");
        let mut sum = vec![1.0; 2];
        M::add(&mut sum, &x, &w);
        let want: Vec<f64> = message::<M>(&x, &w).iter().map(|m| 1.0 + m).collect();
        assert_eq!(sum, want, "{function:?}");
        let (mut dx, mut dw) = (vec![0.0; 2], vec![0.0; 2]);
        M::add_x_grad(&mut dx, &g, &w);
        M::add_w_grad(&mut dw, &g, &x);
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            message::<M>(x, w).iter().zip(&g).map(|(m, g)| m * g).sum()
        };
        let h = 1e-6;
        for i in 0..2 {
            let moved = |v: &[f64; 2], by: f64| {
                let mut v = *v;
                v[i] += by;
                v
            };
            let by_x = (loss(&moved(&x, h), &w) - loss(&moved(&x, -h), &w)) / (2.0 * h);
            let by_w = (loss(&x, &moved(&w, h)) - loss(&x, &moved(&w, -h))) / (2.0 * h);
            assert!((dx[i] - by_x).abs() < 1e-8, "{function:?}: {dx:?} {by_x}");
            assert!((dw[i] - by_w).abs() < 1e-8, "{function:?}: {dw:?} {by_w}");
        }
    }

    #[test]
    fn every_function_keeps_its_promises() {
        for function in Function::ALL {
            by_message_function!(*function, M => check::<M>(*function));
        }
    }
}
