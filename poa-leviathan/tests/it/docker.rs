//! Docker, against a daemon that starts nothing.

use std::sync::Arc;
use std::time::Duration;

use poa_leviathan::docker::Docker;
use poa_leviathan::document::{Pool, Switch, pools};
use poa_leviathan::engine::Containers as _;
use poa_leviathan::executor::{Executor as _, Netlink, Recorder};
use poa_leviathan::resolver::Resolver as _;
use poa_leviathan::{Code, Leviathan, Options};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::fake_docker::FakeDocker;
use crate::support::{cen, cens, cin_status, cins, container, make, make_cins, on, status};

/// A process that exists: this one.
fn me() -> u32 {
    std::process::id()
}

fn client(docker: &FakeDocker) -> Arc<Docker> {
    Arc::new(Docker::new(docker.socket(), Duration::from_secs(20)))
}

fn lab(docker: &Arc<Docker>, options: Options) -> (Leviathan, Recorder) {
    let recorder = Recorder::new("host1");
    let leviathan = on(Arc::new(recorder.clone()), options);
    (leviathan.with_containers(docker.clone()), recorder)
}

fn following(docker: &Arc<Docker>, leviathan: &Leviathan) -> AbortOnDropHandle<()> {
    let (docker, leviathan) = (docker.clone(), leviathan.clone());
    AbortOnDropHandle::new(tokio::spawn(async move { docker.follow(leviathan).await }))
}

/// Waits until the model is so.
async fn until(leviathan: &Leviathan, what: impl FnMut(&Arc<poa_leviathan::Model>) -> bool) {
    let mut models = leviathan.models();
    let waiting = tokio::time::timeout(Duration::from_secs(60), models.wait_for(what));
    waiting.await.expect("in time").unwrap();
}

fn pool(start_with: u32, networks: Value) -> Vec<Pool> {
    let document = json!({"cpoolList": [{"cpoolID": "p1", "type": "img", "start_with": start_with, "cins": networks}]});
    pools(document.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_pool_is_started_wired_and_addressed() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, recorder) = lab(&docker, Options::default());
    leviathan.import_cens(cens(&[("a", &["x"]), ("b", &["x"])])).await.unwrap();
    leviathan.import_cins(cins(&[("n", &["a"]), ("o", &["b"])])).await.unwrap();
    make(&leviathan, &["a", "b"]).await;
    make_cins(&leviathan, &["n", "o"]).await;
    let networks = json!([{"cinID": "a"}, {"cinID": "b", "default_route": "true"}]);
    leviathan.start_pools(pool(2, networks)).await.unwrap();

    let started = fake.containers();
    assert_eq!(started.len(), 2);
    for known in started.values() {
        assert_eq!(known["Config"]["Labels"], json!({"leviathan.cpool": "p1"}));
        assert_eq!(
            (&known["Config"]["Image"], &known["Config"]["Cmd"]),
            (&json!("img"), &json!(["/bin/bash"]))
        );
        assert_eq!(known["HostConfig"]["NetworkMode"], "none");
        assert_eq!(known["State"]["Running"], true);
    }
    let model = leviathan.model();
    let first = container("000000000001");
    assert_eq!(model.cen("a").unwrap().members().len(), 3, "the short ids joined");
    let addresses = model.addresses(&poa_leviathan::CinId::new("n").unwrap());
    assert!(addresses.iter().any(|address| address.container == first));
    let host = recorder.host();
    let routes = &host.inside[&first].routes;
    let default = routes.iter().find(|route| route.destination.is_none()).unwrap();
    assert_eq!(default.device, "b", "though the other network has the smaller number");
}

