//! PNA's features times functions of their node's degree, which its linear map reads.

use super::layout::kernel_arguments;
use super::{Error, State, View};

/// PNA's functions of a node's degree: features are multiplied by 1 and by each of these. Both have
/// a value for each node.
#[derive(Clone, Copy)]
pub struct Scales<'a, A> {
    /// Larger for larger degrees.
    pub scale: View<'a, A>,
    /// Smaller for larger degrees.
    pub inverse: View<'a, A>,
}

impl<A: State<Acc = A>> Scales<'_, A> {
    fn launch<S: State<Acc = A>>(
        &self,
        name: &str,
        features: View<'_, S>,
        wide: View<'_, S>,
        node: View<'_, u32>,
        d: usize,
    ) -> Result<(), Error> {
        assert_eq!(self.scale.len(), self.inverse.len(), "two values per node");
        let rows = node.len();
        assert_eq!(features.len(), rows * 4 * d, "features");
        assert_eq!(wide.len(), rows * 12 * d, "scaled features");
        let args = ScaleFeaturesArgs {
            features: features.at,
            wide: wide.at,
            scale: self.scale.at,
            inverse: self.inverse.at,
            row_node: node.at,
            rows: rows as u32,
            d: d as u32,
        };
        let name = format!("{name}_{}", S::TAG);
        features.gpu().launch_rows(&name, rows, 4 * d, &args)
    }

    /// The input of the linear map, `rows x 12 d`, from PNA's features, `rows x 4 d`. `node` is the
    /// node of each row. Column `12 c + 3 s + f` is function f of the degree times statistic s of
    /// feature c.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn widen<S: State<Acc = A>>(
        &self,
        features: View<'_, S>,
        node: View<'_, u32>,
        wide: View<'_, S>,
        dim: usize,
    ) -> Result<(), Error> {
        self.launch("scale_features", features, wide, node, dim)
    }

    /// Backward of [`Scales::widen`]: the gradient of the features, `rows x 4 d`, from that of the
    /// linear map's input.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn widen_backward<S: State<Acc = A>>(
        &self,
        dwide: View<'_, S>,
        node: View<'_, u32>,
        dfeatures: View<'_, S>,
        dim: usize,
    ) -> Result<(), Error> {
        self.launch("scale_features_grad", dfeatures, dwide, node, dim)
    }
}

kernel_arguments! {
    struct ScaleFeaturesArgs {
        features: u64,
        wide: u64,
        scale: u64,
        inverse: u64,
        row_node: u64,
        rows: u32,
        d: u32,
    }
}
