//! Operations as the commands that would do them.

use std::collections::BTreeMap;

use crate::name::{Purpose, out_name, trunk_names};
use crate::number::{CIN_PREFIX, bridge_address};
use crate::operation::{Addressing, Operation, Trunk};
use crate::wire::{EndId, Side, Wire};
use crate::{CenId, ContainerId};

/// In which commands operations are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// The commands of the original: `brctl`, `ifconfig`, `docker inspect`. The prefix is where it saw the file system of the host,
    /// such as `/host`; process ids show as `{pid:<container>}` unless they are given.
    Original {
        /// The directory with `/proc` and `/var` of the host.
        prefix: String,
        /// Process ids that are known.
        pids: BTreeMap<ContainerId, u32>,
    },
    /// Commands of iproute2 for named network namespaces, which can be run.
    Iproute {
        /// The host id, which goes into the names that are too long.
        host: String,
    },
}

impl Style {
    /// The commands of the original with open process ids.
    #[must_use]
    pub fn original(prefix: &str) -> Self {
        Self::Original { prefix: prefix.to_owned(), pids: BTreeMap::new() }
    }

    /// The commands of an operation, in order. Nothing is quoted: identifiers have no character that a shell knows.
    #[must_use]
    pub fn commands(&self, operation: &Operation) -> Vec<String> {
        match self {
            Self::Original { prefix, pids } => Original { prefix, pids }.commands(operation),
            Self::Iproute { host } => Iproute { host }.commands(operation),
        }
    }
}

/// Section 3.3 of the specification.
struct Original<'s> {
    prefix: &'s str,
    pids: &'s BTreeMap<ContainerId, u32>,
}