#[tokio::test]
async fn a_pool_may_have_its_cins_made() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, _) = lab(&docker, Options { pool_cins: true, ..Options::default() });
    leviathan.start_pools(pool(2, json!([{"cinID": "a"}]))).await.unwrap();
    assert_eq!((status(&leviathan, "a"), cin_status(&leviathan, "a")), ("ready", "ready"));
    leviathan.start_pools(pool(1, json!([{"cinID": "a"}]))).await.unwrap();
    let id = poa_leviathan::CinId::new("a").unwrap();
    assert_eq!(leviathan.model().addresses(&id).len(), 3);
}

#[tokio::test]
async fn a_pool_is_all_or_nothing() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, _) = lab(&docker, Options::default());
    fake.refuse_after(2);
    let error = leviathan.start_pools(pool(3, json!([{"cinID": "a"}]))).await.unwrap_err();
    assert_eq!(error.code(), Code::DockerUnavailable);
    assert!(error.to_string().contains("no space left on device"), "{error}");
    assert_eq!(fake.containers().len(), 0, "also the one that was created only");
    assert!(leviathan.model().cens().is_empty());
}

#[tokio::test]
async fn a_container_that_asks_for_it_joins() {
    let mut fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, _) = lab(&docker, Options::default());
    fake.run("c0ffee000001", &["LEV_CIN=a,b"], json!({"leviathan.tag": "blue"}));
    let _following = following(&docker, &leviathan);
    let first = container("c0ffee000001");
    until(&leviathan, |model| {
        model
            .containers()
            .get(&first)
            .is_some_and(|known| known.cens().len() == 2 && known.tag() == Some("blue"))
    })
    .await;

    fake.followed().await;
    fake.run("c0ffee000002", &["LEV_CIN=b"], Value::Null);
    let second = container("c0ffee000002");
    until(&leviathan, |model| model.containers().contains_key(&second)).await;

    // What starts while the daemon is not heard of is found when it is back.
    fake.die().await;
    fake.run("c0ffee000003", &["LEV_CIN=b"], Value::Null);
    fake.come_back();
    let third = container("c0ffee000003");
    until(&leviathan, |model| model.containers().contains_key(&third)).await;
    let members = leviathan.model().cen("b").unwrap().members().to_vec();
    assert_eq!(members, [first, second, third]);
}

#[tokio::test]
async fn a_label_tags_a_container_that_becomes_known() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, _) = lab(&docker, Options::default());
    fake.run("c0ffee000001", &[], json!({"leviathan.tag": "blue"}));
    let _following = following(&docker, &leviathan);
    fake.followed().await;
    let first = container("c0ffee000001");
    leviathan.put_member(cen("a"), first.clone()).await.unwrap();
    let tag =
        |model: &Arc<poa_leviathan::Model>| model.containers()[&first].tag().map(str::to_owned);
    until(&leviathan, |model| tag(model).as_deref() == Some("blue")).await;
    leviathan.set_tag(first.clone(), Some("red".to_owned())).await.unwrap();
    leviathan.put_member(cen("b"), first.clone()).await.unwrap();
    // The change above was heard of by the time a container that starts has its tag.
    fake.run("c0ffee000002", &["LEV_CIN=b"], json!({"leviathan.tag": "green"}));
    let second = container("c0ffee000002");
    until(&leviathan, |model| {
        model.containers().get(&second).is_some_and(|known| known.tag().is_some())
    })
    .await;
    assert_eq!(
        tag(&leviathan.model()).as_deref(),
        Some("red"),
        "a request counts more than a label"
    );
}

#[tokio::test]
async fn switches_are_privileged_on_the_network_of_the_host() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let switch =
        |name: &str| Switch { image: name.to_owned(), interfaces: vec!["eth1".to_owned()] };
    let ids = docker.start_switches(&[switch("ofs"), switch("ofs")]).await.unwrap();
    let started = fake.containers();
    for (id, known) in ids.iter().zip(started.values()) {
        assert_eq!(known["Config"]["Cmd"], json!([id, "eth1"]));
        let network = &known["HostConfig"]["NetworkMode"];
        assert_eq!((network, &known["HostConfig"]["Privileged"]), (&json!("host"), &json!(true)));
    }
    fake.refuse_after(1);
    let refused = docker.start_switches(&[switch("ofs"), switch("ofs")]).await;
    assert_eq!(refused.unwrap_err().code(), Code::DockerUnavailable);
    assert_eq!(fake.containers().len(), 2, "what was started for the second request is gone");
}

