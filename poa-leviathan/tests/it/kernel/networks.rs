//! Networks come, change and go.

use poa_leviathan::model::Wiring;

use super::lab;
use crate::isolated::{containers, ip, isolated, pings};
use crate::support::{
    cen, cens, cin_status, cins, container, destroy, destroy_cins, make, make_cins, status,
};

#[test]
fn a_bus_is_made_and_destroyed() {
    isolated(module_path!(), "a_bus_is_made_and_destroyed", async {
        containers(&["c1", "c2", "c0ffee000001"]);
        let lab = lab(Wiring::AlwaysBus);
        let before = lab.snapshot(&["c1", "c2", "c0ffee000001"]).await;
        lab.leviathan.import_cens(cens(&[("cen1", &["c1", "c2", "c0ffee000001"])])).await.unwrap();
        make(&lab.leviathan, &["cen1"]).await;
        let shown = ip("-d link show c1.0o");
        assert!(
            shown.contains("master cen1") && shown.contains("alias leviathan:cen1:c1:0"),
            "{shown}"
        );
        let inside = ip("-n c0ffee000001 link show cen1");
        assert!(
            inside.contains("state UP") && inside.contains("alias leviathan:cen1:c0ffee000001:0"),
            "{inside}"
        );
        assert!(ip("link show cen1").contains("alias leviathan:cen1\n"));
        let six = ip("-6 addr show");
        assert!(
            !six.contains("c1.0o") && !six.contains("cen1"),
            "no IPv6 address on the host: {six}"
        );
        ip("-n c1 addr add 192.0.2.1/24 dev cen1");
        ip("-n c2 addr add 192.0.2.2/24 dev cen1");
        assert!(pings("c1", "192.0.2.2"), "a segment joins its members");
        destroy(&lab.leviathan, &["cen1"]).await;
        assert_eq!(lab.snapshot(&["c1", "c2", "c0ffee000001"]).await, before);
    });
}

#[test]
fn a_second_make_sends_nothing_that_changes() {
    isolated(module_path!(), "a_second_make_sends_nothing_that_changes", async {
        containers(&["c1", "c2", "c3"]);
        let lab = lab(Wiring::AlwaysBus);
        lab.leviathan
            .import_cens(cens(&[("cen1", &["c1", "c2"]), ("cen2", &["c2", "c3"])]))
            .await
            .unwrap();
        lab.leviathan.import_cins(cins(&[("cin1", &["cen1", "cen2"])])).await.unwrap();
        make(&lab.leviathan, &["cen1", "cen2"]).await;
        make_cins(&lab.leviathan, &["cin1"]).await;
        let writes = lab.netlink.writes();
        assert!(writes > 0);
        make(&lab.leviathan, &["cen1", "cen2"]).await;
        make_cins(&lab.leviathan, &["cin1"]).await;
        lab.leviathan.reconcile().await;
        assert_eq!(lab.netlink.writes(), writes);
    });
}

#[test]
fn addresses_reach_their_network_and_no_other() {
    isolated(module_path!(), "addresses_reach_their_network_and_no_other", async {
        containers(&["cont1", "cont2", "cont3"]);
        let lab = lab(Wiring::AlwaysBus);
        lab.leviathan
            .import_cens(cens(&[("cen1", &["cont1", "cont2"]), ("cen2", &["cont2", "cont3"])]))
            .await
            .unwrap();
        lab.leviathan.import_cins(cins(&[("cin1", &["cen1"]), ("cin2", &["cen2"])])).await.unwrap();
        make(&lab.leviathan, &["cen1", "cen2"]).await;
        make_cins(&lab.leviathan, &["cin2", "cin1"]).await;
        assert!(pings("cont1", "10.10.0.10"), "cont2");
        assert!(pings("cont1", "10.10.0.1"), "the bridge");
        assert!(pings("cont3", "10.11.0.11"), "cont2 in its other network");
        assert!(!pings("cont1", "10.11.0.10"), "cont3 is in another network");
        let routes = ip("-n cont2 route show");
        assert!(
            routes.contains("default dev cen1") && !routes.contains("default dev cen2"),
            "{routes}"
        );
        destroy_cins(&lab.leviathan, &["cin1"]).await;
        assert!(ip("-n cont2 route show").contains("default dev cen2"));
        assert!(!pings("cont1", "10.10.0.10"));
        destroy_cins(&lab.leviathan, &["cin2"]).await;
        assert_eq!(ip("-n cont2 -4 addr show"), "");
        assert_eq!(ip("-n cont2 route show"), "");
    });
}

#[test]
fn a_cin_over_three_cens_is_one_network() {
    isolated(module_path!(), "a_cin_over_three_cens_is_one_network", async {
        let names = ["a1", "a2", "b1", "b2", "c1", "c2", "x1", "x2"];
        containers(&names);
        let lab = lab(Wiring::Auto);
        let before = lab.snapshot(&names).await;
        let entries: [(&str, &[&str]); 4] = [
            ("a", &["a1", "a2"]),
            ("b", &["b1", "b2"]),
            ("c", &["c1", "c2"]),
            ("x", &["x1", "x2"]),
        ];
        lab.leviathan.import_cens(cens(&entries)).await.unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a", "b", "c"]), ("o", &["x"])])).await.unwrap();
        make(&lab.leviathan, &["a", "b", "c", "x"]).await;
        make_cins(&lab.leviathan, &["n", "o"]).await;
        let model = lab.leviathan.model();
        let members = model.addresses(&poa_leviathan::CinId::new("n").unwrap());
        assert_eq!(members.len(), 6);
        for from in &members {
            for to in members.iter().filter(|to| to.container != from.container) {
                let to = to.ip.to_string();
                assert!(pings(from.container.as_str(), &to), "{} to {to}", from.container);
            }
        }
        assert!(pings("x1", "10.11.0.10"));
        assert!(!pings("x1", "10.10.0.10") && !pings("a1", "10.11.0.10"));
        destroy_cins(&lab.leviathan, &["n", "o"]).await;
        assert!(!ip("link show").contains(": lt"), "the trunks go with the CIN");
        destroy(&lab.leviathan, &["a", "b", "c", "x"]).await;
        assert_eq!(lab.snapshot(&names).await, before);
    });
}

