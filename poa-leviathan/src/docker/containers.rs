//! Docker as the place where containers are started.

use std::time::Duration;

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;
use serde_json::{Value, json};

use super::inspect::short;
use super::{Docker, POOL_LABEL};
use crate::document::{Pool, Switch};
use crate::engine::Containers;
use crate::{Code, ContainerId, Error};

/// How long all switches of a request may take together.
const SWITCHES: Duration = Duration::from_secs(60);
/// The most names of containers that are kept until Docker removes them.
const MAX_LEFTOVERS: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[async_trait]
impl Containers for Docker {
    async fn start(&self, pool: &Pool) -> Result<ContainerId, Error> {
        let id = self.run(&pool_container(pool)).await?;
        ContainerId::new(short(&id))
    }

    async fn remove(&self, container: &ContainerId) -> Result<(), Error> {
        self.remove_named(container.as_str()).await
    }
}

fn pool_container(pool: &Pool) -> Value {
    json!({
        "Image": pool.image,
        "Cmd": ["/bin/bash"],
        "Tty": true,
        "Labels": {POOL_LABEL: pool.id},
        "HostConfig": {"NetworkMode": "none"},
    })
}

fn switch_container(switch: &Switch, datapath: &str) -> Value {
    let interfaces = switch.interfaces.iter().map(String::as_str);
    let command: Vec<&str> = std::iter::once(datapath).chain(interfaces).collect();
    json!({
        "Image": switch.image,
        "Cmd": command,
        "Tty": true,
        "Labels": {"leviathan.datapath": datapath},
        "HostConfig": {"NetworkMode": "host", "Privileged": true},
    })
}

impl Docker {
    /// Starts a privileged container on the network of the host for each switch, and returns their datapath ids. All or none.
    ///
    /// # Errors
    /// `docker_unavailable` when one does not start; `timeout` after 60 s.
    pub async fn start_switches(&self, switches: &[Switch]) -> Result<Vec<String>, Error> {
        let mut started = Vec::new();
        let starting = async {
            let mut ids = Vec::new();
            for switch in switches {
                let datapath = datapath_id()?;
                started.push(self.run(&switch_container(switch, &datapath)).await?);
                ids.push(datapath);
            }
            Ok(ids)
        };
        let late = || Err(Error::new(Code::Timeout, "the switches did not start within 60 s"));
        let done = tokio::time::timeout(SWITCHES, starting).await.unwrap_or_else(|_| late());
        if done.is_err() {
            for container in &started {
                self.discard(container).await;
            }
        }
        done
    }

    /// Creates and starts a container, and returns its id. What does not start is removed.
    async fn run(&self, container: &Value) -> Result<String, Error> {
        // Known before Docker answers: what it makes after the deadline can be removed as well.
        let name = format!("leviathan-{}", hexadecimal(&random()?));
        let path = format!("/containers/create?name={name}");
        let created = self.create(&path, container).await;
        let started = match created {
            Ok(id) => self.start_created(&id).await.map(|()| id),
            Err(error) => Err(error),
        };
        if started.is_err() {
            self.discard(&name).await;
        }
        started
    }

    async fn create(&self, path: &str, container: &Value) -> Result<String, Error> {
        let reply = self.client.call(Method::POST, path, Some(container)).await?;
        if reply.status != StatusCode::CREATED {
            return Err(reply.refusal("create a container"));
        }
        Ok(reply.json::<Created>()?.id)
    }

    async fn start_created(&self, id: &str) -> Result<(), Error> {
        let reply =
            self.client.call(Method::POST, &format!("/containers/{id}/start"), None).await?;
        let is_running = reply.status.is_success() || reply.status == StatusCode::NOT_MODIFIED;
        if is_running { Ok(()) } else { Err(reply.refusal("start a container")) }
    }

    async fn remove_named(&self, name: &str) -> Result<(), Error> {
        let path = format!("/containers/{name}?force=true&v=true");
        let reply = self.client.call(Method::DELETE, &path, None).await?;
        let is_gone = reply.status.is_success() || reply.status == StatusCode::NOT_FOUND;
        if is_gone { Ok(()) } else { Err(reply.refusal("remove a container")) }
    }

    /// Removes a container that was started for nothing, or remembers to do so when Docker is back.
    async fn discard(&self, name: &str) {
        if let Err(error) = self.remove_named(name).await {
            tracing::warn!("container {name} is removed later: {error}");
            let mut leftovers = self.leftovers.lock();
            if leftovers.len() < MAX_LEFTOVERS {
                leftovers.insert(name.to_owned());
            }
        }
    }

    /// Removes what could not be removed before.
    pub(super) async fn remove_leftovers(&self) {
        let leftovers = std::mem::take(&mut *self.leftovers.lock());
        for name in leftovers {
            self.discard(&name).await;
        }
    }
}

fn random() -> Result<[u8; 8], Error> {
    let mut bytes = [0; 8];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(8) => Ok(bytes),
        Ok(_) => Err(Error::internal("the kernel has no random numbers")),
        Err(error) => Err(Error::internal(format!("the kernel has no random numbers: {error}"))),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Eight random bytes as upper-case pairs joined by colons.
fn datapath_id() -> Result<String, Error> {
    let pairs: Vec<String> = random()?.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datapath_ids_are_eight_pairs() {
        let (one, other) = (datapath_id().unwrap(), datapath_id().unwrap());
        let is_pair = |pair: &str| {
            pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok() && pair == pair.to_uppercase()
        };
        assert!(one.split(':').count() == 8 && one.split(':').all(is_pair), "{one}");
        assert_ne!(one, other);
    }
}
