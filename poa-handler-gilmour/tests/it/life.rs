//! Nodes come, fall ill, recover, vanish, and are there again after a restart.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use poa_core::Host;
use poa_handler_gilmour::GilmourGateway;
use serde_json::{Value, json};

use crate::support::{Gateway, Node, ask, config, echo, read, soon};

#[tokio::test]
async fn a_node_is_registered_shown_changed_and_deleted() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    let at = |path: &str| format!("/nodes/{id}{path}");

    let (status, details) = gateway.get(&at("")).await;
    let service = json!({"topic": "echo", "group": "_default", "path": "/echo", "timeout": 5});
    assert_eq!(status, 200);
    assert_eq!(
        details,
        json!({"id": id, "port": node.port, "host": "127.0.0.1", "health_check": "/health", "slots": [], "services": [service], "status": "ok"})
    );
    let (_, list) = gateway.get("/nodes/").await;
    let shown = list["nodes"][0]["id"].as_str().unwrap();
    assert!(shown.len() < 16 && !list.to_string().contains(&id), "{list}");

    let slot = |path: &str| json!({"topic": "ev", "path": path});
    assert_eq!(gateway.post(&at("/slots"), slot("/one")).await, (200, json!({"status": "ok"})));
    assert_eq!(gateway.post(&at("/slots/"), json!([slot("two"), slot("three")])).await.0, 200);
    assert_eq!(gateway.post(&at("/slots"), slot("two")).await.0, 409);
    assert_eq!(gateway.post(&at("/services"), json!({"more": {"path": "m"}})).await.0, 200);
    assert_eq!(gateway.post(&at("/services"), json!({"w*": {"path": "m"}})).await.0, 400);
    assert_eq!(gateway.get(&at("/slots")).await.1["slots"].as_array().unwrap().len(), 3);
    let delete = async |path: &str| gateway.ask("DELETE", &at(path), &Value::Null).await.0;
    assert_eq!(delete("/slots").await, 400);
    assert_eq!(delete("/slots?topic=other").await, 404);
    assert_eq!(delete("/slots?topic=ev&path=nowhere").await, 404);
    assert_eq!(delete("/slots?topic=ev&path=one").await, 200);
    assert_eq!(gateway.get(&at("/slots")).await.1["slots"].as_array().unwrap().len(), 2);
    assert_eq!(delete("/slots?topic=ev").await, 200);
    assert_eq!(gateway.get(&at("/slots")).await, (200, json!({"slots": []})));
    assert_eq!(gateway.request(&id, "more", json!(1)).await.0, 200);

    drop(node);
    assert_eq!(delete("").await, 200);
    for path in ["", "/slots", "/services"] {
        let (status, answer) = gateway.get(&at(path)).await;
        assert_eq!((status, answer["error"].clone()), (404, answer["status"].clone()));
    }
    assert!(gateway.host.stop().await.is_clean());
}

#[tokio::test]
async fn a_node_that_is_not_healthy_is_not_registered() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    for health in [500, 404, 302, 0] {
        node.health.store(health, SeqCst);
        let (status, answer) = gateway.post("/nodes", node.serving(&["echo"])).await;
        assert_eq!(status, 502, "{health}: {answer}");
    }
    let port = node.stop().await;
    assert_eq!(gateway.post("/nodes", json!({"port": port})).await.0, 502);
    assert_eq!(gateway.get("/nodes").await.1, json!({"nodes": []}));
}

#[tokio::test]
async fn a_node_goes_from_ok_to_unavailable_to_ok_to_dirty_and_is_activated() {
    let gateway = Gateway::start(config()).await;
    let asking = Node::start(echo).await;
    let asker = gateway.register(json!({"port": asking.port})).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    assert_eq!(gateway.request(&asker, "echo", json!(1)).await.0, 200);

    node.health.store(503, SeqCst);
    let details = gateway.until(&id, "unavailable").await;
    assert_eq!(details["waiting"], json!(["echo"]));
    assert!(details["problem"].as_str().unwrap().contains("status 503"), "{details}");
    assert_eq!(gateway.request(&asker, "echo", json!(1)).await.0, 404);
    assert_eq!(gateway.request(&id, "echo", json!(1)).await.0, 409);
    // The definitions can be changed meanwhile.
    let more = json!({"topic": "more", "path": "m"});
    assert_eq!(gateway.post(&format!("/nodes/{id}/services"), more).await.0, 200);
    assert_eq!(gateway.request(&asker, "more", json!(1)).await.0, 404);

    node.health.store(200, SeqCst);
    gateway.until(&id, "ok").await;
    assert_eq!(gateway.request(&asker, "echo", json!(1)).await.0, 200);
    assert_eq!(gateway.request(&asker, "more", json!(1)).await.0, 200);

    let port = node.stop().await;
    gateway.until(&id, "dirty").await;
    assert_eq!(gateway.request(&asker, "echo", json!(1)).await.0, 404);
    assert_eq!(gateway.request(&id, "echo", json!(1)).await.0, 409);
    assert_eq!(gateway.post(&format!("/nodes/{id}/activate"), Value::Null).await.0, 502);
    // It is not asked any more; activated, it is back at once.
    let node = Node::start_at(port, echo).await;
    assert_eq!(gateway.post(&format!("/nodes/{id}/activate"), Value::Null).await.0, 200);
    assert_eq!(gateway.request(&asker, "echo", json!(1)).await.0, 200);
    node.health.store(500, SeqCst);
    gateway.until(&id, "unavailable").await;
}

