//! The directories, ports and configurations of the cluster.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use poa_engine_nats::{Config, Synced};

use super::member::Plan;
use crate::failure::Failure;

/// The data types of the fleet.
const TYPES: [&str; 3] = ["ethereum_metrics", "networking_metrics", "system_metrics"];
/// The nodes, in the order in which they start.
const NODES: [&str; 4] = ["receivers-1", "receivers-2", "front-1", "front-2"];
/// The ports of a member, from its first to the first of the next.
const STEP: u16 = 10;
/// The first port of the servers, from the base.
const SERVERS: u16 = STEP * NODES.len() as u16;
/// The most bytes of the stream.
const MOST: u64 = 256 << 20;

/// Everything that is decided before the first process starts.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    base: u16,
    servers: u16,
}

impl Layout {
    /// Below this directory, with the ports from `base` on; base 0 stands for any free ones.
    ///
    /// # Errors
    /// When a port is in use.
    pub(super) fn new(data_dir: &Path, base: u16, servers: u16) -> Result<Self, Failure> {
        let dir = std::path::absolute(data_dir.join("cluster"))
            .map_err(|error| Failure::new(data_dir.display(), error))?;
        let of = |base| Self { dir: dir.clone(), base, servers };
        if base != 0 {
            return match of(base).taken() {
                None => Ok(of(base)),
                Some(port) => Err(Failure::because(format_args!(
                    "port {port} of 127.0.0.1 is in use, or too high; try others with --listen-base 5000"
                ))),
            };
        }
        // Below the ports that the system gives to outgoing connections: a client of a server that was killed may be given its
        // very port, and so reach itself.
        let any = || 10_000 + (RandomState::new().hash_one("ports") % 20_000) as u16;
        let free =
            std::iter::repeat_with(any).take(1000).map(of).find(|layout| layout.taken().is_none());
        free.ok_or_else(|| Failure::because("there are no free ports from 10000 to 30000"))
    }

    /// A port of this cluster that cannot be listened at.
    fn taken(&self) -> Option<u16> {
        let nodes =
            (0..SERVERS).step_by(STEP.into()).flat_map(|first| [first, first + 2, first + 3]);
        let servers = (0..self.servers).flat_map(|server| {
            let first = SERVERS + STEP * server;
            [first, first + 1, first + 2]
        });
        nodes.chain(servers).find_map(|offset| match self.base.checked_add(offset) {
            Some(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err().then_some(port),
            None => Some(u16::MAX),
        })
    }

    pub(super) fn servers(&self) -> usize {
        self.servers.into()
    }

    /// The names of the nodes, in the order in which they start.
    pub(super) fn nodes(&self) -> [&'static str; 4] {
        NODES
    }

    /// The database of the receivers.
    pub(super) fn rows(&self) -> PathBuf {
        self.dir.join("metrics.db")
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first port of a node.
    fn first(&self, node: &str) -> u16 {
        let place = NODES.iter().rev().position(|name| *name == node).unwrap_or(0);
        self.base + STEP * place as u16
    }

    /// The REST and the auth handler of a front end.
    pub(super) fn front(&self, node: &str) -> (String, String) {
        let at = |offset| format!("http://127.0.0.1:{}", self.first(node) + offset);
        (at(2), at(3))
    }

    /// The port for clients of a server; its monitoring is one above, the other servers connect two above.
    fn port(&self, server: usize) -> u16 {
        self.base + SERVERS + STEP * server as u16
    }

    /// The address of the monitoring of a server.
    pub(super) fn monitor(&self, server: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.port(server) + 1)
    }

    /// The address for clients of a server.
    pub(super) fn url(&self, server: usize) -> String {
        format!("nats://127.0.0.1:{}", self.port(server))
    }

    fn all(&self, scheme: &str, offset: u16) -> Vec<String> {
        let at = |server| format!("{scheme}://127.0.0.1:{}", self.port(server) + offset);
        (0..self.servers()).map(at).collect()
    }

    /// The configuration to ask the servers with.
    pub(super) fn bus(&self) -> Config {
        let mut config = Config::new(self.all("nats", 0), MOST);
        config.synced = Synced::Trust;
        config
    }

    /// Writes the configuration of a server.
    pub(super) fn server(&self, server: usize, program: &Path) -> Result<Plan, Failure> {
        let name = format!("nats-{}", server + 1);
        let dir = self.dir.join(&name);
        let port = self.port(server);
        let config = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{}\"\nmax_payload: 8MB\n\
             jetstream {{\n  store_dir: {:?}\n  sync_interval: always\n  max_file_store: 4GB\n}}\n\
             cluster {{ name: poa, listen: \"127.0.0.1:{}\", routes: {:?} }}\n",
            port + 1,
            dir.join("store"),
            port + 2,
            self.all("nats", 2),
        );
        write(&dir, "nats.conf", &config)?;
        let arguments = vec!["-c".into(), "nats.conf".into()];
        Ok(Plan { name, program: program.to_owned(), arguments, dir })
    }

