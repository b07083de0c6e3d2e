//! The systems that retrieve: their names, what they are, and which ports each must be connected
//! to.

use std::sync::LazyLock;

use gfm_pipe_api::named::{Choice, Named, listed as joined};
use gfm_pipe_api::{Connected, Field, Problem, Type, is_connected};

/// Ports that a model needs besides its own.
const ON_GRAPH: &[&str] = &["graph", "documents", "question_embeddings"];

/// The trained model.
pub static MODEL: System = System {
    name: "model",
    meaning: "the fine-tuned model, with every ranker of `rankers`",
    ports: &["model", "graph", "documents", "question_embeddings"],
    or_ports: None,
};

/// The model before fine-tuning.
pub static PRETRAINED: System = System {
    name: "pretrained",
    meaning: "the model before fine-tuning, likewise",
    ports: ON_GRAPH,
    or_ports: None,
};

/// The model before any training.
pub static UNTRAINED: System = System {
    name: "untrained",
    meaning: "a model of the same dimensions with random weights, of `evaluate`'s own `seed`: what the graph alone gives",
    ports: MODEL.ports,
    or_ports: None,
};

/// Nearest embeddings.
pub static DENSE: System = System {
    name: "dense",
    meaning: "cosine of question and document embeddings, by the run's own encoder",
    ports: &["corpus_embeddings", "question_embeddings"],
    or_ports: None,
};

/// Common words.
pub static BM25: System = System {
    name: "bm25",
    meaning: "Okapi BM25, k1 = 1.2, b = 0.75, idf = ln(1 + (N - n + 0.5) / (n + 0.5)); tokens are lower-cased runs of letters and digits, without stemming or stop list",
    ports: &[],
    or_ports: None,
};

/// Personalised PageRank.
pub static PPR: System = System {
    name: "ppr",
    meaning: "personalised PageRank from where the question starts, [as below](#personalised-pagerank)",
    ports: &["graph", "documents"],
    or_ports: None,
};

/// Reciprocal rank fusion. bm25 needs no port and always takes part, so the ports of one more
/// system are enough.
pub static RRF: System = System {
    name: "rrf",
    meaning: "reciprocal rank fusion of dense, bm25 and ppr, or of two of them where the ports of the third are not connected: sum of 1 / (60 + rank) (Cormack, Clarke and Büttcher 2009)",
    ports: DENSE.ports,
    or_ports: Some(PPR.ports),
};

/// A weighted sum of ranking features.
pub static FUSED: System = System {
    name: "fused",
    meaning: "a weighted sum of ranking features, [as below](#ranking-features)",
    ports: &["features", "fusion"],
    or_ports: None,
};

/// Every system, in the order of tables.
pub static SYSTEMS: [&System; 8] = [
    &MODEL,
    &PRETRAINED,
    &UNTRAINED,
    &DENSE,
    &BM25,
    &PPR,
    &RRF,
    &FUSED,
];

/// The systems that need no network.
pub static BASELINES: [&System; 5] = [&DENSE, &BM25, &PPR, &RRF, &FUSED];

/// The systems that [`RRF`] fuses.
pub static RANKED_FUSION: [&System; 3] = [&DENSE, &BM25, &PPR];

/// A retrieval system.
pub struct System {
    /// Name in pipelines and tables.
    pub name: &'static str,
    /// What it is, in Markdown for docs/metrics.md.
    pub meaning: &'static str,
    /// Ports it needs besides `corpus` and `questions`.
    ports: &'static [&'static str],
    /// Ports that it can use instead.
    or_ports: Option<&'static [&'static str]>,
}

/// A parameter that names a system.
pub type SystemName = Choice<System>;

impl Named for System {
    const WHAT: &'static str = "system";

    fn all() -> &'static [&'static Self] {
        &SYSTEMS
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// Names of the systems that `evaluate` can compare the models with.
pub fn beside_models() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| with_baselines(&UNTRAINED));
    &NAMES
}

/// Those of them that `evaluate` compares the models with where a pipeline names none.
pub fn default_beside_models() -> Vec<&'static str> {
    let all = beside_models().iter().copied();
    all.filter(|name| *name != FUSED.name).collect()
}

