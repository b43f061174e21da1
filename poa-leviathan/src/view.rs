//! The model as clients see it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::{Cen, ContainerAddress, LastError, Model};
use crate::{CenId, CinId, ContainerId, Error};

/// A CEN: `GET /cen/{id}`. `missing` has the containers that do not run.
///
/// # Errors
/// `unknown_cen`.
pub fn cen(model: &Model, missing: &BTreeSet<ContainerId>, id: &str) -> Result<Value, Error> {
    let cen = model.cen(id)?;
    let wire_type = CenId::new(id).ok().and_then(|id| model.wire_type(&id));
    let mut view = json!({
        "cenID": id,
        "contIDs": cen.members(),
        "wire_type": wire_type.map(|wire_type| wire_type.as_str()),
        "wiring_type": wire_type.map(|wire_type| wire_type.as_wiring_type()),
        "status": cen.status().as_str(),
    });
    let lost = lost_members(cen, missing);
    if let Some(view) = view.as_object_mut() {
        if cen.status().is_up() && !lost.is_empty() {
            view.insert("missing".to_owned(), json!(lost));
        }
        insert_error(view, cen.last_error());
    }
    Ok(view)
}

fn lost_members<'c>(cen: &'c Cen, missing: &BTreeSet<ContainerId>) -> Vec<&'c ContainerId> {
    cen.members().iter().filter(|member| missing.contains(*member)).collect()
}

fn insert_error(view: &mut Map<String, Value>, error: Option<&LastError>) {
    if let Some(error) = error {
        view.insert("last_error".to_owned(), json!(error));
    }
}

/// All CENs: `GET /cens`.
#[must_use]
pub fn cens(model: &Model, missing: &BTreeSet<ContainerId>) -> Value {
    let views = model.cens().keys().filter_map(|id| cen(model, missing, id.as_str()).ok());
    json!({ "cens": views.collect::<Vec<_>>() })
}

/// A CIN: `GET /cin/{id}`.
///
/// # Errors
/// `unknown_cin`.
pub fn cin(model: &Model, id: &str) -> Result<Value, Error> {
    let cin = model.cin(id)?;
    let id = CinId::new(id)?;
    let bridges = cin
        .cens()
        .iter()
        .map(|cen| (cen.to_string(), json!({"interface": cen, "ip": model.gateway(&id, cen)})));
    let mut view = json!({
        "cinID": id,
        "cenIDs": cin.cens(),
        "contIDs": model.cin_members(&id),
        "ip_b": cin.ip_b(),
        "addressing": bridges.collect::<Map<_, _>>(),
        "conts": model.addresses(&id).iter().map(container_address).collect::<Vec<_>>(),
        "status": cin.status().as_str(),
    });
    if let Some(view) = view.as_object_mut() {
        insert_error(view, cin.last_error());
    }
    Ok(view)
}

fn container_address(address: &ContainerAddress) -> Value {
    let entry = json!({
        "endID": address.end.to_string(),
        "interface": address.cen,
        "ip": address.ip,
    });
    let addressing = Map::from_iter([(address.cen.to_string(), entry)]);
    json!({"contID": address.container, "addressing": addressing})
}

/// All CINs: `GET /cins`.
#[must_use]
pub fn cins(model: &Model) -> Value {
    let views = model.cins().keys().filter_map(|id| cin(model, id.as_str()).ok());
    json!({ "cins": views.collect::<Vec<_>>() })
}

/// A container: `GET /host/{host}/{container}`.
///
/// # Errors
/// `unknown_container`.
pub fn container(model: &Model, host: &str, id: &str) -> Result<Value, Error> {
    let container = model.container(id)?;
    Ok(json!({
        "contID": id,
        "hostID": host,
        "cens": container.cens(),
        "reservedIdNums": container.reserved_numbers(),
        "tag": container.tag(),
    }))
}
