//! A server or a cluster, and its files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, wait_until_ready};
use crate::{SYSTEM, ServerError, free_port, program};

/// How often other ports are tried when another process was faster.
const PORTS: usize = 5;

/// How servers are set up.
#[derive(Clone, Debug)]
pub struct Setup {
    count: usize,
    lazy: bool,
    settings: String,
    jetstream: String,
    accounts: Option<String>,
    store: Option<PathBuf>,
    namespaces: Vec<(String, Ipv4Addr)>,
    program: Option<PathBuf>,
}

impl Setup {
    /// One server.
    #[must_use]
    pub fn single() -> Self {
        Self {
            count: 1,
            lazy: false,
            settings: String::new(),
            jetstream: String::new(),
            accounts: None,
            store: None,
            namespaces: Vec::new(),
            program: None,
        }
    }

    /// Three servers that form a cluster.
    #[must_use]
    pub fn cluster() -> Self {
        Self { count: 3, ..Self::single() }
    }

    /// Syncs when NATS does by default: every two minutes.
    #[must_use]
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// One more line of the configuration, such as `max_payload: 64KB`.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// One more line of the section `jetstream`, such as `max_file_store: 10MB`.
    #[must_use]
    pub fn set_jetstream(mut self, line: &str) -> Self {
        self.jetstream.push_str(line);
        self.jetstream.push('\n');
        self
    }

    /// Accounts other than the usual ones, which clients need no credentials for: the lines of the configuration about them.
    #[must_use]
    pub fn accounts(mut self, lines: &str) -> Self {
        self.accounts = Some(lines.to_owned());
        self
    }

    /// Keeps everything below this directory, which is on a disk. By default it is where temporary files are, which can be in memory.
    #[must_use]
    pub fn store_in(mut self, directory: &Path) -> Self {
        self.store = Some(directory.to_owned());
        self
    }

    /// Runs each server in a network namespace of its own, which exists and has this address.
    #[must_use]
    pub fn within(mut self, namespaces: impl IntoIterator<Item = (String, Ipv4Addr)>) -> Self {
        self.namespaces = namespaces.into_iter().collect();
        self.count = self.namespaces.len();
        self
    }

    /// Runs this program. By default the one that [`program`] finds.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    fn address(&self, server: usize) -> Ipv4Addr {
        self.namespaces.get(server).map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address)
    }

    fn command(&self, server: usize, program: &Path) -> Vec<PathBuf> {
        let namespace = self.namespaces.get(server).into_iter();
        let before = namespace.flat_map(|(name, _)| ["ip", "netns", "exec", name.as_str()]);
        before.map(PathBuf::from).chain([program.to_owned()]).collect()
    }
}

/// One account for all clients, and the system account.
fn usual_accounts() -> String {
    let (user, password) = SYSTEM;
    format!(
        "accounts {{\nPOA {{ jetstream: enabled, users: [{{user: poa, password: poa}}] }}\n\
         SYS {{ users: [{{user: {user}, password: {password}}}] }}\n}}\nsystem_account: SYS\nno_auth_user: poa"
    )
}

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    monitor: u16,
    route: u16,
}

impl Ports {
    fn free() -> Self {
        Self { client: free_port(), monitor: free_port(), route: free_port() }
    }
}

/// One server or a cluster. Dropping it ends the servers and removes their files.
#[derive(Debug)]
pub struct Servers {
    setup: Setup,
    ports: Vec<Ports>,
    // Before the directory: a process is dropped before its files.
    processes: Vec<Process>,
    dir: TempDir,
}

