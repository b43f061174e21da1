//! The texts that the demo prints.

use std::fmt::Write as _;
use std::path::Path;

use super::layout::Layout;

/// The processes, their addresses, and what to try.
pub(super) fn explain(layout: &Layout, processes: &[(String, u32)], agents: u16) -> String {
    let mut text = String::from("\nA cluster runs on this machine:\n\n");
    // Writing to a string cannot fail.
    for (place, (name, id)) in processes.iter().enumerate() {
        let address = match name.split_once('-') {
            Some(("front", _)) => layout.front(name).0,
            Some(("nats", _)) => layout.url(place),
            _ => "into the database".to_owned(),
        };
        let _ = writeln!(text, "  {name:<12} process {id:<8} {address}");
    }
    let (dir, rows) = (layout.dir().display(), layout.rows());
    let victim = processes.first().map_or(0, |(_, id)| *id);
    let rows = rows.display();
    let _ = write!(
        text,
        "\n{agents} agents send once a second, half of them to each front end. Both receiver nodes store into\n{rows}.\n\n\
         Kill any of these processes, and look what the others do; after a while it starts again:\n\n\
         \x20 kill -9 {victim}\n\
         \x20 poa-server --config {dir}/front-1/poa.toml cluster status\n\n\
         Most of the NATS servers must run for messages to be stored; until then agents are refused, and send again.\n\
         Ctrl-C ends it.\n"
    );
    text
}

/// How it ended.
pub(super) fn farewell(acknowledged: u64, stored: u64, rows: &Path) -> String {
    format!("{acknowledged} messages were acknowledged, {stored} are stored in {}", rows.display())
}
