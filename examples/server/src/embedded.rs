//! The configuration that needs no file.

use std::path::{Path, PathBuf};

use poa_host::Source;

/// The configuration that runs if no other is given.
const DEFAULT: &str = include_str!("default.toml");
/// The demo has this in addition.
const DEMO: &str = include_str!("demo.toml");
/// Its name in problems.
const NAME: &str = "built-in configuration";
/// The file that is looked for where the program is started.
const FILE: &str = "poa.toml";

/// The ports of the built-in configuration. Moved ones follow each other in this order.
const PORTS: [u16; 6] = [USUAL, 4001, 4002, 4003, 4004, 8181];
/// The base that moves nothing.
const USUAL: u16 = 4000;

/// The file that was named, else `./poa.toml`, else the built-in configuration.
pub(crate) fn source(named: Option<&Path>) -> Source {
    match named {
        Some(path) => Source::File(path.to_owned()),
        None if Path::new(FILE).exists() => Source::File(PathBuf::from(FILE)),
        None => Source::Text { name: NAME, text: DEFAULT.to_owned() },
    }
}

/// The built-in configuration with that of the demo, another data directory and other ports; base 0 stands for any free ones.
pub(crate) fn moved(data_dir: &Path, base: u16) -> Source {
    let dir = toml::Value::String(data_dir.display().to_string());
    let text = DEFAULT.replacen("data_dir = \"poa-data\"", &format!("data_dir = {dir}"), 1) + DEMO;
    let text = PORTS.iter().zip(0..).fold(text, |text, (port, place)| {
        let moved = match base {
            0 => 0,
            USUAL => *port,
            base => base + place,
        };
        text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{moved}"))
    });
    Source::Text { name: NAME, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::registry;

    #[test]
    fn the_built_in_configuration_is_good() {
        let source = Source::Text { name: NAME, text: DEFAULT.to_owned() };
        let config = source.load(&registry()).unwrap();
        assert_eq!(config.data_dir(), Path::new("poa-data"));
        assert_eq!(config.admin().to_string(), "127.0.0.1:4000");
    }

    #[test]
    fn all_of_it_can_be_moved() {
        let dir = Path::new("a \"quoted\" directory");
        let config = moved(dir, 5000).load(&registry()).unwrap();
        assert_eq!((config.data_dir(), config.admin().port()), (dir, 5000));
        let Source::Text { text, .. } = moved(dir, 0) else { panic!("no text") };
        assert_eq!(text.matches("127.0.0.1:0").count(), 6);
        assert!(!text.contains(":400") && !text.contains(":8181"), "{text}");
        let Source::Text { text, .. } = moved(dir, 65_530) else { panic!("no text") };
        assert!(text.contains("127.0.0.1:65535"), "{text}");
        let Source::Text { text, .. } = moved(dir, 4000) else { panic!("no text") };
        assert!(text.contains("127.0.0.1:8181"), "{text}");
    }
}
