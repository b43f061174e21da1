//! Operations that fail.

use poa_leviathan::Leviathan;
use poa_leviathan::executor::Fault;
use poa_leviathan::model::Wiring;

use super::{Lab, lab};
use crate::isolated::{containers, isolated};
use crate::support::{cen, cens, cins, container, destroy, destroy_cins, ids, make, make_cins};

/// One change after the other, each failing at every point; the host is then as it was.
#[test]
fn a_fault_at_every_point_leaves_the_host_as_it_was() {
    isolated(module_path!(), "a_fault_at_every_point_leaves_the_host_as_it_was", async {
        let names = ["c1", "c2", "c3", "c4"];
        containers(&names);
        let lab = lab(Wiring::Auto);
        lab.leviathan
            .import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c2", "c3"])]))
            .await
            .unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a", "b"])])).await.unwrap();
        let mut points = 0;
        for change in [
            "both",
            "unaddress",
            "destroy",
            "make",
            "address",
            "put",
            "delete",
            "import",
            "unaddress",
            "destroy",
        ] {
            for fault in [Fault::Before, Fault::After] {
                points += fail_everywhere(&lab, &names, change, fault).await;
            }
            let done = apply(&lab.leviathan, change).await;
            assert!(done, "{change} without a fault");
        }
        assert!(points > 40, "{points} points");
        assert_eq!(lab.look(&[]).await.host.len(), 1);
    });
}

async fn fail_everywhere(lab: &Lab, names: &[&str], change: &str, fault: Fault) -> usize {
    let before = lab.snapshot(names).await;
    let model = lab.leviathan.model();
    for k in 0.. {
        lab.faults.arm(k, 1, fault);
        let done = apply(&lab.leviathan, change).await;
        let reached = lab.faults.applied() > k;
        lab.faults.disarm();
        assert_eq!(done, !reached, "{change}, {fault:?} at {k}");
        if done {
            undo(&lab.leviathan, change).await;
            return k;
        }
        assert_eq!(lab.snapshot(names).await, before, "{change}, {fault:?} at {k}");
        let members = |model: &poa_leviathan::Model| {
            model
                .cens()
                .values()
                .map(|cen| (cen.members().to_vec(), cen.status()))
                .collect::<Vec<_>>()
        };
        assert_eq!(members(&lab.leviathan.model()), members(&model), "{change}, {fault:?} at {k}");
    }
    unreachable!("the loop ends when no fault is reached")
}

async fn apply(leviathan: &Leviathan, change: &str) -> bool {
    let job = match change {
        "put" => return leviathan.put_member(cen("a"), container("c4")).await.is_ok(),
        "delete" => return leviathan.delete_member("a", "c1").await.is_ok(),
        "import" => {
            return leviathan
                .import_cens(cens(&[("a", &["c2", "c1"]), ("b", &["c4"])]))
                .await
                .is_ok();
        }
        "both" => {
            let made = leviathan.make(&ids(&["a", "b"]), &ids(&["n"])).await.unwrap().wait().await;
            let failed = !made.cens.failed.is_empty();
            assert_eq!(failed, !made.cins.failed.is_empty(), "there is no address without its CEN");
            if failed {
                // As below.
                let done: Vec<&str> = made.cens.done.iter().map(String::as_str).collect();
                destroy(leviathan, &done).await;
            }
            return !failed;
        }
        "make" => leviathan.make_cens(&ids(&["a", "b"])).await,
        "destroy" => leviathan.destroy_cens(&ids(&["a", "b"])).await,
        "address" => leviathan.make_cins(&ids(&["n"])).await,
        _ => leviathan.destroy_cins(&ids(&["n"])).await,
    };
    let report = job.unwrap().wait().await;
    if report.failed.len() == 1 && report.done.len() == 1 {
        // The other CEN of the batch is made; take it back by hand.
        let back = if change == "make" { "destroy" } else { "make" };
        let ids = ids(&[&report.done[0]]);
        let job = if back == "make" {
            leviathan.make_cens(&ids).await
        } else {
            leviathan.destroy_cens(&ids).await
        };
        assert_eq!(job.unwrap().wait().await.failed, []);
    }
    report.failed.is_empty()
}

async fn undo(leviathan: &Leviathan, change: &str) {
    match change {
        "both" => {
            destroy_cins(leviathan, &["n"]).await;
            destroy(leviathan, &["a", "b"]).await;
        }
        "make" => destroy(leviathan, &["a", "b"]).await,
        "destroy" => make(leviathan, &["a", "b"]).await,
        "address" => destroy_cins(leviathan, &["n"]).await,
        "unaddress" => make_cins(leviathan, &["n"]).await,
        "put" => leviathan.delete_member("a", "c4").await.unwrap(),
        "delete" => leviathan.import_cens(cens(&[("a", &["c1", "c2", "c4"])])).await.unwrap(),
        _ => leviathan
            .import_cens(cens(&[("a", &["c2", "c4"]), ("b", &["c2", "c3"])]))
            .await
            .unwrap(),
    }
}