#[test]
fn wiring_changes_with_the_members_and_keeps_the_addresses() {
    isolated(module_path!(), "wiring_changes_with_the_members_and_keeps_the_addresses", async {
        containers(&["c1", "c2", "c3"]);
        for wiring in [Wiring::Auto, Wiring::AlwaysBus] {
            let lab = lab(wiring);
            let l = &lab.leviathan;
            l.import_cens(cens(&[("n", &["c1", "c2"])])).await.unwrap();
            l.import_cins(cins(&[("cin", &["n"])])).await.unwrap();
            make(l, &["n"]).await;
            make_cins(l, &["cin"]).await;
            assert!(pings("c1", "10.10.0.10"), "{wiring:?}: two");
            l.put_member(cen("n"), container("c3")).await.unwrap();
            assert!(pings("c1", "10.10.0.10") && pings("c3", "10.10.0.11"), "{wiring:?}: three");
            assert!(pings("c3", "10.10.0.1"), "{wiring:?}: the bridge");
            l.delete_member("n", "c3").await.unwrap();
            assert!(pings("c1", "10.10.0.10"), "{wiring:?}: two again");
            l.delete_member("n", "c2").await.unwrap();
            assert!(!ip("-n c1 link show").contains(" n@"), "{wiring:?}: one");
            l.put_member(cen("n"), container("c2")).await.unwrap();
            assert!(pings("c1", "10.10.0.10"), "{wiring:?}: c2 takes the number that is free");
            destroy_cins(l, &["cin"]).await;
            destroy(l, &["n"]).await;
        }
    });
}

#[test]
fn statuses_follow() {
    isolated(module_path!(), "statuses_follow", async {
        containers(&["c1", "c2"]);
        let lab = lab(Wiring::AlwaysBus);
        lab.leviathan.import_cens(cens(&[("a", &["c1", "c2"])])).await.unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a"])])).await.unwrap();
        assert_eq!(status(&lab.leviathan, "a"), "pending");
        make(&lab.leviathan, &["a"]).await;
        make_cins(&lab.leviathan, &["n"]).await;
        assert_eq!(
            (status(&lab.leviathan, "a"), cin_status(&lab.leviathan, "n")),
            ("ready", "ready")
        );
    });
}

/// From none to three members and back, without addresses: what the kernel has follows.
#[test]
fn wiring_follows_the_members() {
    isolated(module_path!(), "wiring_follows_the_members", async {
        let names = ["c1", "c2", "c3"];
        containers(&names);
        for (wiring, ports) in [(Wiring::AlwaysBus, [0, 2, 3]), (Wiring::Auto, [0, 0, 3])] {
            let lab = lab(wiring);
            let l = &lab.leviathan;
            l.put_cen(cen("n")).await.unwrap();
            make(l, &["n"]).await;
            let check = async |members: usize| {
                let seen = lab.look(&names).await;
                let outside = seen.host.keys().filter(|name| name.ends_with('o') && *name != "lo");
                assert_eq!(
                    outside.count(),
                    ports[members.saturating_sub(1)],
                    "{wiring:?} {members}"
                );
                let inside =
                    names.iter().filter(|name| ip(&format!("-n {name} link")).contains(" n@"));
                let wired = if members > 1 { members } else { 0 };
                assert_eq!(inside.count(), wired, "{wiring:?} {members}");
                let has_bridge = wiring == Wiring::AlwaysBus || members > 2;
                assert_eq!(seen.host.contains_key("n"), has_bridge, "{wiring:?} {members}");
            };
            check(0).await;
            for (n, name) in names.iter().enumerate() {
                l.put_member(cen("n"), container(name)).await.unwrap();
                check(n + 1).await;
            }
            for (n, name) in names.iter().enumerate() {
                l.delete_member("n", name).await.unwrap();
                check(2 - n).await;
            }
            destroy(l, &["n"]).await;
        }
    });
}

#[test]
fn a_name_that_is_too_long_for_an_interface_is_hashed() {
    isolated(module_path!(), "a_name_that_is_too_long_for_an_interface_is_hashed", async {
        let long = "a-container-whose-name-is-longer-than-an-interface-can-be";
        containers(&[long, "c2"]);
        let lab = lab(Wiring::AlwaysBus);
        lab.leviathan.import_cens(cens(&[("exactly15bytes-", &[long, "c2"])])).await.unwrap();
        make(&lab.leviathan, &["exactly15bytes-"]).await;
        let alias = format!("alias leviathan:exactly15bytes-:{long}:0");
        let shown = ip("-d link show");
        assert!(shown.contains(&alias) && shown.contains(": lv"), "{shown}");
        ip(&format!("-n {long} addr add 192.0.2.1/24 dev exactly15bytes-"));
        ip("-n c2 addr add 192.0.2.2/24 dev exactly15bytes-");
        assert!(pings("c2", "192.0.2.1"));
        destroy(&lab.leviathan, &["exactly15bytes-"]).await;
        assert_eq!(lab.look(&[]).await.host.len(), 1);
    });
}
