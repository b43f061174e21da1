//! Clients at once, and random requests: the kernel has what the model says.

use poa_leviathan::Options;
use poa_leviathan::model::Wiring;
use poa_leviathan::seen::{Owner, Seen};

use super::lab;
use crate::isolated::{containers, ip, isolated, pings};
use crate::support::{cen, cens, container, destroy, ids, make};

/// Two clients import, make, change and destroy the same CENs at once; then all is as one client alone would have it.
#[test]
fn two_clients_leave_what_one_would() {
    isolated(module_path!(), "two_clients_leave_what_one_would", async {
        let names = ["c1", "c2", "c3", "c4"];
        containers(&names);
        let lab = lab(Wiring::Auto);
        let entries: [(&str, &[&str]); 2] = [("a", &["c1", "c2", "c3"]), ("b", &["c2", "c4"])];
        let client = |turn: usize| {
            let leviathan = lab.leviathan.clone();
            async move {
                for round in 0..8 {
                    let both: &[&str] = if turn == 0 { &["a", "b"] } else { &["b", "a"] };
                    // What is under way is refused; everything else is not to fail.
                    let _ = leviathan.import_cens(cens(&entries)).await;
                    if let Ok(job) = leviathan.make_cens(&ids(both)).await {
                        assert_eq!(job.wait().await.failed, []);
                    }
                    let _ = leviathan.delete_member("a", names[(round + turn) % 3]).await;
                    let _ = leviathan.put_member(cen("b"), container("c1")).await;
                    if let Ok(job) = leviathan.destroy_cens(&ids(&both[round % 2..])).await {
                        assert_eq!(job.wait().await.failed, []);
                    }
                }
            }
        };
        tokio::join!(client(0), client(1));
        let l = &lab.leviathan;
        l.import_cens(cens(&entries)).await.unwrap();
        make(l, &["a", "b"]).await;
        let host = lab.look(&[]).await.host;
        let ours: Vec<&str> = host
            .iter()
            .filter(|(_, link)| link.owner != Owner::Foreign)
            .map(|(n, _)| &**n)
            .collect();
        assert_eq!(ours.len(), 4, "bridge a and its three ports; b is a direct wire: {ours:?}");
        ip("-n c2 addr add 192.0.2.2/24 dev b");
        ip("-n c4 addr add 192.0.2.4/24 dev b");
        assert!(pings("c2", "192.0.2.4"));
        destroy(l, &["a", "b"]).await;
        assert_eq!(lab.look(&[]).await.host.len(), 1, "only lo");
    });
}

/// A few of the random sequences against the kernel: it agrees with the host in memory.
#[test]
fn the_kernel_agrees_with_the_host_in_memory() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    isolated(module_path!(), "the_kernel_agrees_with_the_host_in_memory", async {
        let names = ["c1", "c2", "c3", "c4", "c5"];
        containers(&names);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for round in 0..12 {
            let wiring = if round % 2 == 0 { Wiring::Auto } else { Wiring::AlwaysBus };
            let steps = crate::random::steps().new_tree(&mut runner).unwrap().current();
            let lab = lab(wiring);
            let (memory, recorder) =
                crate::support::recorded(Options { wiring, ..Options::default() });
            for step in &steps {
                crate::random::take(&lab.leviathan, step).await;
                crate::random::take(&memory, step).await;
            }
            assert_eq!(lab.leviathan.model(), memory.model(), "{steps:?}");
            compare(&lab.look(&names).await, &recorder.host(), &steps);
            for cin in memory.model().cins().keys() {
                lab.leviathan.delete_cin(cin.as_str()).await.unwrap();
            }
            for cen in memory.model().cens().keys() {
                lab.leviathan.delete_cen(cen.as_str()).await.unwrap();
            }
        }
    });
}

fn compare(kernel: &Seen, memory: &Seen, steps: &[crate::random::Step]) {
    let ours =
        |seen: &Seen| -> Vec<String> {
            let host = seen.host.iter().filter(|(_, link)| link.owner != Owner::Foreign);
            let mut all: Vec<String> = host
                .map(|(name, link)| format!("{name} {:?} {:?}", link.owner, link.addresses))
                .collect();
            for (id, inside) in &seen.inside {
                let links = inside.links.iter().filter(|(_, link)| link.owner != Owner::Foreign);
                all.extend(links.map(|(name, link)| {
                    format!("{id} {name} {:?} {:?}", link.owner, link.addresses)
                }));
                let mut routes: Vec<String> =
                    inside.routes.iter().map(|route| format!("{id} {route:?}")).collect();
                routes.sort();
                all.extend(routes);
            }
            all
        };
    assert_eq!(ours(kernel), ours(memory), "{steps:?}");
}
