//! The events of Docker: containers that start, end, and say which networks they want.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde::Deserialize;

use super::Docker;
use super::client::{Stream, unavailable};
use super::inspect::{Inspected, short};
use crate::{CenId, Code, ContainerId, Error, Leviathan};

/// The request for events of containers that change the picture, percent-encoded:
/// `{"type":["container"],"event":["start","die","destroy"]}`.
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22start%22%2C%22die%22%2C%22destroy%22%5D%7D";
/// The pause before the first attempt to connect again. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a container is tried again whose networks were busy.
const AGAIN: Duration = Duration::from_secs(1);
/// The longest event that is read.
const MAX_EVENT: usize = 1 << 20;

/// An event. Each has two spellings: `status` and `id` are the old one, `Action` and `Actor` the new one. Docker 20.10 sends both in one object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "Action")]
    action: String,
    status: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

impl Event {
    fn action(&self) -> &str {
        if self.action.is_empty() { &self.status } else { &self.action }
    }

    fn container(&self) -> &str {
        if self.actor.id.is_empty() { &self.id } else { &self.actor.id }
    }
}

/// The state of one follower.
struct Follower<'d> {
    docker: &'d Docker,
    leviathan: Leviathan,
    /// The process of each container that was looked at: it is looked at again when it has another.
    adopted: BTreeMap<String, u32>,
    /// Containers to be tried again.
    again: BTreeSet<String>,
    /// The tags that labels give.
    tags: BTreeMap<ContainerId, String>,
    /// Those of them that were set.
    tagged: BTreeMap<ContainerId, String>,
}

impl Docker {
    /// Follows the daemon until this future is dropped: a container that starts joins the CENs that its variable `LEV_CIN` names and gets the tag
    /// of its label `leviathan.tag`; one that starts or ends lets the host be compared with the model. Connects again whenever the daemon was away, and
    /// then looks at every container that runs.
    ///
    /// Cancel safe.
    pub async fn follow(&self, leviathan: Leviathan) {
        let (adopted, again, tags, tagged) = Default::default();
        let mut follower = Follower { docker: self, leviathan, adopted, again, tags, tagged };
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.client.open(EVENTS).await {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    follower.listen(stream).await
                }
                Err(error) => error,
            };
            tracing::warn!("{error}; the next attempt is in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Follower<'_> {
    /// Until the stream ends; returns why.
    async fn listen(&mut self, mut stream: Stream) -> Error {
        // The stream is open already: what happens during the look at all is told by it.
        if let Err(error) = self.look_at_all().await {
            return error;
        }
        let mut models = self.leviathan.models();
        let mut clock = tokio::time::interval(AGAIN);
        let mut text = Vec::new();
        loop {
            tokio::select! {
                frame = stream.body.frame() => {
                    let data = match frame {
                        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                        Some(Err(error)) => return unavailable(format!("its events end: {error}")),
                        None => return unavailable("its events end"),
                    };
                    text.extend_from_slice(&data);
                    self.hear(&mut text).await;
                    if text.len() > MAX_EVENT {
                        return unavailable("an event has no end");
                    }
                }
                Ok(()) = models.changed() => self.set_tags().await,
                _ = clock.tick(), if !self.again.is_empty() => self.try_again().await,
            }
        }
    }

    /// After a time without events, all containers are looked at.
    async fn look_at_all(&mut self) -> Result<(), Error> {
        self.docker.remove_leftovers().await;
        let running = self.docker.running().await?;
        self.adopted.retain(|id, _| running.contains(id));
        for id in running {
            self.adopt(&id).await;
        }
        self.docker.changed.notify_one();
        Ok(())
    }

    /// Takes whole lines off the text.
    async fn hear(&mut self, text: &mut Vec<u8>) {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) => self.act(&event).await,
                Err(error) if line.trim_ascii().is_empty() => drop(error),
                Err(error) => tracing::warn!("an event of Docker is not understood: {error}"),
            }
        }
    }

    async fn act(&mut self, event: &Event) {
        let id = event.container();
        match event.action() {
            "start" => self.adopt(id).await,
            "die" | "destroy" => {
                self.adopted.remove(id);
                self.again.remove(id);
            }
            _ => return,
        }
        self.docker.changed.notify_one();
    }

    async fn try_again(&mut self) {
        for id in std::mem::take(&mut self.again) {
            self.adopted.remove(&id);
            self.adopt(&id).await;
        }
    }

    /// Looks at a container that started.
    async fn adopt(&mut self, id: &str) {
        let found = match self.docker.inspect(id).await {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!("container {} is looked at later: {error}", short(id));
                self.again.insert(id.to_owned());
                return;
            }
        };
        let Some(pid) = found.pid() else { return };
        if self.adopted.insert(id.to_owned(), pid) == Some(pid) {
            return;
        }
        for name in found.names().into_iter().filter_map(|name| ContainerId::new(name).ok()) {
            match found.tag() {
                Some(tag) => drop(self.tags.insert(name, tag.to_owned())),
                None => drop(self.tags.remove(&name)),
            }
        }
        if self.join(&found).await.is_err() {
            self.again.insert(id.to_owned());
        }
        self.set_tags().await;
    }

    /// Adds a container to the CENs that it names. Fails if another attempt may succeed.
    async fn join(&self, found: &Inspected) -> Result<(), Error> {
        let Ok(container) = ContainerId::new(found.names()[0]) else { return Ok(()) };
        let mut busy = Ok(());
        for name in found.wanted_cens() {
            let joined = match CenId::new(name) {
                Ok(cen) => self.leviathan.put_member(cen, container.clone()).await,
                Err(error) => Err(error),
            };
            match joined {
                Ok(()) => {}
                Err(error) if is_passing(&error) => busy = Err(error),
                Err(error) => tracing::warn!("container {container} cannot join {name}: {error}"),
            }
        }
        busy
    }

    /// Sets the tags of labels for containers that are known. A tag that a request sets later stays.
    async fn set_tags(&mut self) {
        let model = self.leviathan.model();
        let known = |id: &ContainerId| model.containers().contains_key(id);
        self.tagged.retain(|id, _| known(id));
        let due =
            self.tags.iter().filter(|(id, tag)| known(id) && self.tagged.get(*id) != Some(*tag));
        let due: Vec<(ContainerId, String)> =
            due.map(|(id, tag)| (id.clone(), tag.clone())).collect();
        for (id, tag) in due {
            match self.leviathan.set_tag(id.clone(), Some(tag.clone())).await {
                Ok(()) => drop(self.tagged.insert(id, tag)),
                Err(error) => tracing::warn!("container {id} has no tag: {error}"),
            }
        }
    }
}

/// Whether a later attempt may succeed.
fn is_passing(error: &Error) -> bool {
    matches!(error.code(), Code::Busy | Code::DockerUnavailable | Code::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As daemons of different age send it; the first was recorded from Docker 20.10.
    #[test]
    fn events_of_both_spellings_are_understood() {
        let both = r#"{"status":"start","id":"84a70a","from":"bb:1","Type":"container","Action":"start","Actor":{"ID":"84a70a","Attributes":{"image":"bb:1","name":"c1"}},"scope":"local","time":1796006901,"timeNano":1796006901426022460}"#;
        let new = r#"{"Type":"container","Action":"start","Actor":{"ID":"84a70a"}}"#;
        let old = r#"{"status":"start","id":"84a70a","from":"bb:1","time":1796006901}"#;
        for text in [both, new, old] {
            let event: Event = serde_json::from_str(text).unwrap();
            assert_eq!((event.action(), event.container()), ("start", "84a70a"), "{text}");
        }
    }
}