#[tokio::test]
async fn the_watch_of_a_node_ends_with_it() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let id = gateway.register(node.serving(&["echo"])).await;
    soon(async {
        while node.checks.load(SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    gateway.ask("DELETE", &format!("/nodes/{id}"), &Value::Null).await;
    let checks = node.checks.load(SeqCst);
    // Several times the interval.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.checks.load(SeqCst), checks);
}

#[tokio::test]
async fn nodes_survive_a_restart_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let start = async || {
        let host = Host::builder()
            .engine::<poa_engine_local::Memory>("memory", Default::default())
            .data_dir(directory.path())
            .data_types(["system_metrics"])
            .handler::<GilmourGateway>("gilmour", config());
        let host = host.start().await.unwrap();
        let status = host.handle().status();
        let address = status.plugins[0].endpoints[0].trim_start_matches("http://").to_owned();
        (host, address)
    };
    let node = Node::start(echo).await;
    let (host, address) = start().await;
    let (_, answer) =
        ask(&address, "POST", "/nodes", &[], &node.serving(&["echo"]).to_string()).await;
    let id = answer["id"].as_str().unwrap().to_owned();
    let slot = json!({"topic": "ev", "path": "/ev"}).to_string();
    ask(&address, "POST", &format!("/nodes/{id}/slots"), &[], &slot).await;
    assert!(host.stop().await.is_clean());

    let (host, address) = start().await;
    let request = json!({"topic": "echo", "message": "again"}).to_string();
    soon(async {
        loop {
            let (status, answer) =
                ask(&address, "POST", &format!("/request/{id}"), &[], &request).await;
            if status == 200 {
                assert_eq!(answer["messages"][0]["data"], "again");
                return;
            }
            // It is asked first whether it is healthy.
            assert_eq!(status, 409, "{answer}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (_, details) = ask(&address, "GET", &format!("/nodes/{id}"), &[], "").await;
    assert_eq!(details["slots"][0]["topic"], "ev");
    ask(&address, "DELETE", &format!("/nodes/{id}"), &[], "").await;
    assert!(host.stop().await.is_clean());

    let (host, address) = start().await;
    assert_eq!(ask(&address, "GET", &format!("/nodes/{id}"), &[], "").await.0, 404);
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn a_program_that_registers_again_takes_its_own_place() {
    let gateway = Gateway::start(config()).await;
    let node = Node::start(echo).await;
    let named =
        json!({"port": node.port, "name": "clock", "slots": [{"topic": "t", "path": "/t"}]});
    let first = gateway.register(named.clone()).await;
    let second = gateway.register(named).await;
    assert_eq!(gateway.get(&format!("/nodes/{first}")).await.0, 404);
    let (_, sent) = gateway.post(&format!("/signal/{second}"), json!({"topic": "t"})).await;
    assert_eq!(sent["receivers"], 1);
    // Without a name it does so where the one before does not answer any more.
    let other = Node::start(echo).await;
    let before = gateway.register(other.serving(&["a"])).await;
    other.health.store(500, SeqCst);
    gateway.until(&before, "unavailable").await;
    other.health.store(200, SeqCst);
    gateway.register(other.serving(&["a"])).await;
    assert_eq!(gateway.get("/nodes").await.1["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_token_guards_lists_and_registration_and_not_the_nodes() {
    let gateway = Gateway::start(read("token = \"a long token\"")).await;
    let node = Node::start(echo).await;
    let (address, body) = (&gateway.address, node.serving(&["echo"]).to_string());
    for wrong in [&[][..], &[("authorization", "Bearer wrong")]] {
        assert_eq!(ask(address, "POST", "/nodes", wrong, &body).await.0, 401);
        assert_eq!(ask(address, "PUT", "/nodes", wrong, &body).await.0, 401);
        assert_eq!(ask(address, "GET", "/nodes", wrong, "").await.0, 401);
    }
    let right = &[("authorization", "Bearer a long token")];
    let (status, answer) = ask(address, "POST", "/nodes", right, &body).await;
    assert_eq!(status, 201);
    assert_eq!(ask(address, "GET", "/nodes", right, "").await.0, 200);
    let id = answer["id"].as_str().unwrap();
    assert_eq!(gateway.request(id, "echo", json!(1)).await.0, 200);
}

#[tokio::test]
async fn what_a_gateway_holds_is_limited() {
    let gateway =
        Gateway::start(read("nodes = { max = 1, handlers = 2 }\nlimits = { body = \"2KiB\" }"))
            .await;
    let node = Node::start(echo).await;
    assert_eq!(gateway.post("/nodes", node.serving(&["a", "b", "c"])).await.0, 400);
    let id = gateway.register(node.serving(&["a", "b"])).await;
    assert_eq!(
        gateway.post(&format!("/nodes/{id}/slots"), json!({"topic": "c", "path": "c"})).await.0,
        400
    );
    assert_eq!(gateway.post("/nodes", node.serving(&["a"])).await.0, 503);
    assert_eq!(gateway.request(&id, "a", json!("x".repeat(3000))).await.0, 413);
    assert_eq!(gateway.post("/nodes", json!({"port": 1, "host": "10.0.0.1"})).await.0, 400);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told() {
    let gateway = Gateway::start(config()).await;
    assert_eq!(gateway.get("/nowhere").await.0, 404);
    assert_eq!(gateway.ask("PATCH", "/nodes", &Value::Null).await.0, 405);
    assert_eq!(gateway.get("/request/x").await.0, 405);
    assert_eq!(gateway.get("/healthz").await, (200, json!({"status": "ok", "memory": "up"})));
    let metrics = gateway.host.handle().metrics();
    assert!(
        metrics.contains("poa_gilmour_nodes{handler=\"gilmour\",status=\"ok\"} 0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("poa_gilmour_requests_total{handler=\"gilmour\",engine=\"memory\"} 0")
    );
}
