//! The table of `poa-server top`.

use std::fmt::Write as _;

use serde_json::Value;

/// How many agents are shown.
const AGENTS: usize = 15;

/// The table as text.
pub(crate) fn draw(status: &Value, counts: &Value) -> String {
    let seconds = counts["seconds"].as_f64().unwrap_or(1.0).max(0.001);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  {} active agents, {} sent in the last second\n",
        status["phase"].as_str().unwrap_or("?"),
        status["active_agents"],
        counts["known_agents"],
    );
    plugins(&mut text, status, counts, seconds);
    agents(&mut text, counts, seconds);
    text
}

/// The same, in place of what a terminal shows.
pub(crate) fn on_a_fresh_screen(table: &str) -> String {
    use std::io::IsTerminal as _;
    if std::io::stdout().is_terminal() { format!("\x1b[2J\x1b[H{table}") } else { table.to_owned() }
}

fn plugins(text: &mut String, status: &Value, counts: &Value, seconds: f64) {
    let _ = writeln!(
        text,
        "{:<9} {:<24} {:<10} {:>10} {:>10} {:>10} {:>8}",
        "", "PLUGIN", "PHASE", "MSG/S", "KB/S", "WAITING", "RETRIED"
    );
    for plugin in status["plugins"].as_array().into_iter().flatten() {
        let name = plugin["name"].as_str().unwrap_or_default();
        let delivery = &plugin["delivery"];
        let _ = write!(
            text,
            "{:<9} {:<24} {:<10} ",
            plugin["role"].as_str().unwrap_or_default(),
            shown(name),
            plugin["phase"].as_str().unwrap_or_default(),
        );
        if delivery.is_object() {
            let (messages, bytes) = rates(&counts["receivers"], name, seconds);
            let (waiting, retried) = (&delivery["backlog_messages"], &delivery["retried"]);
            let _ = write!(text, "{messages:>10.0} {bytes:>10.1} {waiting:>10} {retried:>8}");
        }
        let _ = writeln!(text);
    }
}

fn agents(text: &mut String, counts: &Value, seconds: f64) {
    let _ = writeln!(text, "\n{:<45} {:>10} {:>10}", "AGENT", "MSG/S", "KB/S");
    for agent in counts["agents"].as_array().into_iter().flatten().take(AGENTS) {
        let name = agent["name"].as_str().unwrap_or_default();
        let (messages, bytes) = rate(agent, seconds);
        let _ = writeln!(text, "{:<45} {messages:>10.0} {bytes:>10.1}", shown(name));
    }
}

fn rates(all: &Value, name: &str, seconds: f64) -> (f64, f64) {
    let mut all = all.as_array().into_iter().flatten();
    all.find(|one| one["name"] == name).map_or((0.0, 0.0), |one| rate(one, seconds))
}

/// Messages and thousands of bytes a second.
fn rate(counted: &Value, seconds: f64) -> (f64, f64) {
    let of = |key: &str| counted[key].as_f64().unwrap_or(0.0) / seconds;
    (of("messages"), of("bytes") / 1000.0)
}

/// A name comes from an agent: it must not move the cursor.
fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(44).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_rates_and_what_waits() {
        let status = json!({
            "phase": "ready", "active_agents": 3,
            "plugins": [
                {"name": "rest", "role": "handler", "phase": "running"},
                {"name": "local", "role": "receiver", "phase": "retrying", "delivery": {"backlog_messages": 7, "retried": 2}},
            ],
        });
        let counts = json!({
            "seconds": 2.0, "known_agents": 1,
            "receivers": [{"name": "local", "messages": 20, "bytes": 4000}],
            "agents": [{"name": "a\u{1b}[2J", "messages": 20, "bytes": 4000}],
        });
        let text = draw(&status, &counts);
        let line = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("receiver"), ["receiver", "local", "retrying", "10", "2.0", "7", "2"]);
        assert_eq!(line("handler"), ["handler", "rest", "running"]);
        assert!(!text.contains('\u{1b}') && text.contains("a\u{fffd}[2J"), "{text}");
    }
}
