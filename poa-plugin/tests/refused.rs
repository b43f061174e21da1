//! Files that are no plugins for this host are refused with the cause and the cure, and the host keeps running.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use poa_plugin::host::{Library, inspect};
use tempfile::TempDir;

/// A good receiver, to be spoilt.
const GOOD: &str = r#"
#include <poa_plugin.h>
static void build(const poa_build *b, poa_call call) { (void)b; poa_complete(call, POA_OK, NULL, NULL); }
static void received(void *i, const poa_batch *b, poa_call call) { (void)i; (void)b; poa_complete(call, POA_OK, NULL, NULL); }
static void schema(poa_sink out) { poa_write(out, SCHEMA); }
static const poa_kind KIND = { .size = sizeof(poa_kind), .role = POA_RECEIVER, .name = POA_TEXT("mine"),
    .schema = schema, .build = build, .metrics_received = received };
static const poa_kind *const KINDS[] = { &KIND };
const poa_descriptor SYMBOL = { .size = sizeof(poa_descriptor), .abi_major = MAJOR, .name = NAME,
    .version = POA_TEXT("1"), .kinds = KINDS, .kinds_len = 1 };
"#;

struct Workshop(TempDir);

impl Workshop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles the plugin with these definitions in place of the good ones.
    fn library(&self, definitions: &[(&str, &str)]) -> PathBuf {
        let source = self.path("plugin.c");
        fs::write(&source, GOOD).unwrap();
        let mut all = vec![
            ("SYMBOL", "poa_plugin_descriptor_v1"),
            ("MAJOR", "POA_ABI_MAJOR"),
            ("NAME", "POA_TEXT(\"good\")"),
            ("SCHEMA", "\"{}\""),
        ];
        all.retain(|(name, _)| definitions.iter().all(|(other, _)| other != name));
        let define = |(name, value): &(&str, &str)| format!("-D{name}={value}");
        // The system loads a path once, whatever becomes of the file.
        let number = fs::read_dir(self.0.path()).unwrap().count();
        let library = self.path(&format!("plugin-{number}.so"));
        let output = Command::new("cc")
            .args(["-std=c99", "-shared", "-fPIC"])
            .args(all.iter().chain(definitions).map(define))
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .arg("-o")
            .arg(&library)
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("install a C compiler as `cc`: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    }
}

/// The file is refused, by name, with these words.
fn refused(file: &Path, because: &[&str]) {
    let error = Library::load(file).unwrap_err().to_string();
    for words in because {
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    }
    assert!(error.starts_with(&*file.to_string_lossy()), "{error}");
}

#[test]
fn a_good_one_is_loaded() {
    let workshop = Workshop::new();
    let file = workshop.library(&[]);
    let info = inspect(&file).unwrap();
    assert_eq!((&*info.name, &*info.kinds[0].name), ("good", "mine"));
    assert_eq!(Library::load(&file).unwrap().info(), &info);
}

#[test]
fn inspecting_calls_no_function_of_the_plugin() {
    let workshop = Workshop::new();
    let deadly = workshop.library(&[("SCHEMA", "(__builtin_trap(), \"{}\")")]);
    assert_eq!(inspect(&deadly).unwrap().kinds[0].name, "mine");
}

#[test]
fn what_is_no_library() {
    let workshop = Workshop::new();
    let text = workshop.path("text.so");
    fs::write(&text, "this is no library, whatever its name says").unwrap();
    refused(&text, &["not a shared library", "crate-type"]);
    fs::write(&text, "").unwrap();
    refused(&text, &["not a shared library"]);
    refused(workshop.0.path(), &["not a file"]);
    refused(&workshop.path("absent.so"), &["cannot read the file", "is the path right?"]);
}

#[test]
fn a_library_cut_at_any_place() {
    let workshop = Workshop::new();
    let whole = fs::read(workshop.library(&[])).unwrap();
    let cut = workshop.path("cut.so");
    // The last bytes are a table of which the loader has no need; what is before them, the host must not miss.
    for length in (64..whole.len() - 64).step_by(199) {
        fs::write(&cut, &whole[..length]).unwrap();
        refused(&cut, &["ends too early", "copy or build it again"]);
    }
}

#[test]
fn a_library_that_is_no_plugin() {
    let workshop = Workshop::new();
    let other = workshop.library(&[("SYMBOL", "something_else")]);
    refused(&other, &["does not export `poa_plugin_descriptor_v1`", "export!"]);
}

#[test]
fn a_plugin_of_another_version() {
    let workshop = Workshop::new();
    refused(
        &workshop.library(&[("MAJOR", "2")]),
        &["version 2.0", "this server speaks version 1.2"],
    );
    let next = workshop.library(&[("SYMBOL", "poa_plugin_descriptor_v2")]);
    refused(&next, &["version 2 of the plugin interface"]);
}

#[test]
fn a_descriptor_that_is_not_valid() {
    let workshop = Workshop::new();
    refused(
        &workshop.library(&[("NAME", "{0, 4}")]),
        &["descriptor is not valid", "name is missing"],
    );
    let not_json = workshop.library(&[("SCHEMA", "\"{\"")]);
    refused(&not_json, &["the schema of `mine` is not a JSON object"]);
    // A reason quotes only the beginning of what the library wrote.
    let long = format!("\"\\\"{}\\\"\"", "a".repeat(10_000));
    let long = workshop.library(&[("SCHEMA", &long)]);
    refused(&long, &["the schema of `mine` is not a JSON object", "aaa…"]);
}

#[test]
fn a_library_that_lacks_what_it_needs() {
    let workshop = Workshop::new();
    let source = workshop.path("needs.c");
    fs::write(&source, "int absent(void); int poa_plugin_descriptor_v1(void) { return absent(); }")
        .unwrap();
    let library = workshop.path("needs.so");
    let mut compiler = Command::new("cc");
    let status = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(status.unwrap().success());
    refused(&library, &["the system cannot load it", "absent"]);
}
