//! The service that traces name.

use std::collections::BTreeMap;

use crate::Config;

/// The service that the spans belong to: its attributes, by the names of OpenTelemetry's conventions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    attributes: BTreeMap<String, String>,
}

impl Service {
    /// The service that a configuration names, in this version, as a new instance on this machine.
    #[must_use]
    pub fn new(config: &Config, version: &str) -> Self {
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), config.service_name.clone()),
            ("service.version".to_owned(), version.to_owned()),
            ("service.instance.id".to_owned(), uuid::Uuid::new_v4().to_string()),
        ]);
        attributes.extend(hostname().map(|name| ("host.name".to_owned(), name)));
        attributes.extend(config.attributes.clone());
        Self { attributes }
    }

    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(unix)]
fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(not(unix))]
fn hostname() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_the_service_and_may_override_the_rest() {
        let attributes = [("service.instance.id".to_owned(), "node-1".to_owned())].into();
        let service_name = "ingest".to_owned();
        let mut config = Config { service_name, attributes, ..Config::default() };
        let service = Service::new(&config, "1.2.3");
        let all: BTreeMap<_, _> = service.attributes().collect();
        assert_eq!(all["service.name"], "ingest");
        assert_eq!(all["service.version"], "1.2.3");
        assert_eq!(all["service.instance.id"], "node-1");
        config.attributes.clear();
        assert_ne!(Service::new(&config, "1"), Service::new(&config, "1"), "two instances");
    }
}
