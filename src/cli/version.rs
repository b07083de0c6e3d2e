//! What `gfm-pipe --version` says: what was built, and from what.

use std::sync::LazyLock;

/// Features of this build, in the order of Cargo.toml.
const FEATURES: [(&str, bool); 14] = [
    ("gfm", cfg!(feature = "gfm")),
    ("cuda", cfg!(feature = "cuda")),
    ("nccl", cfg!(feature = "nccl")),
    ("encoders-cuda", cfg!(feature = "encoders-cuda")),
    ("gpu-emulation", cfg!(feature = "gpu-emulation")),
    ("mpi", cfg!(feature = "mpi")),
    ("static-encoder", cfg!(feature = "static-encoder")),
    ("encoders", cfg!(feature = "encoders")),
    ("hub", cfg!(feature = "hub")),
    ("english", cfg!(feature = "english")),
    ("serve", cfg!(feature = "serve")),
    ("demo", cfg!(feature = "demo")),
    ("frames", cfg!(feature = "frames")),
    ("cloud", cfg!(feature = "cloud")),
];

/// The version, the commit and the features.
pub fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    &TEXT
}

fn text() -> String {
    let built = FEATURES.iter().filter(|(_, there)| *there);
    let names: Vec<&str> = built.map(|(name, _)| *name).collect();
    let features = match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    format!(
        "{} ({})\nfeatures: {features}",
        env!("CARGO_PKG_VERSION"),
        env!("GFM_PIPE_COMMIT")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_feature_of_the_program_is_named() {
        let manifest = include_str!("../../Cargo.toml");
        let (_, features) = manifest.split_once("[features]\n").unwrap();
        let (features, _) = features.split_once("\n[").unwrap();
        let lines = features.lines().filter_map(|line| line.split_once(" = "));
        let names = lines.map(|(name, _)| name);
        // Nobody uses a program that was built with failpoints.
        let names: Vec<&str> = names
            .filter(|name| !name.starts_with('#') && !["default", "failpoints"].contains(name))
            .collect();
        assert_eq!(FEATURES.map(|(name, _)| name).to_vec(), names);
    }
}
