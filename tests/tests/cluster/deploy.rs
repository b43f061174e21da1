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

/// Names, addresses and paths that the compose file and the configuration of its servers repeat fit together.
#[test]
fn the_compose_file_runs_the_servers_that_the_configuration_names() {
    let compose = std::fs::read_to_string(deploy("compose.yaml")).unwrap();
    let config = std::fs::read_to_string(deploy("nats.conf")).unwrap();
    let flags = "command: [\"--config\", \"/etc/nats/nats.conf\", \"--no_advertise\"]";
    assert!(compose.contains(flags));
    assert!(config.contains("store_dir: /var/lib/nats\n"));
    for (number, client, monitor) in [(1, 4222, 8222), (2, 4223, 8223), (3, 4224, 8224)] {
        let service = format!(
            "  nats{number}:\n    <<: *nats\n    environment: {{ NATS_NAME: nats{number} }}\n    \
             ports: [\"127.0.0.1:{client}:4222\", \"127.0.0.1:{monitor}:8222\"]\n    \
             volumes: [\"./nats.conf:/etc/nats/nats.conf:ro\", \"nats{number}:/var/lib/nats\"]\n"
        );
        assert!(compose.contains(&service), "{service}");
        assert!(config.contains(&format!("nats://nats{number}:6222")), "nats{number}");
    }
}

/// Its servers take the flags that the compose file gives them.
#[test]
fn nats_server_accepts_the_flags_of_the_compose_file() {
    let mut command = Command::new(poa_test_nats::program().unwrap());
    command.env("NATS_NAME", "nats1").args(["-t", "--no_advertise", "--config"]);
    let output = command.arg(deploy("nats.conf")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
