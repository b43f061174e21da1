//! What is written. The code is that of the examples, so that it is built and tested as they are.

use super::name::Name;
use crate::cli::{Form, Role};

/// A file: where it goes, and the parts it is made of.
type File = (&'static str, &'static [&'static str]);

/// Files, and the words in them that stand for the name.
pub(super) struct Template {
    files: &'static [&'static [File]],
    words: Words,
    next_steps: &'static [&'static str],
}

/// What stands in the example for forms of the name; nothing where there is no such form.
struct Words {
    package: &'static str,
    library: &'static str,
    /// With what stands around it, where it alone would be a common word.
    kind: (&'static str, &'static str, &'static str),
    type_name: &'static str,
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
/// What makes a shared library of a crate.
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
const RECEIVER_WORDS: Words = Words {
    package: "custom-receiver",
    library: "custom_receiver",
    kind: ("\"", "json_lines", "\""),
    type_name: "JsonLines",
};

const HANDLER_CODE: &[File] = &[
    (".gitignore", &[IGNORED]),
    ("README.md", &[template!("handler.README.md")]),
    ("tests/contract.rs", &[example!("custom-handler/tests/contract.rs")]),
    ("examples/listen.rs", &[example!("custom-handler/examples/listen.rs")]),
];
const HANDLER_MANIFEST: &str = template!("handler.Cargo.toml");
const HANDLER_LIB: &str = example!("custom-handler/src/lib.rs");
const HANDLER_WORDS: Words = Words {
    package: "custom-handler",
    library: "custom_handler",
    kind: ("\"", "lines", "\""),
    type_name: "Lines",
};

const RECEIVER: Template = Template {
    files: &[
        RECEIVER_CODE,
        &[("Cargo.toml", &[RECEIVER_MANIFEST]), ("src/lib.rs", &[RECEIVER_LIB])],
    ],
    words: RECEIVER_WORDS,
    next_steps: &["cargo test", "cargo run --example deliver"],
};

const HANDLER: Template = Template {
    files: &[HANDLER_CODE, &[("Cargo.toml", &[HANDLER_MANIFEST]), ("src/lib.rs", &[HANDLER_LIB])]],
    words: HANDLER_WORDS,
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
    next_steps: &["cargo test", "cargo build", "poa-server    # and what poa.toml says"],
};

const EXEC_RECEIVER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("exec-receiver.toml")]),
        (".gitignore", &["/poa-data\n/messages.db*\n"]),
        ("store.py", &[example!("exec/store.py")]),
    ]],
    words: Words { package: "", library: "", kind: ("[receivers.", "store", "]"), type_name: "" },
    next_steps: &["poa-server    # and what poa.toml says"],
};

const EXEC_HANDLER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("exec-handler.toml")]),
        (".gitignore", &["/poa-data\n"]),
        ("lines.py", &[example!("exec/lines.py")]),
    ]],
    words: Words { package: "", library: "", kind: ("[handlers.", "lines", "]"), type_name: "" },
    next_steps: &["poa-server    # and what poa.toml says"],
};

const C_RECEIVER: Template = Template {
    files: &[&[
        ("poa.toml", &[template!("c-receiver.toml")]),
        (".gitignore", &["/poa-data\n*.so\n"]),
        ("Makefile", &[template!("c.Makefile")]),
        ("poa_plugin.h", &[example!("../poa-plugin/include/poa_plugin.h")]),
        ("ndjson.c", &[example!("plugins/c/ndjson.c")]),
    ]],
    words: Words { package: "", library: "", kind: ("\"", "ndjson", "\""), type_name: "" },
    next_steps: &["make", "poa-server    # and what poa.toml says"],
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
    pub(super) fn files(&self, name: &Name) -> impl Iterator<Item = (&'static str, String)> {
        let files = self.files.iter().copied().flatten();
        files.map(|(path, parts)| (*path, self.words.replaced(parts.concat(), name)))
    }

    /// The type that the name would make, if something in the code is called so.
    pub(super) fn taken(&self, name: &Name) -> Option<String> {
        let own = name.pascal();
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let has = |text: &str| text.split(|c| !is_name(c)).any(|word| word == own);
        let code = self.files.iter().copied().flatten().filter(|(path, _)| path.ends_with(".rs"));
        let taken = code.flat_map(|(_, parts)| parts.iter()).any(|text| has(text));
        (taken && own != self.words.type_name).then_some(own)
    }

    pub(super) fn next_steps(&self) -> &[&str] {
        self.next_steps
    }
}

impl Words {
    fn replaced(&self, text: String, name: &Name) -> String {
        let (before, kind, after) = self.kind;
        let around = |kind: &str| format!("{before}{kind}{after}");
        let pairs = [
            (self.package.to_owned(), name.as_str().to_owned()),
            (self.library.to_owned(), name.snake()),
            (around(kind), around(&name.snake())),
            (self.type_name.to_owned(), name.pascal()),
        ];
        let pairs = pairs.iter().filter(|(word, _)| !word.is_empty());
        pairs.fold(text, |text, (word, own)| text.replace(word, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_example_is_left() {
        let name = Name::new("my-thing").unwrap();
        for (role, left) in [
            (Role::Receiver, ["custom", "JsonLines", "json_lines"]),
            (Role::Handler, ["custom", "Lines", "\"lines\""]),
        ] {
            for form in [Form::Crate, Form::Dylib] {
                for (path, text) in Template::of(role, form).unwrap().files(&name) {
                    let left = left.iter().find(|word| text.contains(**word));
                    assert_eq!(left, None, "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_type_of_that_name_may_be_there_already() {
        let taken = |name| RECEIVER.taken(&Name::new(name).unwrap());
        assert_eq!(taken("store").as_deref(), Some("Store"));
        assert_eq!(taken("receiver").as_deref(), Some("Receiver"));
        assert_eq!(taken("my-store"), None);
    }
}
