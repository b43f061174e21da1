//! Points in InfluxDB's line protocol: `measurement,tag=value field=value timestamp`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use poa_core::{Message, PayloadError};
use serde_json::value::RawValue;

/// Appends the point of a message to `lines`.
///
/// InfluxDB replaces a point with the same measurement, tags and timestamp. So a message that is delivered again is stored once,
/// and messages of one microsecond need timestamps that differ: their sequence numbers become nanoseconds.
///
/// # Errors
/// When the payload is not a well-formed object. `lines` is unchanged then.
pub(crate) fn append(lines: &mut String, message: &Message) -> Result<(), PayloadError> {
    let data: Box<RawValue> = message.payload().read()?;
    let mut fields = Vec::new();
    flatten(&mut fields, "", &data);
    write_key(lines, message.data_type().name());
    lines.push_str(",agent=");
    write_key(lines, message.agent_id().as_str());
    let (within, beyond) = (message.id().sequence() % 1000, message.id().sequence() / 1000);
    if beyond > 0 {
        let _ = write!(lines, ",part={beyond}");
    }
    let _ = write!(lines, " message_id=\"{}\"", message.id());
    for (name, value) in fields {
        lines.push(',');
        write_key(lines, &name);
        lines.push('=');
        lines.push_str(&value);
    }
    let _ = writeln!(lines, " {}{within:03}", message.received_at().as_micros());
    Ok(())
}

/// The fields of a JSON value: names of nested keys are joined by dots, arrays and wide numbers are kept as text.
fn flatten(fields: &mut Vec<(String, String)>, name: &str, value: &RawValue) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let entries: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(text).unwrap_or_default();
            for (key, value) in entries {
                let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                flatten(fields, &name, &value);
            }
        }
        Some(b't' | b'f') => fields.push((named(name), text.to_owned())),
        Some(b'n') => {}
        Some(b'"') => {
            let text: String = serde_json::from_str(text).unwrap_or_else(|_| text.to_owned());
            fields.push((named(name), quoted(&text)));
        }
        Some(b'[') => fields.push((named(name), quoted(text))),
        _ => fields.push((named(name), number(text))),
    }
}

/// A number as a float, so that a field keeps its type when a value happens to be whole. One that exceeds a float is text.
fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => format!("{number:?}"),
        _ => quoted(text),
    }
}

/// The message id has a field of its own, and a field needs a name.
fn named(name: &str) -> String {
    match name {
        "" | "message_id" => format!("_{name}"),
        _ => name.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A measurement, tag or field name: separators are escaped, and characters without an escape are replaced.
fn write_key(lines: &mut String, key: &str) {
    for c in key.chars() {
        match c {
            ',' | '=' | ' ' => lines.extend(['\\', c]),
            // A backslash could escape the separator behind it, and a line feed would end the point.
            '\\' => lines.push('/'),
            c if c.is_control() => lines.push('_'),
            c => lines.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use poa_testkit::Samples;
    use serde_json::json;

    use super::*;

    fn line(data: &str) -> String {
        let message = Samples::default().json("pump 7", "system_metrics", data);
        let mut lines = String::new();
        append(&mut lines, &message).unwrap();
        lines.replace(&message.id().to_string(), "ID")
    }

    #[test]
    fn a_message_is_a_point() {
        let data = json!({"cpu": 1, "host": {"up": true, "name": "a \"b\""}, "none": null});
        assert_eq!(
            line(&data.to_string()),
            "system_metrics,agent=pump\\ 7 message_id=\"ID\",cpu=1.0,host.name=\"a \\\"b\\\"\",host.up=true \
             1769860800000001000\n"
        );
    }

    #[test]
    fn values_without_a_field_type_are_text() {
        let fields = line(r#"{"a": [1, 2], "b": 1e999, "": "x", "c\n=": 2}"#);
        let fields = fields.split(' ').collect::<Vec<_>>().join(" ");
        for field in [r#"a="[1, 2]""#, r#"b="1e999""#, r#"_="x""#, r"c_\==2.0"] {
            assert!(fields.contains(field), "{field} in {fields}");
        }
    }

    #[test]
    fn malformed_data_is_refused() {
        let message = Samples::default().json("a", "system_metrics", "{\"half");
        let mut lines = String::new();
        assert!(append(&mut lines, &message).is_err());
        assert!(lines.is_empty());
    }
}
