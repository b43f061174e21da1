//! The counters of the gateway, for `/metrics`.

use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use crate::gateway::Gateway;

/// Adds the counts of a gateway and its engine to those of the host, for as long as it lives.
pub(crate) fn include(gateway: &Arc<Gateway>) {
    let source = format!("gilmour.{}", gateway.cx.name());
    let weak = Arc::downgrade(gateway);
    gateway.cx.telemetry().include(&source, move || text(&weak));
}

fn text(gateway: &Weak<Gateway>) -> String {
    let Some(gateway) = gateway.upgrade() else { return String::new() };
    let (handler, engine) = (gateway.cx.name(), gateway.engine.name());
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "# HELP poa_gilmour_nodes Registered nodes, by state.\n# TYPE poa_gilmour_nodes gauge"
    );
    for (status, count) in gateway.counted() {
        let _ = writeln!(
            text,
            "poa_gilmour_nodes{{handler=\"{handler}\",status=\"{status}\"}} {count}"
        );
    }
    let up = i32::from(gateway.engine_is_up());
    let _ = writeln!(
        text,
        "# HELP poa_gilmour_up Whether the engine can work.\n# TYPE poa_gilmour_up gauge"
    );
    let _ = writeln!(text, "poa_gilmour_up{{handler=\"{handler}\",engine=\"{engine}\"}} {up}");
    for (name, count) in gateway.engine.counts().all() {
        let family = format!("poa_gilmour_{name}");
        let _ = writeln!(text, "# HELP {family} Counted by the engine.\n# TYPE {family} counter");
        let _ =
            writeln!(text, "{family}_total{{handler=\"{handler}\",engine=\"{engine}\"}} {count}");
    }
    text
}