impl Original<'_> {
    fn pid(&self, container: &ContainerId) -> String {
        match self.pids.get(container) {
            Some(pid) => pid.to_string(),
            None => format!("{{pid:{container}}}"),
        }
    }

    fn inspect(container: &ContainerId) -> String {
        format!("docker inspect -f '{{{{.State.Pid}}}}' {container}")
    }

    fn commands(&self, operation: &Operation) -> Vec<String> {
        match operation {
            Operation::BridgeUp(cen) => {
                vec![format!("brctl addbr {cen}"), format!("ifconfig {cen} up")]
            }
            Operation::BridgeDown(cen) => {
                vec![format!("ifconfig {cen} down"), format!("brctl delbr {cen}")]
            }
            Operation::NetnsLink(container) => self.netns_link(container),
            Operation::WireUp(wire) => self.wire_up(wire),
            Operation::WireFix(wire) => self.wire_fix(wire),
            Operation::WireDown(wire) => self.wire_down(wire),
            Operation::BridgeAddress(cen, b) => {
                vec![format!("ip addr add {}/{CIN_PREFIX} dev {cen}", bridge_address(*b))]
            }
            Operation::BridgeAddressDown(cen, b) => {
                vec![format!("ip addr del {}/{CIN_PREFIX} dev {cen}", bridge_address(*b))]
            }
            Operation::TrunkUp(trunk) => trunk_up("host1", trunk),
            Operation::TrunkDown(trunk) => trunk_down("host1", trunk),
            Operation::ContainerAddress(addressing) => self.address(addressing),
            Operation::ContainerAddressDown(addressing) => self.address_down(addressing),
            Operation::DefaultRoute(container, cen) => {
                let exec = self.exec(container);
                vec![Self::inspect(container), format!("{exec} ip route replace default dev {cen}")]
            }
            Operation::Stray(None, name) => vec![format!("ip link delete {name}")],
            Operation::Stray(Some(container), name) => {
                vec![
                    Self::inspect(container),
                    format!("{} ip link delete {name}", self.exec(container)),
                ]
            }
        }
    }

    fn exec(&self, container: &ContainerId) -> String {
        format!("ip netns exec {}", self.pid(container))
    }

    fn netns_link(&self, container: &ContainerId) -> Vec<String> {
        let (prefix, pid) = (self.prefix, self.pid(container));
        vec![
            Self::inspect(container),
            format!("mkdir -p {prefix}/var/run/netns"),
            format!("ln -s {prefix}/proc/{pid}/ns/net {prefix}/var/run/netns/{pid}"),
        ]
    }

    fn wire_up(&self, wire: &Wire) -> Vec<String> {
        let [a, b] = wire.ends();
        let mut commands = vec![format!("ip link add {a} type veth peer name {b}")];
        for end in wire.ends() {
            commands.extend(match end.side() {
                Side::In => self.move_in(wire, end),
                Side::Out => attach(wire, &end.to_string()),
            });
        }
        commands
    }

    fn move_in(&self, wire: &Wire, end: &EndId) -> Vec<String> {
        let (exec, cen) = (self.exec(end.container()), wire.cen());
        vec![
            Self::inspect(end.container()),
            format!("ip link set {end} netns {}", self.pid(end.container())),
            format!("{exec} ip link set dev {end} name {cen}"),
            format!("{exec} ip link set {cen} up"),
        ]
    }

    fn wire_fix(&self, wire: &Wire) -> Vec<String> {
        let mut commands = Vec::new();
        for end in wire.ends() {
            commands.extend(match end.side() {
                Side::In => {
                    let exec = self.exec(end.container());
                    vec![format!("{exec} ip link set {} up", wire.cen())]
                }
                Side::Out => attach(wire, &end.to_string()),
            });
        }
        commands
    }

    /// One command for each wire to a bridge: with one end, the other goes. iproute2 refuses the `type veth peer` of the original.
    fn wire_down(&self, wire: &Wire) -> Vec<String> {
        let [first, last] = wire.ends();
        if wire.is_bus() {
            return vec![format!("ip link delete {last}")];
        }
        let container = first.container();
        let delete = format!("{} ip link delete {}", self.exec(container), wire.cen());
        vec![Self::inspect(container), delete]
    }

    fn address(&self, a: &Addressing) -> Vec<String> {
        let (exec, cen, b) = (self.exec(&a.container), &a.cen, a.ip_b);
        vec![
            Self::inspect(&a.container),
            format!("{exec} ip addr add {}/0 dev {cen}", a.ip),
            format!("{exec} ip route add 10.{b}.0.0/{CIN_PREFIX} dev {cen}"),
            format!("{exec} ip route add default dev {cen}"),
        ]
    }

    /// Routes first: the kernel drops them with the last address of the interface.
    fn address_down(&self, a: &Addressing) -> Vec<String> {
        let (exec, cen, b) = (self.exec(&a.container), &a.cen, a.ip_b);
        vec![
            Self::inspect(&a.container),
            format!("{exec} ip route del 10.{b}.0.0/{CIN_PREFIX} dev {cen}"),
            format!("{exec} ip route del default dev {cen}"),
            format!("{exec} ip addr del {}/0 dev {cen}", a.ip),
        ]
    }
}

fn attach(wire: &Wire, out: &str) -> Vec<String> {
    vec![format!("brctl addif {} {out}", wire.cen()), format!("ip link set {out} up")]
}

fn replace_default(container: &ContainerId, cen: &CenId) -> String {
    format!("ip -n {container} route replace default dev {cen} scope link")
}

fn trunk_up(host: &str, trunk: &Trunk) -> Vec<String> {
    let [a, b] = trunk_names(host, &trunk.cin, &trunk.cen);
    let alias = Purpose::Trunk(trunk.cin.clone(), trunk.cen.clone());
    let mut commands = vec![format!("ip link add {a} type veth peer name {b}")];
    for (name, bridge) in [(&a, &trunk.first), (&b, &trunk.cen)] {
        commands.push(format!("ip link set {name} alias {alias} master {bridge} up"));
    }
    commands
}

fn trunk_down(host: &str, trunk: &Trunk) -> Vec<String> {
    let [a, _] = trunk_names(host, &trunk.cin, &trunk.cen);
    vec![format!("ip link delete {a}")]
}

