//! Changes that others made to the host.

use poa_leviathan::model::Wiring;
use poa_leviathan::store::MemoryStore;
use poa_leviathan::{Code, Options};

use super::{lab, lab_with};
use crate::isolated::{containers, ip, isolated, pings};
use crate::support::{cen, cens, cins, container, destroy, ids, make, make_cins};

#[test]
fn what_a_person_deletes_is_put_back() {
    isolated(module_path!(), "what_a_person_deletes_is_put_back", async {
        let names = ["c1", "c2", "c3"];
        containers(&names);
        let lab = lab(Wiring::AlwaysBus);
        lab.leviathan
            .import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c3", "c1"])]))
            .await
            .unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a", "b"])])).await.unwrap();
        make(&lab.leviathan, &["a", "b"]).await;
        make_cins(&lab.leviathan, &["n"]).await;
        let whole = lab.snapshot(&names).await;
        let trunk =
            lab.look(&[]).await.host.into_keys().find(|name| name.starts_with("lt")).unwrap();
        for damage in [
            "link del c1.0o".to_owned(),
            "-n c2 link del dev a".to_owned(),
            "link del dev a".to_owned(),
            "link set dev c3.0o nomaster".to_owned(),
            "link set dev c3.0o down".to_owned(),
            "link set dev a down".to_owned(),
            "-n c1 link set dev a down".to_owned(),
            "addr del 10.10.0.1/16 dev a".to_owned(),
            "-n c1 addr flush dev a".to_owned(),
            "-n c1 route del default".to_owned(),
            "-n c1 route del 10.10.0.0/16".to_owned(),
            "addr add 10.77.0.1/16 dev b".to_owned(),
            format!("link del {trunk}"),
        ] {
            ip(&damage);
            assert_ne!(lab.snapshot(&names).await, whole, "{damage}");
            lab.leviathan.reconcile().await;
            assert_eq!(lab.snapshot(&names).await, whole, "{damage}");
        }
    });
}

#[test]
fn a_container_that_restarts_is_wired_again() {
    isolated(module_path!(), "a_container_that_restarts_is_wired_again", async {
        containers(&["c1", "c2", "c3"]);
        let options = Options { keep_events: true, ..Options::default() };
        let lab = lab_with(options, Box::new(MemoryStore::default()));
        lab.leviathan.import_cens(cens(&[("a", &["c1", "c2", "c3"])])).await.unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a"])])).await.unwrap();
        make(&lab.leviathan, &["a"]).await;
        make_cins(&lab.leviathan, &["n"]).await;
        let neighbour = lab.look(&["c2"]).await.inside;
        let running = lab.leviathan.run().await;
        let mut told = lab.leviathan.told();
        told.mark_unchanged();
        ip("netns del c1");
        told.changed().await.unwrap();
        assert!(
            lab.leviathan.missing().contains(&container("c1")),
            "the kernel tells, and a pass finds it missing"
        );
        ip("netns add c1");
        lab.leviathan.reconcile().await;
        assert!(pings("c1", "10.10.0.10") && lab.leviathan.missing().is_empty());
        assert_eq!(lab.look(&["c2"]).await.inside, neighbour, "the neighbours keep their links");
        running.close(std::time::Duration::from_secs(10)).await;
    });
}

#[test]
fn what_is_not_ours_stays() {
    isolated(module_path!(), "what_is_not_ours_stays", async {
        containers(&["c1", "c2"]);
        ip("link add cen1 type bridge");
        ip("link add c1.0o type veth peer name other");
        ip("-n c2 link add cen3 type bridge");
        let lab = lab(Wiring::AlwaysBus);
        let l = &lab.leviathan;
        let before = lab.snapshot(&["c1", "c2"]).await;
        l.import_cens(cens(&[("cen1", &[]), ("cen2", &["c1", "c2"]), ("cen3", &["c2", "c1"])]))
            .await
            .unwrap();
        assert_eq!(l.make_cens(&ids(&["cen1"])).await.unwrap_err().code(), Code::ForeignInterface);
        let report = l.make_cens(&ids(&["cen2", "cen3"])).await.unwrap().wait().await;
        let codes: Vec<Code> = report.failed.iter().map(|failed| failed.error.code()).collect();
        assert_eq!(codes, [Code::ForeignInterface, Code::ForeignInterface]);
        destroy(l, &["cen1", "cen2", "cen3"]).await;
        let running = l.run().await;
        assert_eq!(lab.snapshot(&["c1", "c2"]).await, before);
        running.close(std::time::Duration::from_secs(10)).await;
    });
}

#[test]
fn strays_of_ours_go_and_others_stay() {
    isolated(module_path!(), "strays_of_ours_go_and_others_stay", async {
        containers(&["c1", "c9"]);
        // A run that died between the message that makes a pair and the one that names it leaves this.
        ip(
            "link add lost group 1281717865 address 0a:4c:01:02:03:04 type veth peer name lost2 netns c9",
        );
        ip("link add old type bridge");
        ip("link set old alias leviathan:old");
        ip("link add mine type bridge");
        ip("link set mine alias uplink:mine");
        let lab = lab(Wiring::AlwaysBus);
        let running = lab.leviathan.run().await;
        let names: Vec<String> = lab.look(&[]).await.host.into_keys().collect();
        assert_eq!(names, ["lo", "mine"]);
        running.close(std::time::Duration::from_secs(10)).await;
    });
}

#[test]
fn a_member_that_is_not_there_is_named() {
    isolated(module_path!(), "a_member_that_is_not_there_is_named", async {
        containers(&["c1", "c2"]);
        let lab = lab(Wiring::AlwaysBus);
        let l = &lab.leviathan;
        l.import_cens(cens(&[("a", &["c1", "c2", "gone"])])).await.unwrap();
        let report = l.make_cens(&ids(&["a"])).await.unwrap().wait().await;
        assert_eq!(report.failed[0].error.code(), Code::UnknownContainer);
        assert!(report.failed[0].error.to_string().contains("ip netns add gone"));
        assert_eq!(lab.look(&[]).await.host.len(), 1, "nothing was made");
        l.import_cens(cens(&[("a", &["c1", "c2"])])).await.unwrap();
        make(l, &["a"]).await;
        let before = lab.snapshot(&["c1", "c2"]).await;
        assert_eq!(
            l.put_member(cen("a"), container("gone")).await.unwrap_err().code(),
            Code::UnknownContainer
        );
        assert_eq!(lab.snapshot(&["c1", "c2"]).await, before);
        assert_eq!(l.model().cen("a").unwrap().members().len(), 2);
    });
}
