//! Frames of the monitor: each has one answer, and that is JSON.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use poa_leviathan::Model;
use poa_leviathan::document::HostDocument;
use poa_leviathan::monitor::Monitor;

const NETWORKS: &[u8] = br#"{"cenList":[{"cenID":"a","containerIDs":["b","c"]}],"cins":{"d":["a"]}}"#;

fuzz_target!(|frames: &[u8]| {
    let document = HostDocument::parse(NETWORKS).expect("a valid document");
    let mut model = Model::default();
    model.import_cens(&document.cens).expect("valid");
    model.import_cins(&document.cins, &BTreeSet::new()).expect("valid");
    let mut monitor = Monitor::new();
    for frame in frames.split(|byte| *byte == b'\n') {
        let answer: serde_json::Value =
            serde_json::from_str(&monitor.text(frame, &model)).expect("an answer is JSON");
        assert!(answer["type"] == "response" || answer["type"] == "error");
        assert!(monitor.changed(&model).is_empty(), "nothing has changed");
    }
});
