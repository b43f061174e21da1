//! Containers of Docker, which are processes here.

use std::process::Command;
use std::sync::Arc;

use poa_leviathan::docker::Docker;
use poa_leviathan::executor::Netlink;
use poa_leviathan::store::MemoryStore;
use poa_leviathan::{Leviathan, Options};

use crate::isolated::{CURE, isolated, run};
use crate::support::{cens, cins, make, make_cins};

/// A container as Docker has it: a process in a network namespace of its own.
fn process() -> u32 {
    let child = Command::new("unshare").args(["--net", "--", "sleep", "infinity"]).spawn();
    let pid = child.unwrap_or_else(|error| panic!("{CURE}: {error}")).id();
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).unwrap();
    while namespace(&pid.to_string()) == namespace("self") {
        std::thread::yield_now();
    }
    pid
}

#[test]
fn containers_of_docker_are_joined_and_wired_again() {
    isolated(module_path!(), "containers_of_docker_are_joined_and_wired_again", async {
        let mut fake = crate::fake_docker::FakeDocker::new(process);
        let patience = std::time::Duration::from_secs(20);
        let docker = Arc::new(Docker::new(fake.socket(), patience));
        let netlink = Arc::new(Netlink::new("host1", docker.clone()));
        let leviathan =
            Leviathan::open(Options::default(), netlink.clone(), Box::new(MemoryStore::default()));
        let leviathan = leviathan.unwrap().with_containers(docker.clone());
        let pid = |id: &str| fake_pid(&fake, id);
        let pings = |from: &str, to: &str| {
            let mut command = Command::new("nsenter");
            command.args(["-t", from, "-n", "ping", "-c1", "-W2", to]);
            command.output().unwrap_or_else(|error| panic!("{CURE}: {error}")).status.success()
        };
        leviathan.import_cens(cens(&[("lan", &[])])).await.unwrap();
        leviathan.import_cins(cins(&[("net", &["lan"])])).await.unwrap();
        make(&leviathan, &["lan"]).await;
        make_cins(&leviathan, &["net"]).await;
        let running = leviathan.run().await;
        let (d, l) = (docker.clone(), leviathan.clone());
        let following = tokio::spawn(async move { d.follow(l).await });
        fake.followed().await;
        for id in ["c0ffee000001", "c0ffee000002"] {
            fake.run(id, &["LEV_CIN=lan"], serde_json::Value::Null);
        }
        let mut models = leviathan.models();
        let both = models.wait_for(|model| model.cen("lan").unwrap().members().len() == 2);
        tokio::time::timeout(patience, both).await.unwrap().unwrap();
        leviathan.reconcile().await;
        let addresses = leviathan.model().addresses(&poa_leviathan::CinId::new("net").unwrap());
        let to = |id: &str| {
            addresses.iter().find(|a| a.container.as_str() == id).unwrap().ip.to_string()
        };
        let (one, two) = (to("c0ffee000001"), to("c0ffee000002"));
        assert!(pings(&pid("c0ffee000001"), &two));
        assert!(pings(&pid("c0ffee000001"), "10.10.0.1"));

        // A restart: another process, another namespace.
        run("kill", &["-9", &pid("c0ffee000002")]);
        fake.kill("c0ffee000002");
        fake.start("c0ffee000002");
        leviathan.reconcile().await;
        assert!(pings(&pid("c0ffee000002"), &one), "wired and addressed again");

        // While the daemon is away, nothing is touched; when it is back, what happened meanwhile is made good.
        let writes = netlink.writes();
        fake.die().await;
        leviathan.reconcile().await;
        assert_eq!(netlink.writes(), writes);
        let pid = |id: &str| fake_pid(&fake, id);
        assert!(pings(&pid("c0ffee000001"), &two));
        run("kill", &["-9", &pid("c0ffee000001")]);
        fake.start("c0ffee000001");
        fake.come_back();
        fake.followed().await;
        leviathan.reconcile().await;
        assert!(pings(&fake_pid(&fake, "c0ffee000001"), &two), "after the daemon came back");
        following.abort();
        running.close(patience).await;
        for id in ["c0ffee000001", "c0ffee000002"] {
            run("kill", &["-9", &fake_pid(&fake, id)]);
        }
    });
}

fn fake_pid(fake: &crate::fake_docker::FakeDocker, id: &str) -> String {
    fake.containers()[id]["State"]["Pid"].to_string()
}
