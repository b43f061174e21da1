//! Requests on a host in memory: statuses, order, failures, two clients.

use std::sync::Arc;
use std::time::Duration;

use poa_leviathan::executor::{Executor as _, Fault, Faults, Recorder};
use poa_leviathan::model::Wiring;
use poa_leviathan::store::SqliteStore;
use poa_leviathan::{Code, Error, Leviathan, Options};

use crate::support::{
    cen, cens, cin_status, cins, container, destroy, destroy_cins, ids, make, make_all, make_cins,
    on, recorded, status,
};

fn code<T>(result: Result<T, Error>) -> Code {
    result.err().expect("it must fail").code()
}

async fn lab() -> (Leviathan, Recorder) {
    let (leviathan, recorder) = recorded(Options::default());
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"]), ("cen2", &["c2", "c3"])])).await.unwrap();
    (leviathan, recorder)
}

#[tokio::test]
async fn a_second_make_changes_nothing() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])])).await.unwrap();
    make(&leviathan, &["cen1", "cen2"]).await;
    make_cins(&leviathan, &["cin1", "cin2"]).await;
    recorder.take();
    make(&leviathan, &["cen2", "cen1"]).await;
    make_cins(&leviathan, &["cin2", "cin1"]).await;
    leviathan.reconcile().await;
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn cens_and_cins_made_as_one_are_those_made_one_after_the_other() {
    let both = cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])]);
    let (apart, one_by_one) = lab().await;
    apart.import_cins(both.clone()).await.unwrap();
    make(&apart, &["cen1", "cen2"]).await;
    make_cins(&apart, &["cin1", "cin2"]).await;
    let (together, at_once) = lab().await;
    together.import_cins(both).await.unwrap();
    make_all(&together, &["cen1", "cen2"], &["cin1", "cin2"]).await;
    assert_eq!(together.model(), apart.model());
    let without_indices = |recorder: &Recorder| {
        let mut host = recorder.host();
        let inside = host.inside.values_mut().flat_map(|inside| inside.links.values_mut());
        for link in host.host.values_mut().chain(inside) {
            (link.index, link.peer, link.master) = (0, None, None);
        }
        host
    };
    assert_eq!(without_indices(&at_once), without_indices(&one_by_one));
    at_once.take();
    make_all(&together, &["cen1", "cen2"], &["cin1", "cin2"]).await;
    assert_eq!(at_once.take(), [], "a second time changes nothing");
}

#[tokio::test]
async fn a_cin_is_made_only_over_cens_that_are() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])])).await.unwrap();
    let both = ids(&["cin1", "cin2"]);
    assert_eq!(code(leviathan.make(&ids(&["cen1"]), &both).await), Code::CenNotReady);
    assert_eq!((status(&leviathan, "cen1"), recorder.take()), ("pending", vec![]));
    recorder.remove_container(&container("c3"));
    let made = leviathan.make(&ids(&["cen2", "cen1"]), &both).await.unwrap().wait().await;
    assert_eq!((&made.cens.done, &made.cins.done), (&ids(&["cen1"]), &ids(&["cin1"])));
    let failed = [&made.cens.failed[0], &made.cins.failed[0]];
    assert_eq!(failed.map(|failed| &*failed.id), ["cen2", "cin2"]);
    assert_eq!(failed.map(|failed| failed.error.code()), [Code::UnknownContainer; 2]);
    assert_eq!(
        (status(&leviathan, "cen2"), cin_status(&leviathan, "cin2")),
        ("pending", "pending")
    );
    assert_eq!((status(&leviathan, "cen1"), cin_status(&leviathan, "cin1")), ("ready", "ready"));
}

#[tokio::test]
async fn destroy_leaves_the_definition() {
    let (leviathan, recorder) = lab().await;
    make(&leviathan, &["cen1", "cen2"]).await;
    destroy(&leviathan, &["cen1", "cen2"]).await;
    assert!(recorder.host().host.is_empty());
    assert_eq!(status(&leviathan, "cen1"), "pending");
    assert_eq!(leviathan.model().cen("cen1").unwrap().members().len(), 2);
}

