//! The vectors about documents, models, numbers and addresses.

use std::collections::BTreeSet;

use poa_leviathan::delta::{Change, Instruction, delta};
use poa_leviathan::document::{CenDocument, CinDocument};
use poa_leviathan::model::{Cen, Container, Model};
use poa_leviathan::number::{bridge_address, container_address};
use poa_leviathan::wire::{EndId, Side, Wire, wires_of};
use poa_leviathan::{CenId, ContainerId, view};
use serde_json::{Value, json};

use crate::support::{cen, container, vectors};

fn end(wire: &Wire, end: &EndId) -> Value {
    let (side, dest) = match end.side() {
        Side::In => ("in", json!({"type": "cont", "id": end.container(), "alias": wire.cen()})),
        Side::Out => ("out", json!({"type": "cen", "id": wire.cen()})),
    };
    json!({"endID": end.to_string(), "side": side, "dest": dest})
}

fn describe_wire(wire: &Wire) -> Value {
    Value::Array(wire.ends().iter().map(|e| end(wire, e)).collect())
}

fn describe_cen(model: &Model, id: &CenId, cen: &Cen) -> Value {
    let wire_type = model.wire_type(id).map(|wire_type| wire_type.as_str());
    json!({"cenID": id, "wire_type": wire_type, "contIDs": cen.members()})
}

fn describe_container(id: &ContainerId, container: &Container) -> Value {
    json!({"contID": id, "cens": container.cens(), "reservedIdNums": container.reserved_numbers()})
}

/// The map of the vectors: everything sorted, wires by the id of the in end.
fn describe(model: &Model) -> Value {
    let cens = model.cens().iter().map(|(id, cen)| describe_cen(model, id, cen));
    let containers = model.containers().iter().map(|(id, c)| describe_container(id, c));
    let wires = model.cens().keys().flat_map(|cen| wires_of(model, cen));
    let mut wires: Vec<Value> = wires.map(|wire| describe_wire(&wire)).collect();
    wires.sort_by_key(|wire| wire[0]["endID"].as_str().unwrap().to_owned());
    json!({
        "cens": cens.collect::<Vec<_>>(),
        "conts": containers.collect::<Vec<_>>(),
        "wires": wires,
    })
}

fn sorted_wires(mut map: Value) -> Value {
    map["wires"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|wire| wire[0]["endID"].as_str().unwrap().to_owned());
    map
}

fn imported(document: &Value) -> Model {
    let mut model = Model::default();
    model.import_cens(&CenDocument::parse(document.to_string().as_bytes()).unwrap()).unwrap();
    model
}

fn built(ops: &Value) -> Model {
    let mut model = Model::default();
    for op in ops.as_array().unwrap() {
        let cen = cen(op["cenID"].as_str().unwrap());
        let member = || container(op["contID"].as_str().unwrap());
        match op["op"].as_str().unwrap() {
            "add_cen" => drop(model.add_cen(&cen)),
            "add_container" => drop(model.add_member(&cen, &member()).unwrap()),
            // A vector removes what is not there, and nothing happens.
            "remove_container" => drop(model.remove_member(&cen, &member())),
            other => panic!("unknown operation {other}"),
        }
    }
    model
}

#[test]
fn documents_become_maps() {
    for vector in vectors("cen_import") {
        let model = imported(&vector["input"]);
        assert_eq!(describe(&model), sorted_wires(vector["expected"].clone()), "{}", vector["id"]);
    }
}

#[test]
fn members_come_and_go() {
    for vector in vectors("levmap_ops") {
        let model = built(&vector["input"]["ops"]);
        assert_eq!(describe(&model), sorted_wires(vector["expected"].clone()), "{}", vector["id"]);
    }
}

