//! Documents of networks: nothing panics, and what is taken leads to a model whose wires are sound.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use poa_leviathan::Model;
use poa_leviathan::document::{HostDocument, id_list, pools, switches, tag};
use poa_leviathan::model::Wiring;
use poa_leviathan::wire::wires_of;

fuzz_target!(|body: &[u8]| {
    let _ = (id_list(body), pools(body), switches(body), tag(body));
    let Ok(document) = HostDocument::parse(body) else { return };
    for wiring in [Wiring::AlwaysBus, Wiring::Auto] {
        let mut model = Model::new(wiring);
        if model.import_cens(&document.cens).is_err() {
            continue;
        }
        let _ = model.clone().import_cins(&document.cins, &BTreeSet::new());
        let mut ends = BTreeSet::new();
        for wire in model.cens().keys().flat_map(|cen| wires_of(&model, cen)) {
            for end in wire.ends() {
                assert!(ends.insert(end.to_string()), "two wires share {end}");
            }
        }
        let again = model.clone();
        model.import_cens(&document.cens).expect("it was taken before");
        assert_eq!(model, again);
    }
});
