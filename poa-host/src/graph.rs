//! Diagrams of configurations.

use std::fmt::Write as _;

use serde_json::Value;

/// The language of a diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphFormat {
    /// Mermaid, which Markdown viewers show.
    Mermaid,
    /// DOT, for Graphviz.
    Dot,
}

/// One handler or receiver.
struct Node<'v> {
    id: String,
    name: &'v str,
    kind: &'v str,
    /// The data types a receiver subscribes to.
    types: Vec<&'v str>,
}

/// Draws a document: handlers, the bus, receivers, and the data types of each receiver.
pub(crate) fn draw(document: &Value, format: GraphFormat) -> String {
    let engine = document["bus"]["engine"].as_str().unwrap_or("log");
    let (handlers, receivers) =
        (nodes(document, "handlers", 'h'), nodes(document, "receivers", 'r'));
    match format {
        GraphFormat::Mermaid => mermaid(engine, &handlers, &receivers),
        GraphFormat::Dot => dot(engine, &handlers, &receivers),
    }
}

fn nodes<'v>(document: &'v Value, role: &str, letter: char) -> Vec<Node<'v>> {
    let sections = document[role].as_object().into_iter().flatten().enumerate();
    sections
        .map(|(index, (name, section))| Node {
            id: format!("{letter}{index}"),
            name,
            kind: section["kind"].as_str().unwrap_or("?"),
            types: section["subscribe"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        })
        .collect()
}

/// Names come from a file: characters with a meaning in the diagram's language are escaped.
fn mermaid(engine: &str, handlers: &[Node<'_>], receivers: &[Node<'_>]) -> String {
    let shown = |text: &str| text.replace('"', "#quot;").replace(['\n', '\r'], " ");
    let mut text = format!("flowchart LR\n  bus[(\"bus: {}\")]\n", shown(engine));
    for Node { id, name, kind, .. } in handlers {
        let _ = writeln!(text, "  {id}[\"{}<br/>{}\"] --> bus", shown(name), shown(kind));
    }
    for Node { id, name, kind, types } in receivers {
        let (name, kind, types) = (shown(name), shown(kind), shown(&types.join(", ")));
        let _ = writeln!(text, "  bus -- \"{types}\" --> {id}[\"{name}<br/>{kind}\"]");
    }
    text
}

fn dot(engine: &str, handlers: &[Node<'_>], receivers: &[Node<'_>]) -> String {
    let shown =
        |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
    let mut text = format!(
        "digraph poa {{\n  rankdir=LR;\n  node [shape=box];\n  bus [shape=cylinder, label=\"bus: {}\"];\n",
        shown(engine)
    );
    for Node { id, name, kind, .. } in handlers {
        let _ =
            writeln!(text, "  {id} [label=\"{}\\n{}\"];\n  {id} -> bus;", shown(name), shown(kind));
    }
    for Node { id, name, kind, types } in receivers {
        let (name, kind, types) = (shown(name), shown(kind), shown(&types.join(", ")));
        let _ = writeln!(
            text,
            "  {id} [label=\"{name}\\n{kind}\"];\n  bus -> {id} [label=\"{types}\"];"
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "handlers": {"rest \"1\"": {"kind": "rest"}},
            "receivers": {"local": {"kind": "sqlite", "subscribe": ["a", "b"]}},
        })
    }

    #[test]
    fn mermaid_shows_the_connections() {
        assert_eq!(
            draw(&document(), GraphFormat::Mermaid),
            "flowchart LR\n  bus[(\"bus: log\")]\n  h0[\"rest #quot;1#quot;<br/>rest\"] --> bus\n  \
             bus -- \"a, b\" --> r0[\"local<br/>sqlite\"]\n"
        );
    }

    #[test]
    fn dot_escapes_names() {
        let text = draw(&document(), GraphFormat::Dot);
        assert!(text.starts_with("digraph poa {\n") && text.ends_with("}\n"), "{text}");
        assert!(text.contains("h0 [label=\"rest \\\"1\\\"\\nrest\"];\n  h0 -> bus;"), "{text}");
        assert!(text.contains("bus -> r0 [label=\"a, b\"];"), "{text}");
    }
}
