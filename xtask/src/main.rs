//! Runs the tests and benchmarks of poa
fn main() {}
