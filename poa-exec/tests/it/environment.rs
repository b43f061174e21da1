//! The environment that a child inherits from the host.

use poa_core::Receiver as _;
use poa_core::config::Secret;
use poa_testkit::Samples;

use crate::{ACK, NEXT, READY, build, scratch, sh_in};

#[tokio::test]
async fn a_child_gets_no_variable_that_is_not_meant_for_it() {
    let dir = scratch();
    let mut config = sh_in(dir.path(), &[READY, NEXT, r#"env > "$dir/env""#, ACK, "read -r stop"]);
    // Set by the program that runs the tests, so no thread has to change the environment of this one.
    config.pass_env = vec!["CARGO_PKG_NAME".to_owned()];
    config.env.insert("TOKEN".to_owned(), Secret::new("t"));
    let mut receiver = build(config).await.unwrap();
    receiver
        .metrics_received(&[Samples::default().json("a", "system_metrics", "{}")])
        .await
        .unwrap();
    let seen = std::fs::read_to_string(dir.path().join("env")).unwrap();
    let has = |name: &str| seen.lines().any(|line| line.starts_with(&format!("{name}=")));
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
        "the host has what the child must not get"
    );
    assert!(has("TOKEN") && has("CARGO_PKG_NAME") && has("PATH"), "{seen}");
    assert!(!has("CARGO_MANIFEST_DIR"), "{seen}");
}