impl Servers {
    /// Starts the servers. Blocks until all of them are ready.
    ///
    /// # Errors
    /// When the program is missing, or a server does not start.
    pub fn start(setup: Setup) -> Result<Self, ServerError> {
        let mut tries = 1;
        loop {
            match Self::try_start(&setup) {
                Err(ServerError::NotStarted { log })
                    if log.contains("address already in use") && tries < PORTS =>
                {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    fn try_start(setup: &Setup) -> Result<Self, ServerError> {
        let program = setup.program.clone().map_or_else(program, Ok)?;
        let failed = ServerError::io("cannot make a directory for temporary files");
        let store = setup.store.clone().unwrap_or_else(std::env::temp_dir);
        let dir = TempDir::with_prefix_in("poa-nats-", store).map_err(failed)?;
        let ports: Vec<_> = (0..setup.count).map(|_| Ports::free()).collect();
        let mut servers = Self { setup: setup.clone(), ports, processes: Vec::new(), dir };
        for server in 0..setup.count {
            let directory = servers.dir.path().join(format!("n{server}"));
            servers.write_config(server, &directory)?;
            let monitor: (IpAddr, u16) =
                (setup.address(server).into(), servers.ports[server].monitor);
            let command = setup.command(server, &program);
            servers.processes.push(Process::new(command, &directory, monitor));
        }
        servers.resume_all()?;
        Ok(servers)
    }

    fn write_config(&self, server: usize, directory: &Path) -> Result<(), ServerError> {
        let failed =
            || ServerError::io(format!("cannot write {}", directory.join("nats.conf").display()));
        fs::create_dir_all(directory).map_err(failed())?;
        fs::write(directory.join("nats.conf"), self.config(server, directory)).map_err(failed())
    }

    fn config(&self, server: usize, directory: &Path) -> String {
        let (address, ports) = (self.setup.address(server), self.ports[server]);
        let sync = if self.setup.lazy { "" } else { "sync_interval: always\n" };
        let mut config = format!(
            "server_name: n{server}\nlisten: \"{address}:{}\"\nhttp: \"{address}:{}\"\n\
             jetstream {{\nstore_dir: {:?}\n{sync}{}}}\n{}\n{}",
            ports.client,
            ports.monitor,
            directory.join("store"),
            self.setup.jetstream,
            self.setup.accounts.clone().unwrap_or_else(usual_accounts),
            self.setup.settings,
        );
        if self.setup.count > 1 {
            config.push_str(&self.routes(address, ports.route));
        }
        config
    }

    fn routes(&self, address: Ipv4Addr, port: u16) -> String {
        let route = |(server, ports): (usize, &Ports)| {
            format!("\"nats://{}:{}\"", self.setup.address(server), ports.route)
        };
        let routes: Vec<_> = self.ports.iter().enumerate().map(route).collect();
        format!(
            "cluster {{ name: poa, listen: \"{address}:{port}\", routes: [{}] }}\n",
            routes.join(", ")
        )
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.setup.count
    }

    /// The address for clients of this server.
    #[must_use]
    pub fn url(&self, server: usize) -> String {
        format!("nats://{}:{}", self.setup.address(server), self.ports[server].client)
    }

    /// The addresses for clients of the servers.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        (0..self.setup.count).map(|server| self.url(server)).collect()
    }

    /// The addresses of the servers' monitoring endpoints.
    #[must_use]
    pub fn monitors(&self) -> Vec<String> {
        let url = |server| {
            format!("http://{}:{}", self.setup.address(server), self.ports[server].monitor)
        };
        (0..self.setup.count).map(url).collect()
    }

    /// The server of this name, `n0` to `n2`, as JetStream calls the leader of a stream.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<usize> {
        name.strip_prefix('n')?.parse().ok().filter(|server| *server < self.setup.count)
    }

    /// Ends a server at once, as `kill -9`.
    pub fn kill(&mut self, server: usize) {
        self.processes[server].kill();
    }

    /// Ends all servers at once.
    pub fn kill_all(&mut self) {
        // First all signals: the last one must not have the time to notice.
        self.processes.iter().for_each(|process| process.signal(Signal::KILL));
        self.processes.iter_mut().for_each(Process::kill);
    }

    /// Stops a server in order: it hands over what it leads. Blocks until it has ended.
    pub fn stop(&mut self, server: usize) {
        self.processes[server].stop();
    }

    /// Starts a server again, at the same place. Blocks until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self, server: usize) -> Result<(), ServerError> {
        self.processes[server].launch()?;
        wait_until_ready(&mut self.processes[server..=server])
    }

    /// Starts all servers, again or for the first time. Blocks until they are ready.
    ///
    /// # Errors
    /// When one does not start.
    pub fn resume_all(&mut self) -> Result<(), ServerError> {
        self.processes.iter_mut().try_for_each(Process::launch)?;
        wait_until_ready(&mut self.processes)
    }

    /// Stops the process where it is: its connections stay open and silent.
    pub fn freeze(&self, server: usize) {
        self.processes[server].signal(Signal::STOP);
    }

    /// Lets a frozen server continue.
    pub fn thaw(&self, server: usize) {
        self.processes[server].signal(Signal::CONT);
    }

    /// The log output of a server over all its runs.
    #[must_use]
    pub fn log(&self, server: usize) -> String {
        self.processes[server].log()
    }
}
