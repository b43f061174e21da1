//! The files to write. Their code is that of the examples, which are built and tested.

use super::name::Name;
use crate::cli::{Form, Role};

/// A file: where it goes, and the parts it is made of.
type File = (&'static str, &'static [&'static str]);

/// Files, and the words in them and in their names that stand for the name of the plugin.
pub(super) struct Template {
    files: &'static [&'static [File]],
    /// Text of the example, and its replacement: with `{name}` as it was given, `{snake}` or `{pascal}`. A common word comes
    /// with what stands around it.
    words: &'static [(&'static str, &'static str)],
    /// The word of the code that becomes the plugin's type.
    type_name: &'static str,
    /// Its kind is a name beside those of the bundled server.
    has_kind: bool,
    next_steps: &'static [&'static str],
}

macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../../", $path))
    };
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../templates/", $path))
    };
}

const IGNORED: &str = "/target\n/poa-data\n";
/// The lines that make a shared library of a crate.
const LIBRARY: &str = "\n[dependencies.poa-plugin]\nversion = \"0.1\"\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n";

const RECEIVER_CODE: &[File] = &[
    (".gitignore", &[IGNORED]),
    ("README.md", &[template!("receiver.README.md")]),
    ("src/store.rs", &[example!("custom-receiver/src/store.rs")]),
    ("tests/contract.rs", &[example!("custom-receiver/tests/contract.rs")]),
    ("examples/deliver.rs", &[example!("custom-receiver/examples/deliver.rs")]),
];
const RECEIVER_MANIFEST: &str = template!("receiver.Cargo.toml");
const RECEIVER_LIB: &str = example!("custom-receiver/src/lib.rs");
const RECEIVER_WORDS: &[(&str, &str)] = &[
    ("custom-receiver", "{name}"),
    ("custom_receiver", "{snake}"),
    ("\"json_lines\"", "\"{snake}\""),
    ("JsonLines", "{pascal}"),
];

const HANDLER_CODE: &[File] = &[
    (".gitignore", &[IGNORED]),
    ("README.md", &[template!("handler.README.md")]),
    ("tests/contract.rs", &[example!("custom-handler/tests/contract.rs")]),
    ("examples/listen.rs", &[example!("custom-handler/examples/listen.rs")]),
];
const HANDLER_MANIFEST: &str = template!("handler.Cargo.toml");
const HANDLER_LIB: &str = example!("custom-handler/src/lib.rs");
const HANDLER_WORDS: &[(&str, &str)] = &[
    ("custom-handler", "{name}"),
    ("custom_handler", "{snake}"),
    ("\"lines\"", "\"{snake}\""),
    ("Lines", "{pascal}"),
];

const RECEIVER: Template = Template {
    files: &[
        RECEIVER_CODE,
        &[("Cargo.toml", &[RECEIVER_MANIFEST]), ("src/lib.rs", &[RECEIVER_LIB])],
    ],
    words: RECEIVER_WORDS,
    type_name: "JsonLines",
    has_kind: false,
    next_steps: &["cargo test", "cargo run --example deliver"],
};

const HANDLER: Template = Template {
    files: &[HANDLER_CODE, &[("Cargo.toml", &[HANDLER_MANIFEST]), ("src/lib.rs", &[HANDLER_LIB])]],
    words: HANDLER_WORDS,
    type_name: "Lines",
    has_kind: false,
    next_steps: &["cargo test", "cargo run --example listen"],
};

const DYLIB_RECEIVER: Template = Template {
    files: &[
        RECEIVER_CODE,
        &[
            ("Cargo.toml", &[RECEIVER_MANIFEST, LIBRARY]),
            (
                "src/lib.rs",
                &[
                    RECEIVER_LIB,
                    "\npoa_plugin::export! {\n    receivers: { \"json_lines\" => JsonLines },\n}\n",
                ],
            ),
            ("poa.toml", &[template!("dylib-receiver.toml")]),
        ],
    ],
    words: RECEIVER_WORDS,
    type_name: "JsonLines",
    has_kind: true,
    next_steps: &["cargo test", "cargo build", "poa-server    # and what poa.toml says"],
};

const DYLIB_HANDLER: Template = Template {
    files: &[
        HANDLER_CODE,
        &[
            ("Cargo.toml", &[HANDLER_MANIFEST, LIBRARY]),
            (
                "src/lib.rs",
                &[
                    HANDLER_LIB,
                    "\npoa_plugin::export! {\n    handlers: { \"lines\" => Lines },\n}\n",
                ],
            ),
            ("poa.toml", &[template!("dylib-handler.toml")]),
        ],
    ],
    words: HANDLER_WORDS,
    type_name: "Lines",
    has_kind: true,
    next_steps: &["cargo test", "cargo build", "poa-server    # and what poa.toml says"],
};

const EXEC_RECEIVER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("exec-receiver.toml")]),
        (".gitignore", &["/poa-data\n"]),
        ("store.py", &[example!("exec/store.py")]),
        ("contract.sh", &[template!("exec-receiver.sh")]),
    ]],
    words: &[
        ("[receivers.store]", "[receivers.{snake}]"),
        ("plugin test store", "plugin test {snake}"),
        ("store.py", "{snake}_receiver.py"),
    ],
    type_name: "",
    has_kind: false,
    next_steps: &["sh contract.sh", "poa-server    # and what poa.toml says"],
};

