//! The page and what it is told.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Subject, Watcher, readme};

pub(crate) const PAGE: (&str, &str) = ("sec-websocket-protocol", "poa-leviathan-page");

/// The next frame that is about networks.
pub(crate) async fn frame(watcher: &mut Watcher) -> Value {
    loop {
        let frame = watcher.next().await;
        if frame.get("host").is_some() {
            return frame;
        }
        assert!(frame["now"].is_u64(), "{frame}");
    }
}

#[tokio::test]
async fn everything_the_page_names_is_served_without_a_token() {
    let subject = Subject::new("token = \"correct-horse\"").await;
    let page = subject.get("/leviathan/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("access-control-allow-origin"), None, "for this page alone");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let named: Vec<_> =
        page.body.split('"').filter(|text| text.contains('.') && !text.contains(' ')).collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        assert_eq!(subject.get(&format!("/leviathan/{name}")).await.status, 200, "{name}");
    }
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("page")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if name == "index.html" { String::new() } else { name };
        assert_eq!(subject.get(&format!("/leviathan/{path}")).await.status, 200, "{path}");
    }
    assert_eq!(subject.post("/leviathan/", &json!({})).await.header("allow"), None, "no token");
    assert_eq!(subject.get("/cens").await.status, 401);
}

#[tokio::test]
async fn other_paths_are_what_they_were() {
    let subject = Subject::new("").await;
    assert_eq!(subject.get("/").await.code(), "not_found");
    let reply = subject.send("GET", "/", &[("accept", "text/html")], "").await;
    assert_eq!((reply.status, reply.header("location")), (307, Some("leviathan/")));
    let reply = subject.post("/leviathan/", &json!({})).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, OPTIONS")));
    assert_eq!(subject.get("/leviathan/monitor").await.code(), "upgrade_required");
}

#[tokio::test]
async fn the_page_is_told_of_every_change() {
    let subject = Subject::new("token = \"correct/horse\"").await;
    let wrong = [("sec-websocket-protocol", "poa-leviathan-page, bearer.wrong")];
    assert!(subject.join(&wrong).await.is_err());
    let right = [("sec-websocket-protocol", "poa-leviathan-page, bearer.correct%2Fhorse")];
    let mut page = subject.join(&right).await.unwrap();
    let first = frame(&mut page).await;
    assert_eq!((&first["whole"], &first["cens"]), (&json!(true), &json!({})));
    let token = [("authorization", "Bearer correct/horse")];
    let body = readme().to_string();
    assert_eq!(subject.send("POST", "/cen/import", &token, &body).await.status, 204);
    let next = frame(&mut page).await;
    assert_eq!((&next["whole"], next["cens"].as_object().unwrap().len()), (&json!(false), 5));
    // What a page sends means nothing.
    page.send("anything").await;
    assert_eq!(subject.send("DELETE", "/cen/cen5", &token, "").await.status, 204);
    assert_eq!(frame(&mut page).await["cens"], json!({"cen5": null}));
}

#[tokio::test]
async fn many_changes_are_a_few_frames() {
    let subject = Subject::new("").await;
    let mut page = subject.join(&[PAGE]).await.unwrap();
    for round in 0..100 {
        assert_eq!(subject.put(&format!("/host/host1/c{round}/lan")).await.status, 200);
    }
    let (mut frames, mut seen) = (0, 0);
    while seen < 100 {
        let next = frame(&mut page).await;
        seen += next["containers"].as_object().map_or(0, serde_json::Map::len);
        frames += 1;
    }
    assert_eq!(seen, 100, "each container is told of once");
    assert!(frames < 100, "{frames} frames for 100 changes");
}
