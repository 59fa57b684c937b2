//! The benchmarks live in `benches/`, and `saal-floor` in `bin/`; `bench/run` runs them all and prints the table.
