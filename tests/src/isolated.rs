//! Tests in namespaces of their own, and networks in there that can be cut.

use std::net::Ipv4Addr;
use std::process::Command;

/// Set inside.
const INSIDE: &str = "POA_TEST_ISOLATED";
const CURE: &str = "this test needs `unshare` and `mount` of util-linux, `ip` of iproute2, and either root or unprivileged user namespaces \
    (sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)";

/// Runs the test of this name, with its module, in user, network and mount namespaces of its own, so that it needs no privilege and the
/// machine is not touched.
///
/// # Panics
/// When the test fails, or the machine allows no namespaces.
pub fn isolated(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        // `ip netns` keeps its names below it.
        run("mount", "-t tmpfs tmpfs /run");
        run("ip", "link set lo up");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(body);
    }
    let mut outer = Command::new("unshare");
    outer.args(["--user", "--map-root-user", "--net", "--mount", "--"]);
    outer.arg(std::env::current_exe().unwrap());
    outer.args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    let output = outer.output().unwrap_or_else(|error| panic!("{CURE}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n({CURE})");
    assert!(text.contains("1 passed"), "{text}");
    println!("{text}");
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; {CURE}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}; {CURE}");
}

/// Machines on one network, each a named network namespace, and this one. For tests that are [`isolated`].
#[derive(Debug)]
pub struct Network(Vec<String>);

/// The name of this namespace among the machines.
pub const HERE: &str = "here";

impl Network {
    /// Joins machines of these names.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn of(machines: &[&str]) -> Self {
        run("ip", "link add lan type bridge");
        let network = Self(machines.iter().map(|name| (*name).to_owned()).collect());
        run("ip", &format!("addr add {}/24 dev lan", network.address(HERE)));
        run("ip", "link set lan up");
        for name in machines {
            run("ip", &format!("netns add {name}"));
            run("ip", &format!("link add {name}-lan type veth peer name lan netns {name}"));
            run("ip", &format!("link set {name}-lan master lan up"));
            run("ip", &format!("-n {name} addr add {}/24 dev lan", network.address(name)));
            run("ip", &format!("-n {name} link set lan up"));
            run("ip", &format!("-n {name} link set lo up"));
        }
        network
    }

    /// The address of a machine.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn address(&self, machine: &str) -> Ipv4Addr {
        let place = match machine {
            HERE => 0,
            _ => self.0.iter().position(|name| name == machine).unwrap() + 1,
        };
        Ipv4Addr::new(10, 99, 0, u8::try_from(place + 1).unwrap())
    }

    /// The names and addresses of these machines.
    pub fn places(&self, machines: &[&str]) -> Vec<(String, Ipv4Addr)> {
        machines.iter().map(|name| ((*name).to_owned(), self.address(name))).collect()
    }

    /// Nothing passes between a machine and these others any more, in neither direction.
    pub fn cut(&self, machine: &str, others: &[&str]) {
        self.routes("add", machine, others);
    }

    /// Everything passes again.
    pub fn heal(&self, machine: &str, others: &[&str]) {
        self.routes("del", machine, others);
    }

    fn routes(&self, verb: &str, machine: &str, others: &[&str]) {
        for other in others {
            self.route(verb, machine, other);
            self.route(verb, other, machine);
        }
    }

    fn route(&self, verb: &str, from: &str, to: &str) {
        let route = format!("route {verb} blackhole {}/32", self.address(to));
        match from {
            HERE => run("ip", &route),
            _ => run("ip", &format!("-n {from} {route}")),
        }
    }

    /// A command that runs a program on a machine.
    #[must_use]
    pub fn command(&self, machine: &str, program: &std::path::Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", machine]).arg(program);
        command
    }
}
