//! Real bridges, pairs and addresses, in namespaces of the test's own.
//!
//! Each test runs itself again inside `unshare`: a user namespace where the system allows one, so that no privilege is needed and the machine is
//! never touched. Containers are named network namespaces there.

use std::process::Command;
use std::sync::Arc;

use poa_leviathan::executor::{Executor, Fault, Faults, Netlink};
use poa_leviathan::model::Wiring;
use poa_leviathan::resolver::NamedNamespaces;
use poa_leviathan::seen::{Link, Owner, Seen};
use poa_leviathan::store::{MemoryStore, SqliteStore};
use poa_leviathan::{Code, ContainerId, Leviathan, Options};

use crate::support::{
    cen, cens, cin_status, cins, container, destroy, destroy_cins, ids, make, make_cins, status,
};

/// Set inside; its value is the name of the test, or the operation before which a victim dies.
const INSIDE: &str = "LEVIATHAN_TEST_INSIDE";
const VICTIM: &str = "LEVIATHAN_TEST_DIES_BEFORE";
const STORE: &str = "LEVIATHAN_TEST_STORE";

const CURE: &str = "the kernel tests need `unshare` of util-linux, `ip` of iproute2, `ping`, and either root or unprivileged user \
    namespaces (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)";

/// Runs a test in namespaces of its own.
fn isolated(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(test);
    }
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    outer.arg(std::env::current_exe().unwrap());
    outer.args(["--exact", &format!("kernel::{name}"), "--nocapture"]).env(INSIDE, name);
    let output = outer.output().unwrap_or_else(|error| panic!("{CURE}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n({CURE})");
    assert!(text.contains("1 passed"), "{text}");
}