#[tokio::test]
async fn a_daemon_that_hangs_costs_a_deadline() {
    let fake = FakeDocker::new(me);
    let docker = Arc::new(Docker::new(fake.socket(), Duration::from_millis(200)));
    let (leviathan, _) = lab(&docker, Options::default());
    fake.hang(true);
    let error = docker.namespace(&container("c1")).await.unwrap_err();
    assert_eq!(error.code(), Code::DockerUnavailable, "{error}");
    let error = leviathan.start_pools(pool(1, json!([{"cinID": "a"}]))).await.unwrap_err();
    assert_eq!(error.code(), Code::DockerUnavailable, "{error}");
    assert!(leviathan.model().cens().is_empty());
    let _following = following(&docker, &leviathan);
    fake.hang(false);
    fake.followed().await;
    docker.start(&pool(1, json!([]))[0]).await.unwrap();
}

#[tokio::test]
async fn what_a_lost_daemon_started_is_removed_when_it_is_back() {
    let mut fake = FakeDocker::new(me);
    let docker = client(&fake);
    let (leviathan, _) = lab(&docker, Options::default());
    let switch = Switch { image: "ofs".to_owned(), interfaces: Vec::new() };
    // It is gone by the time the container is to be removed.
    docker.start_switches(std::slice::from_ref(&switch)).await.unwrap();
    let left = fake.containers().into_keys().next().unwrap();
    fake.die().await;
    docker.remove(&container(&left[..12])).await.unwrap_err();
    assert!(docker.start_switches(&[switch]).await.is_err());
    fake.come_back();
    let _following = following(&docker, &leviathan);
    fake.followed().await;
    docker.remove(&container(&left[..12])).await.unwrap();
    assert_eq!(fake.containers().len(), 0);
}

#[tokio::test]
async fn a_container_is_found_by_its_process() {
    let fake = FakeDocker::new(me);
    let docker = client(&fake);
    let look = |name: &str| {
        let (docker, name) = (docker.clone(), container(name));
        async move { docker.namespace(&name).await.unwrap_err() }
    };
    let absent = look("nope").await;
    assert_eq!(absent.code(), Code::UnknownContainer);
    fake.run("c0ffee000001", &[], Value::Null);
    let shared = look("c0ffee000001").await;
    assert!(shared.to_string().contains("--net=none"), "its process is this one: {shared}");
    fake.kill("c0ffee000001");
    let stopped = look("c0ffee000001").await;
    assert!(stopped.to_string().contains("docker start c0ffee000001"), "{stopped}");
    assert_eq!(docker.list().await, []);
    fake.start("c0ffee000001");
    assert_eq!(docker.list().await, [container("c0ffee000001")]);
}

/// Members that run must not be taken for missing, nor a network for gone, while nothing can be told about them.
#[tokio::test]
async fn without_the_daemon_nothing_is_changed() {
    let mut fake = FakeDocker::new(me);
    let docker = client(&fake);
    fake.die().await;
    let netlink = Netlink::new("host1", docker);
    let looked = netlink.look(&[container("c1")]).await;
    assert_eq!(looked.err().map(|error| error.code()), Some(Code::DockerUnavailable));
    let leviathan = on(Arc::new(netlink), Options::default());
    leviathan.import_cens(cens(&[("lev-none", &["c1", "c2"])])).await.unwrap();
    let report = leviathan.make_cens(&["lev-none".to_owned()]).await.unwrap().wait().await;
    assert_eq!(report.failed[0].error.code(), Code::DockerUnavailable);
    assert_eq!(status(&leviathan, "lev-none"), "pending", "and not failed: nothing was touched");
}
