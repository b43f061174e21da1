//! The steps of a reload: the difference of two configurations.

mod difference;
mod files;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Config;
use difference::differences;
pub(crate) use files::FilesSeen;

/// The steps from one configuration to another. Names keys and files, never values: they may be secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The reasons why the whole host has to be replaced; empty if it need not be.
    pub host: Vec<String>,
    /// The keys that change only with a restart of the program.
    pub restart: Vec<String>,
    /// The step of each handler and receiver, handlers first, by name.
    pub steps: Vec<Step>,
}

/// The change of one handler or receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Its name in the configuration: `handlers.rest`.
    pub plugin: String,
    /// The change.
    pub change: Change,
    /// The reasons why it has to be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The change of a handler or receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It is new.
    Start,
    /// It was removed from the configuration.
    Stop,
    /// It is configured differently.
    Replace,
    /// It keeps running, with its connections, counters and sessions.
    Keep,
}

/// A configuration as it was applied, and the files it named as they were then.
#[derive(Clone)]
pub(crate) struct Applied {
    written: std::sync::Arc<Value>,
    files: FilesSeen,
}

impl Applied {
    /// Reads the attributes of the files that a configuration names.
    pub(crate) fn of(config: &Config) -> Self {
        Self { files: FilesSeen::of(config.written()), written: config.written_shared() }
    }
}

/// Names only: values may be secret.
impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied").finish_non_exhaustive()
    }
}

impl Plan {
    /// The steps from `old` to `new`.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        Self::of(&Applied::of(old), &Applied::of(new))
    }

    /// The steps of a start.
    #[must_use]
    pub fn start(new: &Config) -> Self {
        let nothing = Applied { written: Value::Null.into(), files: FilesSeen::default() };
        let mut plan = Self::of(&nothing, &Applied::of(new));
        plan.host.clear();
        plan.restart.clear();
        plan
    }

    pub(crate) fn of(old: &Applied, new: &Applied) -> Self {
        let mut plan = Self::default();
        plan.whole(old, new);
        for role in ["handlers", "receivers"] {
            plan.sections(role, old, new);
        }
        plan
    }

    /// Whether the two are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.changes_host() && self.restart.is_empty()
    }

    /// Whether anything but the admin listener has to change.
    pub(crate) fn changes_host(&self) -> bool {
        !self.host.is_empty() || self.steps.iter().any(|step| step.change != Change::Keep)
    }

    /// Whether a running host can take the steps one by one: nothing outside the sections changes, and no plugin needs an address on
    /// which another one listens (`taken`: the name of the plugin, and `ADDRESS:PORT`). A plugin that keeps its `listen` gets the socket
    /// of its predecessor. A handler without a `listen` key may have an address that is not known here.
    pub(crate) fn is_live(&self, new: &Value, taken: &[(String, String)]) -> bool {
        let mut made = self.steps.iter().filter(|step| step.is_made());
        self.host.is_empty()
            && made.all(|step| step.can_be_made_beside(new) && !step.listens_on(new, taken))
    }

    /// Everything outside the sections of handlers and receivers.
    fn whole(&mut self, old: &Applied, new: &Applied) {
        let without = |written: &Value| {
            let mut rest = written.clone();
            if let Some(rest) = rest.as_object_mut() {
                rest.remove("handlers");
                rest.remove("receivers");
            }
            rest
        };
        let mut found = differences(&without(&old.written), &without(&new.written));
        found.extend(old.files.changed(&new.files, &[], &["handlers", "receivers"]));
        (self.restart, self.host) =
            found.into_iter().partition(|reason| reason.starts_with("admin"));
    }

    fn sections(&mut self, role: &str, old: &Applied, new: &Applied) {
        let none = serde_json::Map::new();
        let of = |applied: &'_ Applied| applied.written[role].as_object().cloned();
        let (before, after) = (of(old).unwrap_or_default(), of(new).unwrap_or(none));
        for (name, section) in &after {
            let reasons = before.get(name).map(|earlier| {
                let mut reasons = differences(earlier, section);
                reasons.extend(old.files.changed(&new.files, &[role, name], &[]));
                reasons
            });
            let change = match &reasons {
                None => Change::Start,
                Some(reasons) if reasons.is_empty() => Change::Keep,
                Some(_) => Change::Replace,
            };
            self.push(role, name, change, reasons.unwrap_or_default());
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.push(role, name, Change::Stop, Vec::new());
        }
    }

    fn push(&mut self, role: &str, name: &str, change: Change, reasons: Vec<String>) {
        self.steps.push(Step { plugin: format!("{role}.{name}"), change, reasons });
    }
}

impl Step {
    fn is_made(&self) -> bool {
        matches!(self.change, Change::Start | Change::Replace)
    }

    /// Whether it is to listen on the port of one of these addresses, other than where its predecessor listens. Which of the machine's
    /// addresses a name or a wildcard covers is not considered.
    fn listens_on(&self, new: &Value, taken: &[(String, String)]) -> bool {
        let Some((role, name)) = self.plugin.split_once('.') else { return false };
        let listen = new[role][name]["listen"].as_str().unwrap_or_default();
        let Some((_, port)) = listen.rsplit_once(':') else { return false };
        let keeps = self.change == Change::Replace && !self.moves();
        let is_taken = |(by, address): &(String, String)| {
            !(keeps && by == name) && address.rsplit_once(':').is_some_and(|at| at.1 == port)
        };
        port != "0" && taken.iter().any(is_taken)
    }

    /// Whether it gets another address.
    fn moves(&self) -> bool {
        let moves = ["listen changed", "listen added"];
        self.reasons.iter().any(|reason| moves.contains(&reason.as_str()))
    }

    /// Whether it can be built while its predecessor runs.
    fn can_be_made_beside(&self, new: &Value) -> bool {
        let Some((role, name)) = self.plugin.split_once('.') else { return false };
        self.change == Change::Start
            || role == "receivers"
            || new[role][name].get("listen").is_some()
    }
}

/// One line for each change; a single line if nothing changes.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        let mut lines: Vec<String> = Vec::new();
        if !self.restart.is_empty() {
            lines.push(format!("restart needed   {}", self.restart.join(", ")));
        }
        if !self.host.is_empty() {
            lines.push(format!("replace the host {}", self.host.join(", ")));
        }
        lines.extend(self.steps.iter().map(ToString::to_string));
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.change {
            Change::Start => "start",
            Change::Stop => "stop",
            Change::Replace => "replace",
            Change::Keep => "keep",
        };
        write!(f, "{word:<8} {}", self.plugin)?;
        if self.reasons.is_empty() { Ok(()) } else { write!(f, "  ({})", self.reasons.join(", ")) }
    }
}

#[cfg(test)]
mod tests;
