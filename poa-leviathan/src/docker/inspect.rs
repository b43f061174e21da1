//! The properties of a container, as Docker reports them.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::client::Reply;
use super::{CENS_VARIABLE, Docker, TAG_LABEL};
use crate::Error;

/// How many characters of an id name a container.
const SHORT: usize = 12;

/// The parts of `GET /containers/{id}/json` that count here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    running: bool,
    pid: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

/// An entry of `GET /containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

impl Inspected {
    /// The process whose network namespace is that of the container. `None` if it does not run.
    pub(super) fn pid(&self) -> Option<u32> {
        (self.state.running && self.state.pid > 0).then_some(self.state.pid)
    }

    /// The names by which requests may know it: the short id first.
    pub(super) fn names(&self) -> [&str; 2] {
        [short(&self.id), self.name.trim_start_matches('/')]
    }

    pub(super) fn tag(&self) -> Option<&str> {
        self.config.labels.as_ref()?.get(TAG_LABEL).map(String::as_str)
    }

    /// The CENs that it asks to join: of the one variable that names any, if it has no network of its own.
    pub(super) fn wanted_cens(&self) -> Vec<&str> {
        let variables = self.config.env.iter().flatten();
        let values = variables.filter_map(|entry| entry.split_once('='));
        let mut values = values.filter(|(name, _)| *name == CENS_VARIABLE);
        match (values.next(), values.next()) {
            (Some((_, cens)), None) if self.host_config.network_mode == "none" => {
                cens.split(',').map(str::trim).filter(|cen| !cen.is_empty()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The id by which a container is known here.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

impl Docker {
    /// Asks for a container by id or name. `None` if there is none.
    ///
    /// # Errors
    /// `docker_unavailable`.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<Inspected>, Error> {
        let reply: Reply =
            self.client.call(Method::GET, &format!("/containers/{id}/json"), None).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => reply.json().map(Some),
            _ => Err(reply.refusal("inspect a container")),
        }
    }

    /// The ids of all containers that run.
    ///
    /// # Errors
    /// `docker_unavailable`.
    pub(super) async fn running(&self) -> Result<Vec<String>, Error> {
        let reply = self.client.call(Method::GET, "/containers/json", None).await?;
        if !reply.status.is_success() {
            return Err(reply.refusal("list containers"));
        }
        let listed: Vec<Listed> = reply.json()?;
        Ok(listed.into_iter().map(|container| container.id).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn inspected(env: Value, mode: &str) -> Inspected {
        serde_json::from_value(json!({
            "Id": "c0ffee000001aaaa", "Name": "/lab", "State": {"Running": true, "Pid": 7},
            "Config": {"Env": env, "Labels": {"leviathan.tag": "blue"}}, "HostConfig": {"NetworkMode": mode},
        }))
        .unwrap()
    }

    #[test]
    fn a_container_says_which_cens_it_joins() {
        let found = inspected(json!(["A=1", "LEV_CIN=cen1, cen2,"]), "none");
        assert_eq!(found.wanted_cens(), ["cen1", "cen2"]);
        assert_eq!(found.names(), ["c0ffee000001", "lab"]);
        assert_eq!((found.pid(), found.tag()), (Some(7), Some("blue")));
        assert!(inspected(json!(["LEV_CIN=cen1"]), "bridge").wanted_cens().is_empty());
        assert!(inspected(json!(["LEV_CIN=a", "LEV_CIN=b"]), "none").wanted_cens().is_empty());
        assert!(inspected(Value::Null, "none").wanted_cens().is_empty());
    }

    #[test]
    fn most_may_be_absent() {
        let bare: Inspected = serde_json::from_value(json!({"Id": "abc"})).unwrap();
        assert_eq!((bare.pid(), bare.names(), bare.tag()), (None, ["abc", ""], None));
    }
}