#[tokio::test]
async fn an_id_that_is_not_known_stops_the_whole_request() {
    let (leviathan, recorder) = lab().await;
    let error = leviathan.make_cens(&ids(&["cen1", "x", "y"])).await.unwrap_err();
    assert_eq!((error.code(), error.details()), (Code::UnknownCen, &ids(&["x", "y"])[..]));
    assert_eq!(status(&leviathan, "cen1"), "pending");
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn what_is_under_way_is_busy_and_shows() {
    let recorder = Recorder::new("host1");
    let faults = Arc::new(Faults::around(Arc::new(recorder)));
    let leviathan = on(faults.clone(), Options::default());
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    faults.arm(1, 1, Fault::Hang);
    let job = leviathan.make_cens(&ids(&["cen1"])).await.unwrap();
    assert_eq!(status(&leviathan, "cen1"), "preparing");
    assert_eq!(code(leviathan.make_cens(&ids(&["cen1"])).await), Code::Busy);
    assert_eq!(code(leviathan.destroy_cens(&ids(&["cen1"])).await), Code::Busy);
    drop(job);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_hangs_is_given_up_and_undone() {
    let recorder = Recorder::new("host1");
    let faults = Arc::new(Faults::around(Arc::new(recorder.clone())));
    let leviathan = on(faults.clone(), Options::default());
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    faults.arm(2, 1, Fault::Hang);
    let report = leviathan.make_cens(&ids(&["cen1"])).await.unwrap().wait().await;
    assert_eq!(report.failed[0].error.code(), Code::Timeout);
    assert!(recorder.host().host.is_empty());
    assert_eq!(status(&leviathan, "cen1"), "pending");
    assert_eq!(leviathan.model().cen("cen1").unwrap().last_error().unwrap().code, "timeout");
    make(&leviathan, &["cen1"]).await;
    assert_eq!(leviathan.model().cen("cen1").unwrap().last_error(), None);
}

#[tokio::test]
async fn one_cen_that_fails_does_not_stop_the_others() {
    let (leviathan, recorder) = lab().await;
    recorder.remove_container(&container("c3"));
    let report = leviathan.make_cens(&ids(&["cen2", "cen1"])).await.unwrap().wait().await;
    assert_eq!(report.done, ["cen1"]);
    assert_eq!(report.failed[0].id, "cen2");
    assert_eq!(report.failed[0].error.code(), Code::UnknownContainer);
    assert!(
        recorder.host().host.contains_key("cen1") && !recorder.host().host.contains_key("cen2")
    );
}

#[tokio::test]
async fn a_rollback_that_fails_is_finished_by_reconciliation() {
    let recorder = Recorder::new("host1");
    let faults = Arc::new(Faults::around(Arc::new(recorder.clone())));
    let leviathan = on(faults.clone(), Options::default());
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    faults.arm(2, usize::MAX, Fault::Before);
    let report = leviathan.make_cens(&ids(&["cen1"])).await.unwrap().wait().await;
    assert_eq!(report.failed.len(), 1);
    assert_eq!(status(&leviathan, "cen1"), "failed");
    faults.disarm();
    leviathan.reconcile().await;
    assert_eq!(status(&leviathan, "cen1"), "pending");
    assert!(recorder.host().host.is_empty());
}

#[tokio::test]
async fn a_foreign_interface_is_never_touched() {
    let (leviathan, recorder) = recorded(Options::default());
    recorder.add_foreign("eth0");
    recorder.add_foreign("c1.0o");
    leviathan.import_cens(cens(&[("eth0", &[]), ("cen1", &["c1", "c2"])])).await.unwrap();
    assert_eq!(code(leviathan.make_cens(&ids(&["eth0"])).await), Code::ForeignInterface);
    let report = leviathan.make_cens(&ids(&["cen1"])).await.unwrap().wait().await;
    assert_eq!(report.failed[0].error.code(), Code::ForeignInterface);
    destroy(&leviathan, &["eth0", "cen1"]).await;
    leviathan.reconcile().await;
    assert_eq!(recorder.take(), []);
    assert_eq!(recorder.host().host.len(), 2);
}

#[tokio::test]
async fn what_was_deleted_by_hand_is_put_back() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    make(&leviathan, &["cen1", "cen2"]).await;
    make_cins(&leviathan, &["cin1"]).await;
    let whole = recorder.host();
    for victim in ["c1.0o", "cen1", "cen2"] {
        recorder.delete(victim);
        leviathan.reconcile().await;
        let names =
            |seen: &poa_leviathan::seen::Seen| seen.host.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&recorder.host()), names(&whole), "{victim}");
        let addresses = &recorder.inside(&container("c1")).links["cen1"].addresses;
        assert_eq!(addresses.len(), 1, "{victim}");
    }
    assert_eq!(status(&leviathan, "cen1"), "ready");
}

