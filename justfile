# `just ci` is what CI runs.
default: check

# Type-check everything
check:
    cargo check --workspace --all-targets

# Format
fmt:
    cargo fmt --all

# Lint as CI does
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests
test:
    cargo test --workspace

# Review changed snapshots
snap:
    cargo insta review

# The README's first command
run experiment="experiments/circuit-breaker.yaml":
    cargo run --release -- run {{experiment}}

# Licences, advisories and edges (needs the internet)
deny:
    cargo deny check

# Exactly what CI runs
ci:
    bash .ci/run
