# The commands a person types. `just` alone lists them.
default:
    @just --list

# Formatting, lints, types.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p gfm-pipe --all-targets --no-default-features -- -D warnings

# All tests.
test:
    cargo test --workspace

# The engine alone, without candle and data frames.
test-engine:
    cargo test -p gfm-pipe --no-default-features

# The main job.
run:
    cargo run --release -- run pipelines/full.yaml

# Generated pages, reports of bad pipelines, imported configurations: written anew.
golden:
    UPDATE_GOLDEN=1 cargo test --test docs --test spec
    UPDATE_GOLDEN=1 cargo test --lib import

# A bucket as the remote, over a real S3 server (compiles one).
check-s3:
    scripts/check-s3/run

# Models of the reference's package, 1.0 and 2.0, here and ours there (installs it: 6 GB).
check-export:
    scripts/check-export/run

# What the runner costs, large inputs, kernels, training steps on generated graphs.
bench:
    cargo bench --bench runner
    cargo bench --bench ingest
    cargo bench -p gfm-pipe-kernels --bench kernels
    cargo bench -p gfm-pipe-gfm --bench step
    cargo bench -p gfm-pipe-gfm --bench step -- --scaling

# Matrix products in the model's shapes by several libraries (compiles them).
bench-gemm:
    scripts/bench-gemm/run

# Training steps beside the reference's on the same files: a folder with bench_reference.py and its workloads.
bench-reference GRAPHS *CASES:
    scripts/bench-reference/run {{GRAPHS}} {{CASES}}

# The same for a GraphReasoner, beside GFM-RAG 2.0.
bench-reasoner GRAPHS *CASES:
    scripts/bench-reference/run-reasoner {{GRAPHS}} {{CASES}}

# What needs a GPU: builds it on a machine with nvcc; scripts/gpu-check/run then checks and times it on one with a GPU, without Rust or network.
gpu-check-prepare *CUDA_HOME:
    scripts/gpu-check/prepare {{CUDA_HOME}}

# Text encoders beside sentence-transformers (installs it).
bench-encoders *MODELS:
    scripts/bench-encoders/run {{MODELS}}

# Data sets and the encoder's table, from their sources.
gen:
    python3 data/atlas/generate.py
    python3 data/fixtures/generate.py