#[tokio::test]
async fn a_container_that_restarts_gets_its_wire_and_its_neighbours_keep_theirs() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    make(&leviathan, &["cen1"]).await;
    make_cins(&leviathan, &["cin1"]).await;
    let neighbour = recorder.inside(&container("c2"));
    recorder.remove_container(&container("c1"));
    leviathan.reconcile().await;
    assert!(leviathan.missing().contains(&container("c1")));
    assert_eq!(status(&leviathan, "cen1"), "ready");
    recorder.restore_container(&container("c1"));
    leviathan.reconcile().await;
    assert!(leviathan.missing().is_empty());
    assert_eq!(recorder.inside(&container("c2")), neighbour);
    let inside = recorder.inside(&container("c1"));
    assert_eq!(inside.links["cen1"].addresses.len(), 1);
    assert_eq!(inside.routes.len(), 2);
}

#[tokio::test]
async fn an_import_over_a_made_cen_makes_the_difference() {
    let (leviathan, recorder) = lab().await;
    make(&leviathan, &["cen1", "cen2"]).await;
    recorder.take();
    leviathan.import_cens(cens(&[("cen1", &["c2", "c9", "c4"])])).await.unwrap();
    let done: Vec<String> = recorder.take().iter().map(ToString::to_string).collect();
    assert_eq!(
        done,
        [
            "find the network namespace of c9",
            "find the network namespace of c4",
            "delete wire c1.0i - c1.0o of CEN cen1",
            "make wire c9.0i - c9.0o of CEN cen1",
            "make wire c4.0i - c4.0o of CEN cen1",
        ]
    );
    assert_eq!(status(&leviathan, "cen1"), "ready");
    assert!(leviathan.model().container("c1").is_err());
    leviathan.import_cens(cens(&[("cen1", &["c2", "c9", "c4"])])).await.unwrap();
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn a_member_change_that_fails_leaves_all_as_it_was() {
    let recorder = Recorder::new("host1");
    let faults = Arc::new(Faults::around(Arc::new(recorder.clone())));
    let leviathan = on(faults.clone(), Options::default());
    leviathan.import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c1", "c3"])])).await.unwrap();
    leviathan.import_cins(cins(&[("n", &["a"])])).await.unwrap();
    make(&leviathan, &["a", "b"]).await;
    make_cins(&leviathan, &["n"]).await;
    let (model, names) = (leviathan.model(), recorder.host().host.into_keys().collect::<Vec<_>>());
    for k in 0..3 {
        faults.arm(k, 1, Fault::After);
        let changed = match k {
            0 => leviathan.delete_member("a", "c1").await,
            1 => leviathan.put_member(cen("a"), container("c3")).await,
            _ => leviathan.import_cens(cens(&[("a", &["c3", "c4"])])).await,
        };
        faults.disarm();
        assert_eq!(code(changed), Code::Internal, "{k}");
        assert_eq!(recorder.host().host.into_keys().collect::<Vec<_>>(), names, "{k}");
        let now = leviathan.model();
        assert_eq!(now.cens(), model.cens(), "{k}");
        assert_eq!(now.cins(), model.cins(), "{k}");
        for (id, container) in model.containers() {
            let numbers = |c: &poa_leviathan::model::Container| {
                let mut pairs: Vec<_> =
                    c.cens().iter().map(|cen| (cen.clone(), c.number_in(cen))).collect();
                pairs.sort();
                pairs
            };
            assert_eq!(numbers(now.container(id.as_str()).unwrap()), numbers(container), "{k}");
        }
    }
}

#[tokio::test]
async fn the_default_route_belongs_to_the_smallest_network() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])])).await.unwrap();
    make(&leviathan, &["cen1", "cen2"]).await;
    let owner = || {
        let routes = recorder.inside(&container("c2")).routes;
        let mut defaults = routes.into_iter().filter(|route| route.destination.is_none());
        (defaults.next().map(|route| route.device), defaults.count())
    };
    make_cins(&leviathan, &["cin2"]).await;
    assert_eq!(owner(), (Some("cen2".to_owned()), 0));
    make_cins(&leviathan, &["cin1"]).await;
    assert_eq!(owner(), (Some("cen1".to_owned()), 0));
    destroy_cins(&leviathan, &["cin1"]).await;
    assert_eq!(owner(), (Some("cen2".to_owned()), 0));
    destroy_cins(&leviathan, &["cin2"]).await;
    assert_eq!(owner(), (None, 0));
}

