//! The bundled poa server
fn main() {}