fn describe_instruction(old: &Model, new: &Model, instruction: &Instruction) -> Value {
    let op = |change: &Change| if *change == Change::Add { "add" } else { "destroy" };
    let side = |change: &Change| if *change == Change::Add { new } else { old };
    match instruction {
        Instruction::Cen(change, id, cen) => {
            json!({"op": op(change), "item": "cen", "cen": describe_cen(side(change), id, cen)})
        }
        Instruction::ContainerInCen(change, (id, record), (cen_id, cen)) => json!({
            "op": op(change), "item": "cont_in_cen", "cont": describe_container(id, record),
            "cen": describe_cen(side(change), cen_id, cen),
        }),
        Instruction::Container(change, id, record) => {
            json!({"op": op(change), "item": "cont", "cont": describe_container(id, record)})
        }
        Instruction::Wire(change, wire) => {
            json!({"op": op(change), "item": "wire", "wire": describe_wire(wire)})
        }
        other => panic!("no vector has {other:?}"),
    }
}

#[test]
fn deltas_have_the_order_of_the_original() {
    for vector in vectors("levmap_delta") {
        let (old, new) = (built(&vector["input"]["from_ops"]), built(&vector["input"]["to_ops"]));
        let found = delta(&old, &new);
        let found: Vec<Value> =
            found.iter().map(|instruction| describe_instruction(&old, &new, instruction)).collect();
        assert_eq!(Value::Array(found), vector["expected"]["delta"], "{}", vector["id"]);
    }
}

#[test]
fn container_addresses() {
    for case in vectors("container_ip")
        .iter()
        .flat_map(|vector| vector["cases"].as_array().unwrap().clone())
    {
        let (b, n) = (case["ip_b"].as_u64().unwrap(), case["n"].as_u64().unwrap());
        let address = container_address(b.try_into().unwrap(), n.try_into().unwrap());
        assert_eq!(json!(address.ok()), case["ip"], "{case}");
    }
}

#[test]
fn bridge_addresses() {
    for case in
        vectors("bridge_ip").iter().flat_map(|vector| vector["cases"].as_array().unwrap().clone())
    {
        let is_first_bus = case["wire_type"] == "bus" && case["position"] == 1;
        let b = u8::try_from(case["ip_b"].as_u64().unwrap()).ok().filter(|_| is_first_bus);
        assert_eq!(json!(b.map(bridge_address)), case["ip"], "{case}");
    }
}

#[test]
fn cins_get_their_addresses() {
    for vector in vectors("cin_import") {
        let mut model = imported(&vector["input"]["cens"]);
        let document = CinDocument::parse(vector["input"]["cins"].to_string().as_bytes()).unwrap();
        let imported = model.import_cins(&document, &BTreeSet::new());
        let same = vector["sane"]["same_as_original"] == true;
        let expected = if same { &vector["original"] } else { &vector["sane"] };
        assert_eq!(
            imported.is_ok(),
            expected["http_status"] == 204 || vector["sane"]["http_status"] == 204
        );
        let (cins, containers) = describe_cins(&model);
        assert_eq!(cins, expected["cins"], "{}", vector["id"]);
        assert_eq!(containers, expected["conts"], "{}", vector["id"]);
        if same {
            assert_eq!(json!(model.next_ip_b()), expected["next_ip_b_after"], "{}", vector["id"]);
        }
    }
}

/// Both lists of the vectors: CINs by id, containers by CIN and id.
fn describe_cins(model: &Model) -> (Value, Value) {
    let (mut cins, mut containers) = (Vec::new(), Vec::new());
    for id in model.cins().keys() {
        let view = view::cin(model, id.as_str()).unwrap();
        let mut members = view["conts"].as_array().unwrap().clone();
        members.sort_by_key(|member| member["contID"].as_str().unwrap().to_owned());
        for mut member in members {
            member["cinID"] = json!(id);
            containers.push(member);
        }
        cins.push(json!({
            "cinID": id, "ip_b": view["ip_b"], "contIDs": view["contIDs"], "addressing": view["addressing"],
        }));
    }
    (Value::Array(cins), Value::Array(containers))
}
