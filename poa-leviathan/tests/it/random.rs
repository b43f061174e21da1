//! Random sequences of requests: the host follows the model, and the invariants of wires hold.

use std::collections::BTreeSet;

use poa_leviathan::executor::Recorder;
use poa_leviathan::model::{WireType, Wiring};
use poa_leviathan::name::out_name;
use poa_leviathan::wire::{Side, wires_of};
use poa_leviathan::{Leviathan, Options};
use proptest::prelude::*;

use crate::support::{cen, cens, cins, container, ids, recorded};

const CENS: [&str; 3] = ["x", "y", "z"];
const CONTAINERS: [&str; 5] = ["c1", "c2", "c3", "c4", "c5"];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put(usize, usize),
    Delete(usize, usize),
    Import(usize, Vec<usize>),
    Make(usize),
    Destroy(usize),
    Define(usize, Vec<usize>),
    MakeCin(usize),
    DestroyCin(usize),
    DeleteCen(usize),
    Forget(usize),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (c, m) = (0..CENS.len(), 0..CONTAINERS.len());
    let step = prop_oneof![
        4 => (c.clone(), m.clone()).prop_map(|(cen, member)| Step::Put(cen, member)),
        2 => (c.clone(), m.clone()).prop_map(|(cen, member)| Step::Delete(cen, member)),
        1 => (c.clone(), proptest::sample::subsequence(vec![4, 3, 2, 1, 0], 0..=5)).prop_map(|(cen, m)| Step::Import(cen, m)),
        4 => c.clone().prop_map(Step::Make),
        1 => c.clone().prop_map(Step::Destroy),
        2 => (0..2_usize, proptest::sample::subsequence(vec![2, 0, 1], 1..=3)).prop_map(|(cin, c)| Step::Define(cin, c)),
        3 => (0..2_usize).prop_map(Step::MakeCin),
        1 => (0..2_usize).prop_map(Step::DestroyCin),
        1 => c.prop_map(Step::DeleteCen),
        1 => m.prop_map(Step::Forget),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Refusals are part of the game; what counts is what the host looks like.
pub(crate) async fn take(leviathan: &Leviathan, step: &Step) {
    const CINS: [&str; 2] = ["n", "o"];
    let job = match step {
        Step::Put(c, m) => {
            return drop(leviathan.put_member(cen(CENS[*c]), container(CONTAINERS[*m])).await);
        }
        Step::Delete(c, m) => return drop(leviathan.delete_member(CENS[*c], CONTAINERS[*m]).await),
        Step::Import(c, members) => {
            let members: Vec<&str> = members.iter().map(|m| CONTAINERS[*m]).collect();
            return drop(leviathan.import_cens(cens(&[(CENS[*c], &members)])).await);
        }
        Step::Define(cin, c) => {
            let c: Vec<&str> = c.iter().map(|c| CENS[*c]).collect();
            return drop(leviathan.import_cins(cins(&[(CINS[*cin], &c)])).await);
        }
        Step::DeleteCen(c) => return drop(leviathan.delete_cen(CENS[*c]).await),
        Step::Forget(m) => return drop(leviathan.delete_container(CONTAINERS[*m]).await),
        Step::Make(c) => leviathan.make_cens(&ids(&[CENS[*c]])).await,
        Step::Destroy(c) => leviathan.destroy_cens(&ids(&[CENS[*c]])).await,
        Step::MakeCin(cin) => leviathan.make_cins(&ids(&[CINS[*cin]])).await,
        Step::DestroyCin(cin) => leviathan.destroy_cins(&ids(&[CINS[*cin]])).await,
    };
    if let Ok(job) = job {
        assert_eq!(job.wait().await.failed, [], "{step:?}");
    }
}

fn check(leviathan: &Leviathan, recorder: &Recorder) {
    let (model, host) = (leviathan.model(), recorder.host());
    let mut expected = BTreeSet::new();
    let mut ends = BTreeSet::new();
    for (id, known) in model.cens() {
        for end in wires_of(&model, id).iter().flat_map(|wire| wire.ends().clone()) {
            assert!(ends.insert(end.to_string()), "two wires share {end}");
        }
        if !known.status().is_up() {
            continue;
        }
        if model.wire_type(id) == Some(WireType::Bus) {
            expected.insert(id.to_string());
        }
        let wires = wires_of(&model, id);
        let outer = wires.iter().flat_map(|wire| wire.ends()).filter(|end| end.side() == Side::Out);
        expected.extend(outer.map(|end| out_name("host1", end.container(), end.number())));
    }
    let found: BTreeSet<String> =
        host.host.keys().filter(|name| !name.starts_with("lt")).cloned().collect();
    assert_eq!(found, expected);
    let addressed: usize = host
        .inside
        .values()
        .flat_map(|inside| inside.links.values())
        .map(|link| link.addresses.len())
        .sum();
    let up = model.cins().iter().filter(|(_, cin)| cin.status().is_up());
    let wanted: usize = up.map(|(id, _)| model.addresses(id).len()).sum();
    assert_eq!(addressed, wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_host_follows_the_model(steps in steps(), auto in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wiring = if auto { Wiring::Auto } else { Wiring::AlwaysBus };
            let (leviathan, recorder) = recorded(Options { wiring, ..Options::default() });
            for step in &steps {
                take(&leviathan, step).await;
                check(&leviathan, &recorder);
            }
            recorder.take();
            leviathan.reconcile().await;
            assert_eq!(recorder.take(), [], "reconciliation finds nothing to do");
        });
    }
}