#[tokio::test]
async fn a_cin_joins_its_cens_by_trunks() {
    let (leviathan, recorder) = recorded(Options::default());
    let three = cens(&[("a", &["c1", "c2"]), ("b", &["c2", "c3"]), ("c", &["c4", "c5"])]);
    leviathan.import_cens(three).await.unwrap();
    leviathan.import_cins(cins(&[("n", &["b", "a", "c"])])).await.unwrap();
    assert_eq!(code(leviathan.make_cins(&ids(&["n"])).await), Code::CenNotReady);
    make(&leviathan, &["a", "b", "c"]).await;
    make_cins(&leviathan, &["n"]).await;
    let trunks = |recorder: &Recorder| {
        recorder.host().host.keys().filter(|name| name.starts_with("lt")).count()
    };
    assert_eq!(trunks(&recorder), 4);
    assert_eq!(recorder.host().host["b"].addresses.len(), 1);
    assert!(recorder.host().host["a"].addresses.is_empty());
    // c2 is in two of them: one address, on the first in the list of the CIN.
    let inside = recorder.inside(&container("c2"));
    assert_eq!((inside.links["b"].addresses.len(), inside.links["a"].addresses.len()), (1, 0));
    let order: Vec<String> = leviathan
        .model()
        .cin_members(&poa_leviathan::CinId::new("n").unwrap())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(order, ["c5", "c4", "c3", "c2", "c1"]);
    leviathan.put_member(cen("c"), container("c6")).await.unwrap();
    assert_eq!(
        recorder.inside(&container("c6")).links["c"].addresses[0].0.to_string(),
        "10.10.0.15"
    );
    assert_eq!(code(leviathan.destroy_cens(&ids(&["c"])).await), Code::CenInUse);
    destroy_cins(&leviathan, &["n"]).await;
    assert_eq!(trunks(&recorder), 0);
    assert_eq!(cin_status(&leviathan, "n"), "pending");
}

#[tokio::test]
async fn a_joined_wire_becomes_a_bridge() {
    let (leviathan, recorder) = recorded(Options { wiring: Wiring::Auto, ..Options::default() });
    leviathan.import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c3", "c4"])])).await.unwrap();
    leviathan.import_cins(cins(&[("n", &["a", "b"])])).await.unwrap();
    make(&leviathan, &["a", "b"]).await;
    assert!(recorder.host().host.is_empty());
    make_cins(&leviathan, &["n"]).await;
    assert!(recorder.host().host.contains_key("a") && recorder.host().host.contains_key("b"));
    assert_eq!(recorder.inside(&container("c4")).links["b"].addresses.len(), 1);
    destroy_cins(&leviathan, &["n"]).await;
    assert!(recorder.host().host.is_empty());
    assert!(recorder.inside(&container("c4")).links.contains_key("b"));
}

#[tokio::test]
async fn networks_of_others_are_skipped() {
    let (leviathan, recorder) = lab().await;
    recorder.take_network(10);
    leviathan.import_cins(cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])])).await.unwrap();
    let model = leviathan.model();
    assert_eq!((model.cin("cin1").unwrap().ip_b(), model.cin("cin2").unwrap().ip_b()), (11, 12));
    assert_eq!(code(leviathan.import_cins(cins(&[("x", &["cen1"])])).await), Code::CenAlreadyInCin);
    assert_eq!(leviathan.model().next_ip_b(), 13);
}

