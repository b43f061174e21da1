//! Tests across crates, against real processes and servers
