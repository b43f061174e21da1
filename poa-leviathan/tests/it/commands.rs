//! The vectors of host commands: requests on a host in memory, the operations as the commands of the original.

use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use poa_leviathan::document::{CenDocument, CinDocument, Pool, id_list, pools};
use poa_leviathan::engine::Containers;
use poa_leviathan::executor::Recorder;
use poa_leviathan::model::Wiring;
use poa_leviathan::render::Style;
use poa_leviathan::{ContainerId, Error, Leviathan, Options};
use serde_json::Value;

use crate::support::{cen, cens, container, make, on, recorded, vectors};

/// Does what a request of a vector asks for, and waits for the end.
async fn request(leviathan: &Leviathan, request: &Value) {
    let path: Vec<&str> = request["path"].as_str().unwrap().split('/').skip(1).collect();
    let body = request["body"].to_string();
    let body = body.as_bytes();
    match (request["method"].as_str().unwrap(), &*path) {
        ("POST", ["cen", "import"]) => {
            leviathan.import_cens(CenDocument::parse(body).unwrap()).await.unwrap()
        }
        ("POST", ["cin", "import"]) => {
            leviathan.import_cins(CinDocument::parse(body).unwrap()).await.unwrap()
        }
        ("POST", [kind, action]) => {
            let ids = id_list(body).unwrap();
            let job = match (*kind, *action) {
                ("cen", "make") => leviathan.make_cens(&ids).await,
                ("cen", "destroy") => leviathan.destroy_cens(&ids).await,
                ("cin", "make") => leviathan.make_cins(&ids).await,
                _ => leviathan.destroy_cins(&ids).await,
            };
            assert_eq!(job.unwrap().wait().await.failed, [], "{request}");
        }
        ("POST", ["cpool"]) => leviathan.start_pools(pools(body).unwrap()).await.unwrap(),
        ("PUT", ["host", _, member, id]) => {
            leviathan.put_member(cen(id), container(member)).await.unwrap()
        }
        ("DELETE", ["host", _, member, id]) => leviathan.delete_member(id, member).await.unwrap(),
        _ => panic!("unknown request {request}"),
    }
}

/// One block of commands for each operation.
fn blocks(recorder: &Recorder) -> Vec<Vec<String>> {
    let style = Style::original("/host");
    recorder.take().iter().map(|operation| style.commands(operation)).collect()
}

