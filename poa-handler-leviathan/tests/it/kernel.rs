//! Requests, the monitor and the page, on a real kernel.

use serde_json::json;

use crate::isolated::{containers, ip, isolated, pings};
use crate::page::{PAGE, frame};
use crate::support::Subject;

const START: &str =
    r#"{"type":"start","sequence":"1","monitor":"CIN","parameters":{"cinID":"net"}}"#;

/// A network of two, over the kernel. Containers that come and go are found within a second.
async fn lab() -> Subject {
    let config = "listen = \"127.0.0.1:0\"\ninterval = \"1s\"";
    let subject = Subject::with(toml::from_str(config).unwrap()).await;
    let document = json!({"cenList": [{"cenID": "lan", "containerIDs": ["c1", "c2"]}]});
    assert_eq!(subject.post("/cen/import", &document).await.status, 204);
    assert_eq!(subject.post("/cin/import", &json!({"net": ["lan"]})).await.status, 204);
    for (path, id) in [("/cen/make", "lan"), ("/cin/make", "net")] {
        assert_eq!(subject.done(path, &[id]).await, json!({"done": [id], "failed": []}));
    }
    subject
}

#[test]
fn what_is_answered_is_done_and_told_in_order() {
    isolated(module_path!(), "what_is_answered_is_done_and_told_in_order", async {
        containers(&["c1", "c2", "c3", "c4"]);
        let subject = lab().await;
        assert!(pings("c1", "10.10.0.10"));
        let mut watcher = subject.watch().await;
        watcher.send(START).await;
        assert_eq!(watcher.next().await["type"], "response");
        for (container, address) in [("c3", "10.10.0.12"), ("c4", "10.10.0.13")] {
            assert_eq!(subject.put(&format!("/host/host1/{container}/lan")).await.status, 200);
            assert!(pings("c1", address), "{container} is reached once the answer is there");
        }
        // One event each, in the order of the answers.
        for (container, address) in [("c3", "10.10.0.12"), ("c4", "10.10.0.13")] {
            let message = &watcher.next().await["message"];
            assert_eq!(
                *message,
                json!([{"containerID": container, "ipaddress": address, "tag": null}])
            );
        }
        assert_eq!(subject.delete("/host/host1/c4/lan").await.status, 204);
        assert!(!ip("-n c4 link show").contains("lan"));
        watcher.expect_silence().await;
        assert_eq!(subject.put("/host/host1/gone/lan").await.code(), "unknown_container");
        drop(watcher);
        assert!(subject.host.stop().await.is_clean());
    });
}

#[test]
fn a_page_sees_containers_stop_and_start() {
    isolated(module_path!(), "a_page_sees_containers_stop_and_start", async {
        containers(&["c1", "c2"]);
        let subject = lab().await;
        let mut page = subject.join(&[PAGE]).await.unwrap();
        assert_eq!(frame(&mut page).await["cens"]["lan"].get("missing"), None);
        ip("netns del c2");
        assert_eq!(frame(&mut page).await["cens"]["lan"]["missing"], json!(["c2"]));
        ip("netns add c2");
        assert_eq!(frame(&mut page).await["cens"]["lan"].get("missing"), None);
        assert!(pings("c1", "10.10.0.10"), "it is wired again");
        drop(page);
        assert!(subject.host.stop().await.is_clean());
    });
}