    /// Writes the configuration of a node.
    pub(super) fn node(&self, name: &str) -> Result<Plan, Failure> {
        let dir = self.dir.join(name);
        write(&dir, "poa.toml", &self.config(name))?;
        let program = std::env::current_exe()
            .map_err(|error| Failure::new("cannot find this program", error))?;
        let arguments = vec!["--config".into(), "poa.toml".into()];
        Ok(Plan { name: name.to_owned(), program, arguments, dir })
    }

    fn config(&self, node: &str) -> String {
        let first = self.first(node);
        format!(
            "data_dir = \"data\"\nmetrics = {TYPES:?}\nstart_timeout = \"50s\"\n\n[admin]\nlisten = \"127.0.0.1:{first}\"\n\n{}\n\
             [bus]\nengine = \"nats\"\n\n[bus.nats]\nservers = {:?}\nmonitor = {:?}\nmax_bytes = \"{}MiB\"\nnode = \"{node}\"\n\
             start_timeout = \"45s\"\n",
            self.plugins(node, first),
            self.all("nats", 0),
            self.all("http", 1),
            MOST >> 20,
        )
    }

    fn plugins(&self, node: &str, first: u16) -> String {
        if node.starts_with("front") {
            let (rest, auth) = (first + 2, first + 3);
            format!(
                "[handlers.rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:{rest}\"\n\n\
                 [handlers.auth]\nkind = \"auth\"\nlisten = \"127.0.0.1:{auth}\"\n"
            )
        } else {
            let path = self.rows();
            format!(
                "[receivers.local]\nkind = \"sqlite\"\npath = {path:?}\nsubscribe = {TYPES:?}\nbusy_timeout = \"30s\"\n"
            )
        }
    }
}

fn write(dir: &Path, file: &str, text: &str) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(dir.join(file), text));
    written.map_err(|error| Failure::new(dir.join(file).display(), error))
}

#[cfg(test)]
mod tests {
    use poa_host::Source;

    use super::*;
    use crate::registry::registry;

    #[test]
    fn the_configurations_of_the_nodes_are_good_and_their_ports_differ() {
        let layout = Layout { dir: "/tmp/a \"quoted\" place".into(), base: 4000, servers: 3 };
        let mut ports = Vec::new();
        for node in NODES {
            let source = Source::Text { name: "node", text: layout.config(node) };
            let config = source.load(&registry()).unwrap();
            assert_eq!(config.engine(), "nats");
            ports.push(config.admin().port());
        }
        assert_eq!(ports, [4030, 4020, 4010, 4000]);
        assert_eq!(layout.front("front-2").0, "http://127.0.0.1:4002");
        assert_eq!(layout.url(2), "nats://127.0.0.1:4060");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let layout = Layout { dir: PathBuf::new(), base: port, servers: 3 };
        assert_eq!(layout.taken(), Some(port));
        let high = Layout { dir: PathBuf::new(), base: 65_500, servers: 3 };
        assert!(high.taken().is_some());
    }
}