/// The same with iproute2 alone, for namespaces that have names, with the names that are really used.
struct Iproute<'s> {
    host: &'s str,
}

impl Iproute<'_> {
    fn commands(&self, operation: &Operation) -> Vec<String> {
        match operation {
            Operation::BridgeUp(cen) => {
                let alias = Purpose::Bridge(cen.clone());
                vec![
                    format!("ip link add {cen} type bridge"),
                    format!("ip link set {cen} alias {alias} up"),
                ]
            }
            Operation::BridgeDown(cen) => vec![format!("ip link delete {cen}")],
            Operation::NetnsLink(_) => Vec::new(),
            Operation::WireUp(wire) => self.wire_up(wire),
            Operation::WireFix(wire) => self.wire_fix(wire),
            Operation::WireDown(wire) => self.wire_down(wire),
            Operation::TrunkUp(trunk) => trunk_up(self.host, trunk),
            Operation::TrunkDown(trunk) => trunk_down(self.host, trunk),
            Operation::BridgeAddress(cen, b) => {
                vec![format!("ip addr add {}/{CIN_PREFIX} dev {cen}", bridge_address(*b))]
            }
            Operation::BridgeAddressDown(cen, b) => {
                vec![format!("ip addr del {}/{CIN_PREFIX} dev {cen}", bridge_address(*b))]
            }
            Operation::ContainerAddress(a) => {
                let (ip, container, cen, b) = (a.ip, &a.container, &a.cen, a.ip_b);
                let mut commands = vec![
                    format!("ip -n {container} addr add {ip}/0 dev {cen}"),
                    format!("ip -n {container} route add 10.{b}.0.0/{CIN_PREFIX} dev {cen}"),
                ];
                if a.owns_default {
                    commands.push(replace_default(container, cen));
                }
                commands
            }
            Operation::ContainerAddressDown(a) => {
                let (ip, container, cen, b) = (a.ip, &a.container, &a.cen, a.ip_b);
                vec![
                    format!("ip -n {container} route del 10.{b}.0.0/{CIN_PREFIX} dev {cen}"),
                    format!("ip -n {container} addr del {ip}/0 dev {cen}"),
                ]
            }
            Operation::DefaultRoute(container, cen) => {
                vec![replace_default(container, cen)]
            }
            Operation::Stray(None, name) => vec![format!("ip link delete {name}")],
            Operation::Stray(Some(container), name) => {
                vec![format!("ip -n {container} link delete {name}")]
            }
        }
    }

    fn out(&self, end: &EndId) -> String {
        out_name(self.host, end.container(), end.number())
    }

    fn wire_up(&self, wire: &Wire) -> Vec<String> {
        let ([first, last], cen) = (wire.ends(), wire.cen());
        let peer = format!("peer name {cen} netns {}", first.container());
        let add = if wire.is_bus() {
            format!("ip link add {} type veth {peer}", self.out(last))
        } else {
            format!("ip link add {cen} netns {} type veth {peer}", last.container())
        };
        let mut commands = vec![add];
        commands.extend(self.wire_fix(wire));
        commands
    }

    fn wire_fix(&self, wire: &Wire) -> Vec<String> {
        let cen = wire.cen();
        let ends = wire.ends().iter().map(|end| {
            let alias = Purpose::Wire(cen.clone(), end.container().clone(), end.number());
            match end.side() {
                Side::In => format!("ip -n {} link set {cen} alias {alias} up", end.container()),
                Side::Out => format!("ip link set {} alias {alias} master {cen} up", self.out(end)),
            }
        });
        ends.collect()
    }

    fn wire_down(&self, wire: &Wire) -> Vec<String> {
        let [first, last] = wire.ends();
        vec![if wire.is_bus() {
            format!("ip link delete {}", self.out(last))
        } else {
            format!("ip -n {} link delete {}", first.container(), wire.cen())
        }]
    }
}
