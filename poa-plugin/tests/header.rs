//! The header is what the Rust side says, and compilers of C and C++ take it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

const WRITE: &str = "POA_WRITE_HEADER";

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/poa_plugin.h")
}

#[test]
fn the_header_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(here.join("src/abi.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(header(), &text).unwrap();
    }
    let checked_in = std::fs::read(header()).unwrap_or_default();
    assert!(
        text == checked_in,
        "include/poa_plugin.h does not match src/abi.rs; regenerate it with \
         `{WRITE}=1 cargo test -p poa-plugin --test header`"
    );
}

/// Compiles a file that uses everything in the header.
fn compile(compiler: &str, language: &str, standard: &str) {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("uses");
    let text = "#include <poa_plugin.h>\n\
        const poa_descriptor poa_plugin_descriptor_v1 = { sizeof(poa_descriptor), POA_ABI_MAJOR, 0, \
        POA_TEXT(\"name\"), POA_TEXT(\"1\"), 0, 0, 0 };\n";
    std::fs::write(&source, text).unwrap();
    let output = Command::new(compiler)
        .args(["-x", language, standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", "-I"])
        .arg(header().parent().unwrap())
        .arg(&source)
        .arg("-o")
        .arg(dir.path().join("uses.o"))
        .output()
        .unwrap_or_else(|error| panic!("install a compiler ({compiler}): {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_is_c99() {
    compile("cc", "c", "-std=c99");
}

#[test]
fn it_is_cpp() {
    compile("c++", "c++", "-std=c++11");
}