fn prepare() {
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    run("ip", &["link", "set", "lo", "up"]);
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; {CURE}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(args: &str) -> String {
    run("ip", &args.split(' ').collect::<Vec<_>>())
}

fn containers(names: &[&str]) {
    for name in names {
        ip(&format!("netns add {name}"));
    }
}

fn pings(from: &str, to: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", from, "ping", "-c1", "-W2", to]);
    command.output().unwrap_or_else(|error| panic!("ping: {error}; {CURE}")).status.success()
}

struct Lab {
    netlink: Arc<Netlink>,
    faults: Arc<Faults>,
    leviathan: Leviathan,
}

fn lab_with(options: Options, store: Box<dyn poa_leviathan::store::Store>) -> Lab {
    let netlink = Arc::new(Netlink::new("host1", Arc::new(NamedNamespaces::default())));
    let faults = Arc::new(Faults::around(netlink.clone()));
    let leviathan = Leviathan::open(options, faults.clone(), store).unwrap();
    Lab { netlink, faults, leviathan }
}

fn lab(wiring: Wiring) -> Lab {
    lab_with(Options { wiring, ..Options::default() }, Box::new(MemoryStore::default()))
}

impl Lab {
    async fn look(&self, names: &[&str]) -> Seen {
        let names: Vec<ContainerId> = names.iter().map(|name| container(name)).collect();
        self.netlink.look(&names).await.unwrap().seen().clone()
    }

    /// The state without indices.
    async fn snapshot(&self, names: &[&str]) -> String {
        let seen = self.look(names).await;
        let master = |link: &Link| {
            let bridge = seen.host.iter().find(|(_, bridge)| Some(bridge.index) == link.master);
            bridge.map(|(name, _)| name.clone())
        };
        let mut text = String::new();
        for (name, link) in &seen.host {
            let (owner, up, addresses) = (&link.owner, link.up, &link.addresses);
            text += &format!("{name} {owner:?} up={up} in {:?} {addresses:?}\n", master(link));
        }
        for (id, inside) in &seen.inside {
            for (name, link) in &inside.links {
                text +=
                    &format!("{id}: {name} {:?} up={} {:?}\n", link.owner, link.up, link.addresses);
            }
            let mut routes: Vec<String> =
                inside.routes.iter().map(|route| format!("{route:?}")).collect();
            routes.sort();
            text += &format!("{id}: {routes:?}\n");
        }
        text
    }
}

#[test]
fn a_bus_is_made_and_destroyed() {
    isolated("a_bus_is_made_and_destroyed", async {
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
    isolated("a_second_make_sends_nothing_that_changes", async {
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
    isolated("addresses_reach_their_network_and_no_other", async {
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
    isolated("a_cin_over_three_cens_is_one_network", async {
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
    isolated("wiring_changes_with_the_members_and_keeps_the_addresses", async {
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
fn what_a_person_deletes_is_put_back() {
    isolated("what_a_person_deletes_is_put_back", async {
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
    isolated("a_container_that_restarts_is_wired_again", async {
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
    isolated("what_is_not_ours_stays", async {
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
    isolated("strays_of_ours_go_and_others_stay", async {
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
    isolated("a_member_that_is_not_there_is_named", async {
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

/// One change after the other, each failing at every point; the host is then as it was.
#[test]
fn a_fault_at_every_point_leaves_the_host_as_it_was() {
    isolated("a_fault_at_every_point_leaves_the_host_as_it_was", async {
        let names = ["c1", "c2", "c3", "c4"];
        containers(&names);
        let lab = lab(Wiring::Auto);
        lab.leviathan
            .import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c2", "c3"])]))
            .await
            .unwrap();
        lab.leviathan.import_cins(cins(&[("n", &["a", "b"])])).await.unwrap();
        let mut points = 0;
        for change in ["make", "address", "put", "delete", "import", "unaddress", "destroy"] {
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

/// The life of networks, each step waited for. Every step can be done again.
async fn life(leviathan: &Leviathan) {
    leviathan.import_cens(cens(&[("a", &["c1", "c2"]), ("b", &["c2", "c3"])])).await.unwrap();
    leviathan.import_cins(cins(&[("n", &["a", "b"])])).await.unwrap();
    make(leviathan, &["a", "b"]).await;
    make_cins(leviathan, &["n"]).await;
    leviathan.put_member(cen("b"), container("c4")).await.unwrap();
    leviathan.delete_member("a", "c1").await.unwrap();
    leviathan.put_member(cen("a"), container("c1")).await.unwrap();
}

/// Dies by SIGKILL before one operation.
#[derive(Debug)]
struct Victim {
    inner: Arc<dyn Executor>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

struct VictimSession {
    inner: Box<dyn poa_leviathan::executor::Session>,
    left: Arc<std::sync::atomic::AtomicUsize>,
}

#[async_trait::async_trait]
impl Executor for Victim {
    async fn look(
        &self,
        containers: &[ContainerId],
    ) -> Result<Box<dyn poa_leviathan::executor::Session>, poa_leviathan::Error> {
        let inner = self.inner.look(containers).await?;
        Ok(Box::new(VictimSession { inner, left: self.left.clone() }))
    }
}

#[async_trait::async_trait]
impl poa_leviathan::executor::Session for VictimSession {
    fn seen(&self) -> &Seen {
        self.inner.seen()
    }

    async fn apply(
        &mut self,
        operation: &poa_leviathan::operation::Operation,
    ) -> Result<(), poa_leviathan::Error> {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            let me = std::process::id().to_string();
            run("kill", &["-9", &me]);
        }
        self.inner.apply(operation).await
    }
}

/// Not a test of its own: what the next one kills.
async fn be_a_victim(before: &str) {
    let store = SqliteStore::open(std::env::var(STORE).unwrap().as_ref()).unwrap();
    let inner = Arc::new(Netlink::new("host1", Arc::new(NamedNamespaces::default())));
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(before.parse().unwrap()));
    let victim = Victim { inner, left };
    let leviathan = Leviathan::open(Options::default(), Arc::new(victim), Box::new(store)).unwrap();
    life(&leviathan).await;
}

#[test]
fn a_kill_between_any_two_operations_is_made_good() {
    if let Ok(before) = std::env::var(VICTIM) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(be_a_victim(&before));
    }
    isolated("a_kill_between_any_two_operations_is_made_good", async {
        let names = ["c1", "c2", "c3", "c4"];
        containers(&names);
        let clean = lab(Wiring::AlwaysBus);
        life(&clean.leviathan).await;
        let expected = clean.snapshot(&names).await;
        destroy_cins(&clean.leviathan, &["n"]).await;
        destroy(&clean.leviathan, &["a", "b"]).await;
        for k in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let mut victim = Command::new(std::env::current_exe().unwrap());
            victim.args(["--exact", "kernel::a_kill_between_any_two_operations_is_made_good"]);
            victim.env(VICTIM, k.to_string()).env(STORE, &path);
            let lived = victim.output().unwrap().status.success();
            let store = Box::new(SqliteStore::open(&path).unwrap());
            let next = lab_with(Options::default(), store);
            let running = next.leviathan.run().await;
            let model = next.leviathan.model();
            assert!(model.cens().values().all(|cen| !cen.status().is_busy()), "killed before {k}");
            life(&next.leviathan).await;
            assert_eq!(next.snapshot(&names).await, expected, "killed before {k}");
            destroy_cins(&next.leviathan, &["n"]).await;
            destroy(&next.leviathan, &["a", "b"]).await;
            assert_eq!(next.look(&[]).await.host.len(), 1, "killed before {k}");
            running.close(std::time::Duration::from_secs(10)).await;
            if lived {
                assert!(k > 15, "there are more operations than {k}");
                return;
            }
        }
    });
}

/// Two clients import, make, change and destroy the same CENs at once; then all is as one client alone would have it.
#[test]
fn two_clients_leave_what_one_would() {
    isolated("two_clients_leave_what_one_would", async {
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
    isolated("the_kernel_agrees_with_the_host_in_memory", async {
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

#[test]
fn statuses_follow() {
    isolated("statuses_follow", async {
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

/// A container as Docker has it: a process in a network namespace of its own.
#[cfg(feature = "docker")]
fn process() -> u32 {
    let child = Command::new("unshare").args(["--net", "--", "sleep", "infinity"]).spawn();
    let pid = child.unwrap_or_else(|error| panic!("{CURE}: {error}")).id();
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).unwrap();
    while namespace(&pid.to_string()) == namespace("self") {
        std::thread::yield_now();
    }
    pid
}

#[cfg(feature = "docker")]
#[test]
fn containers_of_docker_are_joined_and_wired_again() {
    use poa_leviathan::docker::Docker;
    isolated("containers_of_docker_are_joined_and_wired_again", async {
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

#[cfg(feature = "docker")]
fn fake_pid(fake: &crate::fake_docker::FakeDocker, id: &str) -> String {
    fake.containers()[id]["State"]["Pid"].to_string()
}
