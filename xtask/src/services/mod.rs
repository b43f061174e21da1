//! The servers and tools that tests need: found or installed, started privately on free ports, stopped with this process.
//!
//! Tests get their addresses in environment variables. If such a variable is set already, tests use that server, and
//! none is started.

mod browser;
mod debian;
mod dynamodb;
mod faketime;
mod nats;
mod opentelemetry;
mod plugins;
mod postgres;
mod prometheus;
mod python;
mod redis;
mod systemd;
mod websocket;

use std::any::Any;
use std::ffi::OsString;
use std::process::Child;

use crate::run::Failure;

pub(crate) use plugins::PLUGINS;

/// A started server or an installed tool. Dropping it stops the server and removes its files.
#[derive(Default)]
pub(crate) struct Service {
    /// Environment variables for the tests.
    environment: Vec<(&'static str, OsString)>,
    /// Values that live as long as the service, dropped in this order.
    kept: Vec<Box<dyn Any + Send>>,
}

/// Something that tests need.
struct Need {
    /// Its name in messages.
    name: &'static str,
    /// The variable that tells the tests where it is. When it is set already, nothing is started.
    variable: &'static str,
    start: fn() -> Result<Service, Failure>,
}

const ALL: &[Need] = &[
    Need { name: "a browser", variable: browser::VARIABLE, start: browser::start },
    Need { name: "DynamoDB", variable: dynamodb::VARIABLE, start: dynamodb::start },
    Need { name: "the example plugins", variable: plugins::VARIABLE, start: plugins::start },
    Need { name: "faketime", variable: faketime::VARIABLE, start: faketime::start },
    Need { name: "NATS", variable: nats::VARIABLE, start: nats::start },
    Need {
        name: "OpenTelemetry for Python",
        variable: opentelemetry::VARIABLE,
        start: opentelemetry::start,
    },
    Need { name: "PostgreSQL", variable: postgres::VARIABLE, start: postgres::start },
    Need { name: "Prometheus", variable: prometheus::VARIABLE, start: prometheus::start },
    Need { name: "Redis", variable: redis::VARIABLE, start: redis::start },
    Need { name: "systemd-analyze", variable: systemd::VARIABLE, start: systemd::start },
    Need { name: "Autobahn", variable: websocket::AUTOBAHN, start: websocket::autobahn },
    Need { name: "ws for Node.js", variable: websocket::NODE, start: websocket::node },
    Need { name: "websockets for Python", variable: websocket::PYTHON, start: websocket::python },
];

/// Starts everything, concurrently.
///
/// # Errors
/// The first that is not available. None is left running.
pub(crate) fn start_all() -> Result<Vec<Service>, Failure> {
    start(|_| true)
}

/// Those whose name contains one of these words, or all without any.
///
/// # Errors
/// As for [`start_all`].
pub(crate) fn start_named(words: &[String]) -> Result<Vec<Service>, Failure> {
    let has = |name: &str, word: &String| name.to_lowercase().contains(&word.to_lowercase());
    start(|need| words.is_empty() || words.iter().any(|word| has(need.name, word)))
}

/// Starts the servers for the benchmark of this name, or for all benchmarks.
///
/// # Errors
/// As for [`start_all`].
pub(crate) fn start_for_bench(which: Option<&str>) -> Result<Vec<Service>, Failure> {
    let is = |name| which.is_none_or(|which| which == name);
    let mut services = start(|need| match need.variable {
        dynamodb::VARIABLE => is("dynamo"),
        nats::VARIABLE => is("cluster") || is("gilmour"),
        redis::VARIABLE => is("gilmour"),
        postgres::VARIABLE => is("postgres") || is("postgres-outage"),
        _ => false,
    })?;
    if is("plugins") && std::env::var_os(plugins::VARIABLE).is_none() {
        services.push(plugins::start_for_bench()?);
    }
    Ok(services)
}

/// Flags for tests whose tools are optional.
pub(crate) fn test_features(services: &[Service]) -> &'static [&'static str] {
    let told = || services.iter().flat_map(Service::environment);
    if std::env::var_os(websocket::AUTOBAHN).is_some()
        || told().any(|(name, _)| name == websocket::AUTOBAHN)
    {
        &["--features", "poa-tests/autobahn"]
    } else {
        &[]
    }
}

fn start(wanted: impl Fn(&Need) -> bool) -> Result<Vec<Service>, Failure> {
    std::thread::scope(|scope| {
        let missing =
            ALL.iter().filter(|need| wanted(need) && std::env::var_os(need.variable).is_none());
        let starting: Vec<_> = missing.map(|need| (need, scope.spawn(need.start))).collect();
        let ended = starting.into_iter().map(|(need, starting)| match starting.join() {
            Ok(service) => service,
            Err(_) => Err(Failure::unavailable(need.name, "starting it panicked", "see above")),
        });
        ended.collect()
    })
}

impl Service {
    fn new() -> Self {
        Self::default()
    }

    /// Adds an environment variable for the tests.
    fn tell(mut self, variable: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((variable, value.into()));
        self
    }

    /// Keeps a value until the service is dropped, in the order of the calls: a process before its files.
    fn keep(mut self, thing: impl Any + Send) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    /// The environment variables for the tests.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.environment.iter().map(|(name, value)| (*name, value))
    }
}

/// A process that is killed when this is dropped.
struct Stopping(Child);

impl Drop for Stopping {
    fn drop(&mut self) {
        // Both fail only when it has exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
