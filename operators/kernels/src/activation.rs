//! Activation functions under PyTorch's names, with the defaults of `torch.nn.functional`.

use crate::Real;

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x Φ(x) (Hendrycks and Gimpel, 2016), with the exact distribution function.
    Gelu,
    /// x σ(x).
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// σ(x) = 1 / (1 + exp(-x)).
    Sigmoid,
    /// x, or exp(x) - 1 below zero.
    Elu,
    /// x, or x / 100 below zero.
    LeakyRelu,
    /// ln(1 + exp(x)).
    Softplus,
}

/// An activation as a type, so that loops over it are compiled for it.
pub(crate) trait Activate {
    /// f(x).
    fn value<T: Real>(x: T) -> T;
    /// g f'(x).
    fn back<T: Real>(x: T, g: T) -> T;
}

pub(crate) struct Relu;

/// Compared so that a NaN stays a NaN: `x > 0` would turn it into 0 and hide it.
impl Activate for Relu {
    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        if x <= T::zero() { T::zero() } else { x }
    }
    #[inline(always)]
    fn back<T: Real>(x: T, g: T) -> T {
        if x <= T::zero() { T::zero() } else { g }
    }
}

/// The rest: transcendental functions cost more than the choice between them.
macro_rules! activation {
    ($name:ident, $value:expr, $slope:expr) => {
        pub(crate) struct $name;
        impl Activate for $name {
            #[inline(always)]
            fn value<T: Real>(x: T) -> T {
                let f: fn(f64) -> f64 = $value;
                T::of(f(x.f64()))
            }
            #[inline(always)]
            fn back<T: Real>(x: T, g: T) -> T {
                let f: fn(f64) -> f64 = $slope;
                g * T::of(f(x.f64()))
            }
        }
    };
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Φ(x) of the standard normal distribution.
fn phi(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))
}

/// Its density.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

activation!(Gelu, |x| x * phi(x), |x| phi(x) + x * density(x));
activation!(Silu, |x| x * sigmoid(x), |x| {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
});
activation!(Tanh, f64::tanh, |x| 1.0 - x.tanh().powi(2));
activation!(Sigmoid, sigmoid, |x| sigmoid(x) * (1.0 - sigmoid(x)));
activation!(
    Elu,
    |x| if x > 0.0 { x } else { x.exp_m1() },
    |x| if x > 0.0 { 1.0 } else { x.exp() }
);
activation!(
    LeakyRelu,
    |x| if x > 0.0 { x } else { 0.01 * x },
    |x| if x > 0.0 { 1.0 } else { 0.01 }
);
activation!(
    Softplus,
    // As PyTorch: the identity above its threshold, where the sum would round to it anyway.
    |x| if x > 20.0 { x } else { x.exp().ln_1p() },
    |x| if x > 20.0 { 1.0 } else { sigmoid(x) }
);

/// Runs `$body` with `$A` being the type of the activation `$which`.
macro_rules! by_activation {
    ($which:expr, $A:ident => $body:expr) => {{
        use $crate::activation::Activation as Which;
        match $which {
            Which::Relu => {
                type $A = $crate::activation::Relu;
                $body
            }
            Which::Gelu => {
                type $A = $crate::activation::Gelu;
                $body
            }
            Which::Silu => {
                type $A = $crate::activation::Silu;
                $body
            }
            Which::Tanh => {
                type $A = $crate::activation::Tanh;
                $body
            }
            Which::Sigmoid => {
                type $A = $crate::activation::Sigmoid;
                $body
            }
            Which::Elu => {
                type $A = $crate::activation::Elu;
                $body
            }
            Which::LeakyRelu => {
                type $A = $crate::activation::LeakyRelu;
                $body
            }
            Which::Softplus => {
                type $A = $crate::activation::Softplus;
                $body
            }
        }
    }};
}
pub(crate) use by_activation;

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of torch.nn.functional at ±1, and slopes by central differences.
    #[test]
    fn values_are_pytorchs_and_slopes_are_slopes() {
        fn check<A: Activate>(at_one: f64, at_minus_one: f64) {
            assert!((A::value(1.0) - at_one).abs() < 1e-6, "{}", A::value(1.0));
            assert!(
                (A::value(-1.0) - at_minus_one).abs() < 1e-6,
                "{}",
                A::value(-1.0)
            );
            for x in [-3.0f64, -0.7, 0.2, 1.9, 25.0] {
                let slope = (A::value(x + 1e-5) - A::value(x - 1e-5)) / 2e-5;
                assert!((A::back(x, 2.0) - 2.0 * slope).abs() < 1e-8, "at {x}");
            }
        }
        check::<Relu>(1.0, 0.0);
        check::<Gelu>(0.841_345, -0.158_655);
        check::<Silu>(0.731_059, -0.268_941);
        check::<Tanh>(0.761_594, -0.761_594);
        check::<Sigmoid>(0.731_059, 0.268_941);
        check::<Elu>(1.0, -0.632_121);
        check::<LeakyRelu>(1.0, -0.01);
        check::<Softplus>(1.313_262, 0.313_262);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        fn check<A: Activate>() {
            assert!(A::value(f32::NAN).is_nan() && A::value(f64::NAN).is_nan());
        }
        check::<Relu>();
        check::<Gelu>();
        check::<Silu>();
        check::<Tanh>();
        check::<Sigmoid>();
        check::<Elu>();
        check::<LeakyRelu>();
        check::<Softplus>();
        // Neither sign of zero matters.
        assert_eq!(Relu::value(-0.0f32).to_bits(), 0.0f32.to_bits());
    }
}
