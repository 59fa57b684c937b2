//! The benchmarks live in `benches/`; `cargo bench -p saal-bench` runs them all.
