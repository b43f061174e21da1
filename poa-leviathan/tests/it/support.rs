//! Helpers of the tests.

use std::sync::Arc;

use poa_leviathan::document::{CenDocument, CinDocument};
use poa_leviathan::executor::{Executor, Recorder};
use poa_leviathan::store::MemoryStore;
use poa_leviathan::{CenId, ContainerId, Leviathan, Options};
use serde_json::{Value, json};

pub(crate) fn vectors(kind: &str) -> Vec<Value> {
    let text = include_str!("../fixtures/leviathan_vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    let all = all["vectors"].as_array().unwrap().clone();
    let found: Vec<Value> = all.into_iter().filter(|vector| vector["kind"] == kind).collect();
    assert!(!found.is_empty(), "no vector of kind {kind}");
    found
}

pub(crate) fn cen(id: &str) -> CenId {
    CenId::new(id).unwrap()
}

pub(crate) fn container(id: &str) -> ContainerId {
    ContainerId::new(id).unwrap()
}

pub(crate) fn cens(entries: &[(&str, &[&str])]) -> CenDocument {
    let list: Vec<Value> =
        entries.iter().map(|(id, members)| json!({"cenID": id, "containerIDs": members})).collect();
    CenDocument::parse(json!({ "cenList": list }).to_string().as_bytes()).unwrap()
}

pub(crate) fn cins(entries: &[(&str, &[&str])]) -> CinDocument {
    let map: serde_json::Map<String, Value> =
        entries.iter().map(|(id, cens)| ((*id).to_owned(), json!(cens))).collect();
    CinDocument::parse(Value::Object(map).to_string().as_bytes()).unwrap()
}

pub(crate) fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

pub(crate) fn on(executor: Arc<dyn Executor>, options: Options) -> Leviathan {
    Leviathan::open(options, executor, Box::new(MemoryStore::default())).unwrap()
}

/// On a host in memory.
pub(crate) fn recorded(options: Options) -> (Leviathan, Recorder) {
    let recorder = Recorder::new("host1");
    (on(Arc::new(recorder.clone()), options), recorder)
}

/// Makes CENs and expects that to succeed.
pub(crate) async fn make(leviathan: &Leviathan, names: &[&str]) {
    let report = leviathan.make_cens(&ids(names)).await.unwrap().wait().await;
    assert_eq!(report.failed, [], "make {names:?}");
}

pub(crate) async fn destroy(leviathan: &Leviathan, names: &[&str]) {
    let report = leviathan.destroy_cens(&ids(names)).await.unwrap().wait().await;
    assert_eq!(report.failed, [], "destroy {names:?}");
}

pub(crate) async fn make_cins(leviathan: &Leviathan, names: &[&str]) {
    let report = leviathan.make_cins(&ids(names)).await.unwrap().wait().await;
    assert_eq!(report.failed, [], "make {names:?}");
}

/// Makes CENs and CINs as one and expects that to succeed.
pub(crate) async fn make_all(leviathan: &Leviathan, cens: &[&str], cins: &[&str]) {
    let made = leviathan.make(&ids(cens), &ids(cins)).await.unwrap().wait().await;
    assert_eq!((made.cens.failed, made.cins.failed), (vec![], vec![]), "make {cens:?} {cins:?}");
}

pub(crate) async fn destroy_cins(leviathan: &Leviathan, names: &[&str]) {
    let report = leviathan.destroy_cins(&ids(names)).await.unwrap().wait().await;
    assert_eq!(report.failed, [], "destroy {names:?}");
}

pub(crate) fn status(leviathan: &Leviathan, id: &str) -> &'static str {
    leviathan.model().cen(id).unwrap().status().as_str()
}

pub(crate) fn cin_status(leviathan: &Leviathan, id: &str) -> &'static str {
    leviathan.model().cin(id).unwrap().status().as_str()
}
