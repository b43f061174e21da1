//! The files in `deploy/cluster`, checked by the programs that read them.

use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cluster").join(file)
}

/// The programs of the units are not installed here: another takes their place.
#[test]
fn systemd_accepts_the_units() {
    let program = std::env::var_os("POA_TEST_SYSTEMD_ANALYZE")
        .expect("set POA_TEST_SYSTEMD_ANALYZE to systemd-analyze, or run `cargo xtask test`");
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for unit in ["nats.service", "poa.service"] {
        let text = std::fs::read_to_string(deploy(unit)).unwrap();
        let with_programs =
            ["nats-server", "poa-server"].iter().fold(text.clone(), |text, program| {
                text.replace(&format!("/usr/local/bin/{program}"), "/bin/true")
            });
        assert_ne!(with_programs, text, "{unit} runs another program");
        let path = dir.path().join(unit);
        std::fs::write(&path, with_programs).unwrap();
        units.push(path);
    }
    let output = Command::new(program).arg("verify").args(units).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[test]
fn nats_server_accepts_its_configuration() {
    let mut command = Command::new(poa_test_nats::program().unwrap());
    command.env("NATS_NAME", "nats1").args(["-t", "-c"]).arg(deploy("nats.conf"));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("configuration file"), "{told}");
}