#[tokio::test]
async fn deleting_takes_everything_along() {
    let (leviathan, recorder) = lab().await;
    leviathan.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    make(&leviathan, &["cen1", "cen2"]).await;
    make_cins(&leviathan, &["cin1"]).await;
    assert_eq!(code(leviathan.delete_cen("cen1").await), Code::CenInUse);
    leviathan.delete_cin("cin1").await.unwrap();
    leviathan.delete_cen("cen1").await.unwrap();
    leviathan.delete_container("c2").await.unwrap();
    assert_eq!(code(leviathan.delete_container("c2").await), Code::UnknownContainer);
    leviathan.delete_cen("cen2").await.unwrap();
    assert!(recorder.host().host.is_empty());
    assert!(leviathan.model().containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_with_overlapping_cens_agree_in_the_end() {
    let (leviathan, recorder) = recorded(Options::default());
    let client = |leviathan: Leviathan, names: [&'static str; 3]| async move {
        for round in 0..20 {
            let members: [&[&str]; 2] = [&["c1", "c2", "c3"], &["c2", "c4"]];
            let of = |at: usize| members[(round + at) % 2];
            let document = cens(&[(names[0], of(0)), (names[1], of(1)), (names[2], of(0))]);
            let _ = leviathan.import_cens(document).await;
            // A request may be refused while the other client changes the same CENs.
            let jobs = [
                leviathan.make_cens(&ids(&names)).await,
                leviathan.destroy_cens(&ids(&names[..2])).await,
            ];
            for job in jobs.into_iter().flatten() {
                job.wait().await;
            }
        }
    };
    let clients = async {
        tokio::join!(
            client(leviathan.clone(), ["a", "b", "c"]),
            client(leviathan.clone(), ["c", "b", "d"])
        )
    };
    tokio::time::timeout(Duration::from_secs(60), clients).await.expect("no deadlock");
    for name in ["a", "b", "c", "d"] {
        assert!(["ready", "pending"].contains(&status(&leviathan, name)), "{name}");
    }
    recorder.take();
    leviathan.reconcile().await;
    assert_eq!(recorder.take(), [], "the host is where the model says");
}

#[tokio::test]
async fn a_restart_finds_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("networks.db");
    let recorder = Recorder::new("host1");
    let open = || {
        let store = Box::new(SqliteStore::open(&path).unwrap());
        Leviathan::open(Options::default(), Arc::new(recorder.clone()), store).unwrap()
    };
    let first = open();
    first.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    first.import_cins(cins(&[("cin1", &["cen1"])])).await.unwrap();
    first.put_container(container("c7"), Some(Some("blue".to_owned()))).await.unwrap();
    make(&first, &["cen1"]).await;
    make_cins(&first, &["cin1"]).await;
    let model = first.model();
    drop(first);
    // A host that was rebooted has nothing.
    recorder.delete("cen1");
    recorder.delete("c1.0o");
    recorder.delete("c2.0o");
    let second = open();
    assert_eq!(second.model(), model);
    let running = second.run().await;
    assert_eq!(recorder.host().host.len(), 3);
    assert_eq!(recorder.look(&[]).await.unwrap().seen().host["cen1"].addresses.len(), 1);
    running.close(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn events_are_kept_until_they_are_confirmed() {
    let (leviathan, recorder) = recorded(Options { keep_events: true, ..Options::default() });
    leviathan.import_cens(cens(&[("cen1", &["c1", "c2"])])).await.unwrap();
    make(&leviathan, &["cen1"]).await;
    recorder.remove_container(&container("c1"));
    leviathan.reconcile().await;
    destroy(&leviathan, &["cen1"]).await;
    let events = leviathan.unconfirmed(100).await.unwrap();
    let kinds: Vec<String> = events
        .iter()
        .map(|event| {
            serde_json::to_value(&event.event).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        ["container_added", "container_added", "cen_made", "container_missing", "cen_destroyed"]
    );
    leviathan.confirm(events[3].sequence).await.unwrap();
    assert_eq!(leviathan.unconfirmed(100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_thousand_interfaces_are_all() {
    let (leviathan, _) = recorded(Options::default());
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let entries: Vec<(&str, &[&str])> =
        names.iter().map(|name| (name.as_str(), &["c"][..])).collect();
    leviathan.import_cens(cens(&entries)).await.unwrap();
    let one_more = leviathan.put_member(cen("more"), container("c")).await;
    assert_eq!(code(one_more), Code::NoInterfaceNumberLeft);
    assert!(leviathan.model().cen("more").is_err(), "nothing has changed");
}