fn strings(block: &Value) -> Vec<String> {
    block.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// The block that a sane implementation has in place of one of the original.
fn sane(phase: &str, mut block: Vec<String>) -> Vec<String> {
    match phase {
        // With one end, the other goes, and `type veth peer` is refused.
        "wire_down" => {
            let last = block.pop().unwrap();
            vec![last.trim_end_matches(" type veth peer").to_owned()]
        }
        // The kernel drops the routes with the address, so they go first (4.3).
        "cin_cont_addr_del" => {
            let address = block.remove(1);
            block.push(address);
            block
        }
        _ => block,
    }
}

/// Compares phase by phase; where the order is free, as sets.
fn compare(id: &Value, step: &Value, mut found: Vec<Vec<String>>) {
    for phase in step["host_commands"].as_array().unwrap() {
        let name = phase["phase"].as_str().unwrap();
        if name == "docker_run" {
            continue;
        }
        let expected = phase["blocks"].as_array().unwrap().iter();
        let mut expected: Vec<_> = expected.map(|block| sane(name, strings(block))).collect();
        let rest = found.split_off(expected.len().min(found.len()));
        if phase["order"] == "any" {
            expected.sort();
            found.sort();
        }
        assert_eq!(found, expected, "{id}, {name} after {}", step["request"]["path"]);
        found = rest;
    }
    assert_eq!(found, Vec::<Vec<String>>::new(), "{id}: more after {}", step["request"]["path"]);
}

#[tokio::test]
async fn requests_become_commands() {
    // The others are below, since a sane implementation does something else.
    let alike = |vector: &&Value| ["H01", "H02", "H07"].contains(&vector["id"].as_str().unwrap());
    let all = vectors("host_commands");
    assert_eq!(all.iter().filter(alike).count(), 3);
    for vector in all.iter().filter(alike) {
        let (leviathan, recorder) = recorded(Options::default());
        for step in vector["original"].as_array().unwrap() {
            request(&leviathan, &step["request"]).await;
            compare(&vector["id"], step, blocks(&recorder));
        }
    }
}

/// Runs all but the last steps of a vector.
async fn prepared(id: &str, last: usize) -> (Leviathan, Recorder, Vec<Value>) {
    let vector = vectors("host_commands").into_iter().find(|vector| vector["id"] == id).unwrap();
    let mut steps = vector["original"].as_array().unwrap().clone();
    let rest = steps.split_off(steps.len() - last);
    let (leviathan, recorder) = recorded(Options::default());
    for step in steps {
        request(&leviathan, &step["request"]).await;
    }
    recorder.take();
    (leviathan, recorder, rest)
}

/// H05: the original gives number 0 a second time.
#[tokio::test]
async fn a_further_membership_has_a_number_of_its_own() {
    let (leviathan, recorder, rest) = prepared("H05", 1).await;
    request(&leviathan, &rest[0]["request"]).await;
    let text = rest[0].to_string().replace("c1.0", "c1.1");
    compare(&"H05".into(), &serde_json::from_str(&text).unwrap(), blocks(&recorder));
}

/// H09: the original gives a new member of a made CIN no address.
#[tokio::test]
async fn a_member_of_a_made_cin_gets_an_address() {
    let (leviathan, recorder, rest) = prepared("H09", 2).await;
    request(&leviathan, &rest[0]["request"]).await;
    let mut found = blocks(&recorder);
    let address = found.pop().unwrap();
    assert_eq!(
        address,
        [
            "docker inspect -f '{{.State.Pid}}' cont9",
            "ip netns exec {pid:cont9} ip addr add 10.10.0.12/0 dev cen1",
            "ip netns exec {pid:cont9} ip route add 10.10.0.0/16 dev cen1",
            "ip netns exec {pid:cont9} ip route add default dev cen1",
        ]
    );
    compare(&"H09".into(), &rest[0], found);
    request(&leviathan, &rest[1]["request"]).await;
    compare(&"H09".into(), &rest[1], blocks(&recorder));
    let taken = leviathan.model().addresses(&poa_leviathan::CinId::new("cin1").unwrap());
    let taken: Vec<String> = taken.iter().map(|address| address.ip.to_string()).collect();
    assert_eq!(taken, ["10.10.0.10", "10.10.0.12"], "cont1's 10.10.0.11 is free");
}

#[derive(Debug, Default)]
struct Coffee(AtomicUsize);

#[async_trait]
impl Containers for Coffee {
    async fn start(&self, _: &Pool) -> Result<ContainerId, Error> {
        let n = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        ContainerId::new(format!("c0ffee{n:06}"))
    }

    async fn remove(&self, _: &ContainerId) -> Result<(), Error> {
        Ok(())
    }
}

/// H10: CENs in order of first appearance, where the original had that of a hash table.
#[tokio::test]
async fn pools_join_their_cens_in_order() {
    let all = vectors("host_commands");
    let vector = all.iter().find(|vector| vector["id"] == "H10").unwrap();
    let recorder = Recorder::new("host1");
    let leviathan = on(Arc::new(recorder.clone()), Options::default());
    let leviathan = leviathan.with_containers(Arc::new(Coffee::default()));
    request(&leviathan, &vector["original"][0]["request"]).await;
    let found = blocks(&recorder);
    assert_eq!(found[0], ["brctl addbr cen1", "ifconfig cen1 up"]);
    let pairs: Vec<&str> = found
        .iter()
        .map(|block| &*block[0])
        .filter(|line| line.starts_with("ip link add"))
        .collect();
    assert_eq!(pairs.len(), 9);
    assert_eq!(pairs[0], "ip link add c0ffee000001.0i type veth peer name c0ffee000001.0o");
    assert_eq!(pairs[3], "ip link add c0ffee000001.1i type veth peer name c0ffee000001.1o");
    assert_eq!(pairs[8], "ip link add c0ffee000006.0i type veth peer name c0ffee000006.0o");
}

fn first_words(recorder: &Recorder) -> Vec<String> {
    recorder.take().iter().map(ToString::to_string).collect()
}

/// The table of section 3.7, up and down, on a CEN that is made.
#[tokio::test]
async fn automatic_wiring_changes_with_the_members() {
    let (leviathan, recorder) = recorded(Options { wiring: Wiring::Auto, ..Options::default() });
    leviathan.import_cens(cens(&[("n", &[])])).await.unwrap();
    make(&leviathan, &["n"]).await;
    assert_eq!(first_words(&recorder), [""; 0]);
    let mut seen = Vec::new();
    for member in ["a", "b", "c", "d"] {
        leviathan.put_member(cen("n"), container(member)).await.unwrap();
        seen.push(first_words(&recorder));
    }
    for member in ["d", "c", "b", "a"] {
        leviathan.delete_member("n", member).await.unwrap();
        seen.push(first_words(&recorder));
    }
    let netns = |id: &str| format!("find the network namespace of {id}");
    let up = |id: &str| format!("make wire {id}.0i - {id}.0o of CEN n");
    let down = |id: &str| format!("delete wire {id}.0i - {id}.0o of CEN n");
    let direct = |what: &str| format!("{what} wire a.0i - b.0i of CEN n");
    let expected = [
        vec![netns("a")],
        vec![netns("b"), direct("make")],
        vec!["make bridge n".to_owned(), netns("c"), direct("delete"), up("a"), up("b"), up("c")],
        vec![netns("d"), up("d")],
        vec![down("d")],
        vec!["delete bridge n".to_owned(), down("a"), down("b"), down("c"), direct("make")],
        vec![direct("delete")],
        vec![],
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_commands_of_a_direct_wire() {
    let (leviathan, recorder) = recorded(Options { wiring: Wiring::Auto, ..Options::default() });
    leviathan.import_cens(cens(&[("n", &["a", "b"])])).await.unwrap();
    make(&leviathan, &["n"]).await;
    let up = blocks(&recorder).pop().unwrap();
    assert_eq!(
        up,
        [
            "ip link add a.0i type veth peer name b.0i",
            "docker inspect -f '{{.State.Pid}}' a",
            "ip link set a.0i netns {pid:a}",
            "ip netns exec {pid:a} ip link set dev a.0i name n",
            "ip netns exec {pid:a} ip link set n up",
            "docker inspect -f '{{.State.Pid}}' b",
            "ip link set b.0i netns {pid:b}",
            "ip netns exec {pid:b} ip link set dev b.0i name n",
            "ip netns exec {pid:b} ip link set n up",
        ]
    );
}