const EXEC_HANDLER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("exec-handler.toml")]),
        (".gitignore", &["/poa-data\n"]),
        ("lines.py", &[example!("exec/lines.py")]),
        ("contract.sh", &[template!("exec-handler.sh")]),
    ]],
    words: &[
        ("[handlers.lines]", "[handlers.{snake}]"),
        ("plugin test lines", "plugin test {snake}"),
        ("lines.py", "{snake}_handler.py"),
    ],
    type_name: "",
    has_kind: false,
    next_steps: &["sh contract.sh", "poa-server    # and what poa.toml says"],
};

const C_RECEIVER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("c-receiver.toml")]),
        (".gitignore", &["/poa-data\n*.so\n"]),
        ("Makefile", &[template!("c.Makefile")]),
        ("poa_plugin.h", &[example!("../poa-plugin/include/poa_plugin.h")]),
        ("ndjson.c", &[example!("plugins/c/ndjson.c")]),
        ("contract.sh", &[template!("c-receiver.sh")]),
    ]],
    words: &[("ndjson", "{snake}")],
    type_name: "ndjson",
    has_kind: true,
    next_steps: &["make", "sh contract.sh", "poa-server    # and what poa.toml says"],
};

impl Template {
    /// The template for this, if there is one.
    pub(super) fn of(role: Role, form: Form) -> Option<&'static Self> {
        Some(match (role, form) {
            (Role::Receiver, Form::Crate) => &RECEIVER,
            (Role::Handler, Form::Crate) => &HANDLER,
            (Role::Receiver, Form::Dylib) => &DYLIB_RECEIVER,
            (Role::Handler, Form::Dylib) => &DYLIB_HANDLER,
            (Role::Receiver, Form::Exec) => &EXEC_RECEIVER,
            (Role::Handler, Form::Exec) => &EXEC_HANDLER,
            (Role::Receiver, Form::C) => &C_RECEIVER,
            (Role::Handler, Form::C) => return None,
        })
    }

    /// Every file with its text.
    pub(super) fn files(&self, name: &Name) -> impl Iterator<Item = (String, String)> {
        let files = self.files.iter().copied().flatten();
        files.map(|(path, parts)| {
            (self.replaced((*path).to_owned(), name), self.replaced(parts.concat(), name))
        })
    }

    fn replaced(&self, text: String, name: &Name) -> String {
        self.words.iter().fold(text, |text, (word, own)| {
            let own = own.replace("{name}", name.as_str()).replace("{snake}", &name.snake());
            text.replace(word, &own.replace("{pascal}", &name.pascal()))
        })
    }

    /// The type that the name would make, if something in the code is called so.
    pub(super) fn taken(&self, name: &Name) -> Option<String> {
        let (_, own) = self.words.iter().find(|(word, _)| *word == self.type_name)?;
        let own = own.replace("{pascal}", &name.pascal()).replace("{snake}", &name.snake());
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let has = |text: &str| text.split(|c| !is_name(c)).any(|word| word == own);
        let is_code = |path: &str| [".rs", ".c", ".h"].iter().any(|end| path.ends_with(end));
        let code = self.files.iter().copied().flatten().filter(|(path, _)| is_code(path));
        let taken = code.flat_map(|(_, parts)| parts.iter()).any(|text| has(text));
        (taken && own != self.type_name).then_some(own)
    }

    /// Whether its kind is one of those that the bundled server has.
    pub(super) fn has_kind(&self) -> bool {
        self.has_kind
    }

    pub(super) fn next_steps(&self) -> &[&str] {
        self.next_steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_example_is_left() {
        let name = Name::new("my-thing").unwrap();
        let rust = [Form::Crate, Form::Dylib];
        let receiver = ["custom", "JsonLines", "json_lines"].as_slice();
        for (role, forms, left) in [
            (Role::Receiver, rust.as_slice(), receiver),
            (Role::Handler, &rust, &["custom", "Lines", "\"lines\""]),
            (Role::Receiver, &[Form::C], &["ndjson"]),
            (Role::Receiver, &[Form::Exec], &["store.py", "receivers.store"]),
            (Role::Handler, &[Form::Exec], &["lines.py", "handlers.lines"]),
        ] {
            for form in forms {
                for (path, text) in Template::of(role, *form).unwrap().files(&name) {
                    let of_it = |word: &&&str| text.contains(**word) || path.contains(**word);
                    assert_eq!(left.iter().find(of_it), None, "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn every_form_says_where_ones_own_code_goes() {
        let name = Name::new("my-thing").unwrap();
        for role in [Role::Receiver, Role::Handler] {
            for form in [Form::Crate, Form::Dylib, Form::Exec, Form::C] {
                let Some(template) = Template::of(role, form) else { continue };
                let marked = template.files(&name).filter(|(_, text)| text.contains("Your own:"));
                let marked: Vec<_> = marked.map(|(path, _)| path).collect();
                assert!(marked.len() >= 2, "{role:?} {form:?}: the code and its test, {marked:?}");
            }
        }
    }

    #[test]
    fn a_type_of_that_name_may_be_there_already() {
        let taken = |name| RECEIVER.taken(&Name::new(name).unwrap());
        assert_eq!(taken("store").as_deref(), Some("Store"));
        assert_eq!(taken("receiver").as_deref(), Some("Receiver"));
        assert_eq!(taken("my-store"), None);
        let taken = |name| C_RECEIVER.taken(&Name::new(name).unwrap());
        assert_eq!(taken("write-batch").as_deref(), Some("write_batch"));
        assert_eq!(taken("my-store"), None);
    }
}