/// Names of the systems that `retrieve` can use.
pub fn askable() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| with_baselines(&MODEL));
    &NAMES
}

/// Names of the systems that `explain` explains.
pub fn explainable() -> &'static [&'static str] {
    static NAMES: LazyLock<[&str; 3]> = LazyLock::new(|| [MODEL.name, PPR.name, FUSED.name]);
    &*NAMES
}

fn with_baselines(first: &'static System) -> Vec<&'static str> {
    let all = std::iter::once(first).chain(BASELINES);
    all.map(|system| system.name).collect()
}

impl System {
    /// Whether both are the same system.
    pub fn is(&self, other: &System) -> bool {
        self.name == other.name
    }

    /// The ports that it needs besides `corpus` and `questions` and that are not connected.
    pub fn missing(&self, connected: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
        let lacks = |ports: &'static [&'static str]| -> Vec<&'static str> {
            let ports = ports.iter().copied();
            ports.filter(|port| !connected(port)).collect()
        };
        if self.or_ports.is_some_and(|ports| lacks(ports).is_empty()) {
            return Vec::new();
        }
        lacks(self.ports)
    }

    /// The problem to report when a pipeline names this system and a port that it needs is not
    /// connected. `ways` is appended to the hint: what can be done besides connecting the port.
    pub fn problem(&self, inputs: &Connected, ways: &str) -> Option<Problem> {
        let missing = self.missing(&is_connected(inputs));
        if missing.is_empty() {
            return None;
        }
        let is = if missing.len() == 1 { "is" } else { "are" };
        let (name, missing) = (self.name, listed(&missing));
        let text = format!("system `{name}` needs {missing}, which {is} not connected");
        Some(Problem::at_root(text).hint(format!("connect {missing}{ways}")))
    }
}

/// Names for messages: `` `graph` and `documents` ``.
pub fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    joined(&quoted, "and")
}

/// Parameters of personalised PageRank.
#[derive(Debug, Clone, Copy)]
pub struct Walking {
    /// Whether it returns more often to those entities of the question that few documents mention.
    pub node_specificity: bool,
    /// Probability of returning to the question; `None`:
    /// [`RESTART`](crate::baselines::ppr::RESTART) or
    /// [`RESTART_WITH_PASSAGES`](crate::baselines::ppr::RESTART_WITH_PASSAGES), depending on
    /// whether documents are nodes.
    pub restart: Option<f64>,
}

impl Walking {
    /// The schema's fields for these parameters.
    pub fn fields() -> Vec<Field> {
        let specificity = Field::new(
            "node_specificity",
            Type::Bool,
            true,
            "ppr returns to a question entity with weight 1 / number of its documents, as HippoRAG does; else evenly. Not looked at where starts are connected",
        );
        let restart = Field::new(
            "restart",
            Type::Float {
                min: 0.01,
                max: 1.0,
            }
            .or_null(),
            serde_json::Value::Null,
            "probability with which ppr returns to the question at each step; null: 0.5 as in HippoRAG, 0.3 where `nodes` says that documents are nodes",
        );
        vec![specificity, restart]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_names_the_ports_it_lacks() {
        let lacks = |system: &System, ports: &[&str]| system.missing(&|p| ports.contains(&p));
        let graph = ["graph", "documents"];
        let texts = ["corpus_embeddings", "question_embeddings"];
        assert_eq!(lacks(&MODEL, &graph), ["model", "question_embeddings"]);
        assert_eq!(lacks(&PRETRAINED, &texts), ["graph", "documents"]);
        assert_eq!(lacks(&DENSE, &graph), texts);
        assert_eq!(lacks(&DENSE, &texts[..1]), texts[1..]);
        assert_eq!(lacks(&PPR, &graph[..1]), graph[1..]);
        assert!(lacks(&BM25, &[]).is_empty());
        // Either of the two makes a fusion with bm25.
        assert!(lacks(&RRF, &graph).is_empty() && lacks(&RRF, &texts).is_empty());
        assert_eq!(lacks(&RRF, &[]), texts);
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
