//! Routes, statuses, headers.

use serde_json::{Value, json};

use crate::support::{Subject, readme, vectors};

async fn prepared(setup: &str) -> Subject {
    let subject = Subject::new("").await;
    if setup == "empty" {
        return subject;
    }
    let mut document = readme();
    if setup == "imported+solo" {
        let list = document["cenList"].as_array_mut().unwrap();
        list.push(json!({"cenID": "solo", "containerIDs": ["s1"]}));
        list.push(json!({"cenID": "empty", "containerIDs": []}));
    }
    assert_eq!(subject.post("/cen/import", &document).await.status, 204);
    if setup == "imported+cin1" {
        assert_eq!(subject.post("/cin/import", &json!({"cin1": ["cen1"]})).await.status, 204);
    }
    subject
}

#[tokio::test]
async fn the_vectors() {
    for vector in vectors("http") {
        let (id, request, sane) = (&vector["id"], &vector["request"], &vector["sane"]);
        let subject = prepared(vector["setup"].as_str().unwrap()).await;
        let body = match &request["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let headers: Vec<(String, String)> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (method, path) =
            (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let reply = subject.send(method, path, &headers, &body).await;
        assert_eq!(json!(reply.status), sane["status"], "{id}: {reply:?}");
        if let Some(code) = sane["error_code"].as_str() {
            assert_eq!(reply.code(), code, "{id}");
        }
        if let Some(expected) = sane.get("body") {
            assert_eq!(reply.json(), *expected, "{id}");
        }
        for (name, value) in sane["headers"].as_object().into_iter().flatten() {
            assert_eq!(reply.header(name), value.as_str(), "{id}: {name}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{id}");
    }
}

#[tokio::test]
async fn making_shows_at_once_and_reports_when_asked() {
    let subject = prepared("imported").await;
    assert_eq!(subject.post("/cen/make", &json!(["cen1"])).await.status, 204);
    let status = subject.get("/cen/cen1").await.json()["status"].clone();
    assert!(status == "preparing" || status == "ready", "{status}");
    let report = subject.done("/cen/make", &["cen4", "cen5"]).await;
    assert_eq!((&report["done"], &report["failed"]), (&json!(["cen4", "cen5"]), &json!([])));
    let commands: Vec<&str> =
        report["commands"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    assert!(commands.contains(&"brctl addif cen4 c11.1o"), "{commands:?}");
    let report = subject.done("/cen/destroy", &["cen4"]).await;
    assert_eq!(report["done"], json!(["cen4"]));
    assert_eq!(subject.get("/cen/cen4").await.json()["status"], "pending");
    assert_eq!(subject.get("/cen/cen5").await.json()["status"], "ready");
}

#[tokio::test]
async fn a_life_over_http() {
    let subject = prepared("imported+cin1").await;
    let not_ready = subject.post("/cin/make", &json!(["cin1"])).await;
    assert_eq!((not_ready.status, not_ready.code().as_str()), (409, "cen_not_ready"));
    subject.done("/cen/make", &["cen1"]).await;
    subject.done("/cin/make", &["cin1"]).await;
    let cin = subject.get("/cin/cin1").await.json();
    assert_eq!(
        (&cin["status"], &cin["contIDs"]),
        (&json!("ready"), &json!(["c2", "c14", "c13", "c1"]))
    );
    assert_eq!(cin["conts"][0]["addressing"]["cen1"]["ip"], "10.10.0.10");
    assert_eq!(subject.put("/host/host1/c77/cen1").await.json(), json!(true));
    let cin = subject.get("/cin/cin1").await.json();
    assert_eq!(cin["conts"][4]["addressing"]["cen1"]["ip"], "10.10.0.14");
    let in_use = subject.post("/cen/destroy", &json!(["cen1"])).await;
    assert_eq!((in_use.status, in_use.code().as_str()), (409, "cen_in_use"));
    assert_eq!(subject.delete("/cen/cen1").await.code(), "cen_in_use");
    assert_eq!(subject.delete("/cin/cin1").await.status, 204);
    assert_eq!(subject.delete("/cin/cin1").await.code(), "unknown_cin");
    assert_eq!(subject.delete("/cen/cen1").await.status, 204);
    assert_eq!(subject.get("/cen/cen1").await.code(), "unknown_cen");
    assert_eq!(subject.get("/cins").await.json(), json!({"cins": []}));
    let cens = subject.get("/cens").await.json();
    assert_eq!(cens["cens"].as_array().unwrap().len(), 4);
    assert_eq!(cens["cens"][0], subject.get("/cen/cen2").await.json());
}

#[tokio::test]
async fn containers_are_registered_tagged_and_forgotten() {
    let subject = prepared("imported").await;
    let json_body = [("content-type", "application/json")];
    let tagged = subject.send("PUT", "/host/host1/c11", &json_body, r#"{"tag":"blue"}"#).await;
    assert_eq!((tagged.status, tagged.json()), (200, json!(true)));
    assert_eq!(subject.get("/host/host1/c11").await.json()["tag"], "blue");
    assert_eq!(subject.put("/host/host1/c11").await.status, 200);
    assert_eq!(subject.get("/host/host1/c11").await.json()["tag"], "blue", "left alone");
    assert_eq!(subject.delete("/host/host1/c11").await.status, 204);
    assert_eq!(subject.get("/host/host1/c11").await.code(), "unknown_container");
    assert_eq!(subject.get("/cen/cen4").await.json()["contIDs"], json!(["c12"]));
    assert_eq!(subject.get("/host/other/c12").await.code(), "unknown_host");
    let odd = subject.send("PUT", "/host/host1/c12", &json_body, r#"{"tag":1}"#).await;
    assert_eq!((odd.status, odd.code().as_str()), (400, "wrong_type"));
}

#[tokio::test]
async fn a_head_is_a_get_without_a_body() {
    let subject = prepared("imported").await;
    let head = subject.send("HEAD", "/cen/cen1", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(subject.send("HEAD", "/cen/nope", &[], "").await.status, 404);
}

#[tokio::test]
async fn only_json_is_given() {
    let subject = prepared("imported").await;
    let html = [("accept", "text/html")];
    assert_eq!(subject.send("GET", "/cen/cen1", &html, "").await.code(), "not_acceptable");
    // Actions have no document to be accepted.
    assert_eq!(subject.send("POST", "/cen/make", &html, "[]").await.status, 204);
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let subject = Subject::new("limits = { body = \"1KiB\" }").await;
    let long = format!("[\"{}\"]", "x".repeat(2000));
    let reply = subject.send("POST", "/cen/make", &[], &long).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let subject = Subject::new("token = \"correct horse\"").await;
    let denied = subject.get("/cens").await;
    assert_eq!((denied.status, denied.code().as_str()), (401, "unauthorized"));
    assert_eq!(denied.header("www-authenticate"), Some("Bearer"));
    assert_eq!(denied.header("access-control-allow-origin"), Some("*"));
    let with = [("authorization", "Bearer correct horse")];
    assert_eq!(subject.send("GET", "/cens", &with, "").await.status, 200);
    let preflight =
        subject.send("OPTIONS", "/cen/x", &[("origin", "https://example.org")], "").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("content-type, authorization")
    );
    assert!(subject.join(&[]).await.is_err());
    assert!(subject.join(&[("authorization", "Bearer correct horse")]).await.is_ok());
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused_without_a_token() {
    let subject = Subject::new("").await;
    let foreign = [("origin", "https://example.org")];
    let refused = subject.send("POST", "/cen/make", &foreign, "[]").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden_origin"));
    assert_eq!(
        subject
            .send("POST", "/cen/make", &[("origin", "http://localhost:3000")], "[]")
            .await
            .status,
        204
    );
    assert!(subject.join(&foreign).await.is_err());
}

#[tokio::test]
async fn pools_need_docker() {
    let subject = Subject::new("").await;
    let pool = json!({"cpoolList": [{"cpoolID": "p", "type": "img", "start_with": 1, "cins": [{"cinID": "a"}]}]});
    let reply = subject.post("/cpool", &pool).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "docker_unavailable"));
    assert_eq!(subject.get("/cens").await.json(), json!({"cens": []}));
    assert_eq!(subject.post("/switch", &json!([])).await.status, 501);
}

#[tokio::test]
async fn definitions_outlive_the_handler() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("networks.db");
    let more = format!("path = \"{}\"", path.display());
    let first = Subject::new(&more).await;
    assert_eq!(first.post("/cen/import", &readme()).await.status, 204);
    first.done("/cen/make", &["cen1"]).await;
    first.host.stop().await;
    let second = Subject::new(&more).await;
    assert_eq!(second.get("/cen/cen1").await.json()["status"], "ready");
    second.host.stop().await;
}

/// A request, its status, and the code of its error.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

/// The routes and mistakes of the specification that no vector has.
#[tokio::test]
async fn the_rest_of_the_route_table() {
    let subject = prepared("imported+cin1").await;
    let cases: &[Case] = &[
        ("POST", "/cen/other", "", 405, "method_not_allowed"),
        ("POST", "/cin/other", "", 404, "not_found"),
        ("PUT", "/cen/import", "", 405, "method_not_allowed"),
        ("PUT", "/cin/cin1", "", 405, "method_not_allowed"),
        ("POST", "/host/host1/c1", "", 405, "method_not_allowed"),
        ("DELETE", "/leviathan/monitor", "", 405, "method_not_allowed"),
        ("GET", "/nothing", "", 404, "not_found"),
        ("GET", "/switch/", "", 405, "method_not_allowed"),
        ("POST", "/cen/import", "{}", 400, "missing_field"),
        ("POST", "/cen/import", r#"{"cenList":[{"cenID":"a"}]}"#, 400, "missing_field"),
        ("POST", "/cen/import", r#"{"cenList":[1]}"#, 400, "wrong_type"),
        (
            "POST",
            "/cen/import",
            r#"{"cenList":[{"cenID":"a","containerIDs":["c","c"]}]}"#,
            422,
            "duplicate_container",
        ),
        (
            "POST",
            "/cen/import",
            r#"{"cenList":[{"cenID":"a:b","containerIDs":[]}]}"#,
            422,
            "invalid_identifier",
        ),
        ("POST", "/cen/make", r#"{"cen1":1}"#, 400, "wrong_type"),
        ("POST", "/cen/destroy", r#"["cen1","nope","no"]"#, 404, "unknown_cen"),
        ("POST", "/cin/make", r#"["cin1"]"#, 409, "cen_not_ready"),
        ("POST", "/cin/destroy", "[null]", 400, "wrong_type"),
        ("POST", "/cin/import", r#"{"other":["cen1"]}"#, 409, "cen_already_in_cin"),
        ("POST", "/cin/import", r#"{"make":["cen2"]}"#, 422, "reserved_name"),
        ("POST", "/cin/import", r#"{"x":["cen2","nope"]}"#, 404, "unknown_cen"),
        ("GET", "/cen/nope", "", 404, "unknown_cen"),
        ("GET", "/cin/nope", "", 404, "unknown_cin"),
        ("DELETE", "/cen/nope", "", 404, "unknown_cen"),
        ("DELETE", "/cen/cen1", "", 409, "cen_in_use"),
        ("DELETE", "/cin/nope", "", 404, "unknown_cin"),
        ("PUT", "/cen/abcdefghijklmnop", "", 422, "name_too_long"),
        ("PUT", "/cen/all", "", 422, "reserved_name"),
        ("PUT", "/host/host1//cen1", "", 422, "invalid_identifier"),
        ("DELETE", "/host/host1/c4/cen1", "", 404, "not_a_member"),
        ("DELETE", "/host/other/c1/cen1", "", 404, "unknown_host"),
        ("DELETE", "/host/host1/nope", "", 404, "unknown_container"),
        ("POST", "/cpool", r#"{"cpoolList":[{"cpoolID":"p"}]}"#, 400, "missing_field"),
        (
            "POST",
            "/cpool",
            r#"{"cpoolList":[{"cpoolID":"p","type":"i","start_with":-1,"cins":[]}]}"#,
            422,
            "invalid_start_with",
        ),
        (
            "POST",
            "/cpool",
            r#"{"cpoolList":[{"cpoolID":"p","type":"i","start_with":1.5,"cins":[]}]}"#,
            400,
            "wrong_type",
        ),
    ];
    for (method, path, body, status, code) in cases {
        let reply = subject.send(method, path, &[], body).await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (*status, *code),
            "{method} {path} {body}: {reply:?}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{method} {path}");
        assert_eq!(reply.header("allow").is_some(), *status == 405, "{method} {path}");
    }
    let unknown = subject.post("/cen/make", &json!(["cen1", "y", "x"])).await;
    assert_eq!(unknown.json()["error"]["details"], json!(["y", "x"]));
    assert_eq!(subject.get("/cen/cen1").await.json()["status"], "pending", "nothing was started");
    for path in
        ["/cen/cen1", "/host/host1/c1", "/host/host1/c1/cen1", "/cin/import", "/cpool/", "/cens"]
    {
        let options = subject.send("OPTIONS", path, &[], "").await;
        assert_eq!((options.status, options.body.as_str()), (200, ""), "{path}");
        assert!(options.header("access-control-allow-methods").is_some(), "{path}");
        assert_eq!(options.header("access-control-allow-headers"), Some("content-type"), "{path}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let made = subject.send("POST", "/cen/make/", &form, r#"["cen2","cen2"]"#).await;
    assert_eq!(made.status, 204, "`curl -d` works, and a trailing slash makes no difference");
    let parameters = [("content-type", "application/json; charset=utf-8")];
    let tagged = subject.send("PUT", "/host/host1/c1", &parameters, r#"{"tag":"x"}"#).await;
    assert_eq!(tagged.status, 200);
    let again = subject.post("/cin/import", &json!({"cin1": ["cen1"]})).await;
    assert_eq!(again.status, 204, "the same again changes nothing");
}
