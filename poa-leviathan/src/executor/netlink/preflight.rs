//! Checks before anything is changed: capabilities, and settings that operators should know of.

use std::fmt;

use crate::{Code, Error};

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Something about this machine that makes networks behave in an unexpected way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A look at this machine before anything is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preflight {
    capabilities: u64,
    filters_bridges: bool,
    forwards: bool,
}

impl Preflight {
    /// Looks.
    #[must_use]
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let is_on = |path: &str| read(path).trim() == "1";
        Self {
            capabilities: effective(&read("/proc/self/status")).unwrap_or_default(),
            filters_bridges: is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
            forwards: is_on("/proc/sys/net/ipv4/ip_forward"),
        }
    }

    /// Checks the capabilities.
    ///
    /// # Errors
    /// When one is missing; the text has the cure.
    pub fn require_capabilities(&self) -> Result<(), Error> {
        let needed = [(CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN")];
        let lacking = needed.iter().filter(|(bit, _)| self.capabilities & (1 << bit) == 0);
        let lacking: Vec<&str> = lacking.map(|(_, name)| *name).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let why = format!(
            "changing networks needs {}; run as root, with `setcap cap_net_admin,cap_sys_admin+ep`, with \
             AmbientCapabilities in a systemd unit, or inside `unshare -Urnm`",
            lacking.join(" and ")
        );
        Err(Error::new(Code::Internal, why))
    }

    /// Settings of this machine that an operator should know of.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.filters_bridges {
            warnings.push(Warning(
                "br_netfilter is on: iptables rules filter traffic across bridges, and Docker's FORWARD policy drops it; \
                 `sysctl net.bridge.bridge-nf-call-iptables=0` or a rule that accepts the bridges lets it pass"
                    .to_owned(),
            ));
        }
        if self.forwards {
            warnings.push(Warning(
                "ip_forward is on: this host routes between CINs; `sysctl net.ipv4.ip_forward=0` or firewall rules keep them apart"
                    .to_owned(),
            ));
        }
        warnings
    }
}

/// The effective capabilities in `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_named_with_the_cure() {
        let with = |capabilities| Preflight { capabilities, ..Preflight::default() };
        assert!(with(1 << 12 | 1 << 21).require_capabilities().is_ok());
        let text = with(1 << 12).require_capabilities().unwrap_err().to_string();
        assert!(text.contains("needs CAP_SYS_ADMIN; run as root"), "{text}");
        assert_eq!(effective("Name:\tx\nCapEff:\t0000000000201000\n"), Some(1 << 12 | 1 << 21));
    }

    #[test]
    fn filters_and_forwarding_are_told() {
        let all = Preflight { capabilities: 0, filters_bridges: true, forwards: true };
        assert_eq!(all.warnings().len(), 2);
        assert!(Preflight::default().warnings().is_empty());
    }
}
