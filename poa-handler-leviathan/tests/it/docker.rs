//! Docker behind the routes, against a daemon that starts nothing.

use serde_json::json;

use crate::fake_docker::FakeDocker;
use crate::support::Subject;

async fn prepared(more: &str) -> (Subject, FakeDocker) {
    let fake = FakeDocker::new(std::process::id);
    let socket = fake.socket();
    let more = format!("resolver = \"docker\"\ndocker_socket = {socket:?}\n{more}");
    (Subject::new(&more).await, fake)
}

#[tokio::test]
async fn a_pool_comes_by_one_request() {
    let (subject, fake) = prepared("cpool_cins = true").await;
    let pool = json!({"cpoolList": [
        {"cpoolID": "p1", "type": "img", "start_with": 2, "cins": [{"cinID": "a"}, {"cinID": "b"}]},
        {"cpoolID": "p2", "type": "img", "start_with": 1, "cins": [{"cinID": "b", "default_route": true}]},
    ]});
    assert_eq!(subject.post("/cpool", &pool).await.status, 204);
    assert_eq!(fake.containers().len(), 3);
    assert_eq!(subject.get("/cen/b").await.json()["contIDs"].as_array().unwrap().len(), 3);
    assert_eq!(subject.get("/cin/b").await.json()["conts"].as_array().unwrap().len(), 3);
    fake.refuse_after(1);
    let refused = subject.post("/cpool", &pool).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "docker_unavailable"));
    assert_eq!(fake.containers().len(), 3, "what was started for nothing is gone");
    assert!(subject.host.stop().await.is_clean());
}

#[tokio::test]
async fn a_switch_has_a_datapath() {
    let (subject, mut fake) = prepared("deadline = \"60s\"").await;
    let switch = json!({"type": "ofs", "interfaces": ["eth1", "eth2"]});
    let one = subject.post("/switch", &switch).await;
    assert_eq!(one.status, 200, "{one:?}");
    let id = one.json()[0].as_str().unwrap().to_owned();
    let known = fake.containers().into_values().next().unwrap();
    assert_eq!(known["Config"]["Cmd"], json!([id, "eth1", "eth2"]));
    let two = subject.post("/switch", &json!([switch, switch])).await;
    assert_eq!(two.json().as_array().unwrap().len(), 2);
    let odd = subject.post("/switch", &json!({"type": "ofs", "interfaces": ["--x"]})).await;
    assert_eq!((odd.status, odd.code().as_str()), (422, "invalid_identifier"));
    assert_eq!(subject.post("/switch", &json!([])).await.json(), json!([]));
    fake.die().await;
    let gone = subject.post("/switch", &switch).await;
    assert_eq!((gone.status, gone.code().as_str()), (503, "docker_unavailable"));
}

#[tokio::test]
async fn a_label_is_a_tag_that_monitors_see() {
    let (subject, fake) = prepared("").await;
    fake.followed().await;
    fake.run("c0ffee000000", &["LEV_CIN=lan"], json!({}));
    fake.run("c0ffee000001", &["LEV_CIN=lan"], json!({}));
    // Both are members once the second is.
    let mut cen = subject.get("/cen/lan").await;
    while cen.status == 404 || cen.json()["contIDs"].as_array().unwrap().len() < 2 {
        tokio::task::yield_now().await;
        cen = subject.get("/cen/lan").await;
    }
    assert_eq!(subject.post("/cin/import", &json!({"net": ["lan"]})).await.status, 204);
    let mut watcher = subject.watch().await;
    let parameters = json!({"cinID": "net", "container_tag": "blue"});
    let start = json!({"type": "start", "sequence": 1, "monitor": "CIN", "parameters": parameters});
    assert_eq!(watcher.ask(&start).await["response"]["state"], json!([]));
    fake.run("c0ffee000002", &["LEV_CIN=lan"], json!({"leviathan.tag": "blue"}));
    let event = watcher.next().await;
    assert_eq!(
        (&event["event"], &event["message"][0]["containerID"]),
        (&json!("create"), &json!("c0ffee000002"))
    );
}
