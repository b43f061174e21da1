//! Plugins of a few lines, compiled where they are tested.

use std::path::Path;
use std::process::Command;

use poa_plugin::host::Library;

/// Compiles and loads a plugin in C.
#[allow(dead_code, reason = "not every test has one in C")]
pub(crate) fn c(dir: &Path, name: &str, text: &str) -> Library {
    c_against(&Path::new(env!("CARGO_MANIFEST_DIR")).join("include"), dir, name, text)
}

/// Compiles and loads a plugin in C, with the header in this directory.
#[allow(dead_code, reason = "not every test has one in C")]
pub(crate) fn c_against(include: &Path, dir: &Path, name: &str, text: &str) -> Library {
    build(include, dir, name, "c", &["cc", "-std=c99", "-Wextra", "-pthread"], text)
}

/// Compiles and loads a plugin in C++.
#[allow(dead_code, reason = "not every test has one in C++")]
pub(crate) fn cpp(dir: &Path, name: &str, text: &str) -> Library {
    build(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("include"),
        dir,
        name,
        "cpp",
        &["c++", "-std=c++20", "-Wextra", "-Wno-missing-field-initializers"],
        text,
    )
}

fn build(
    include: &Path,
    dir: &Path,
    name: &str,
    ending: &str,
    compiler: &[&str],
    text: &str,
) -> Library {
    let (source, library) =
        (dir.join(name).with_extension(ending), dir.join(name).with_extension("so"));
    std::fs::write(&source, text).unwrap();
    let output = Command::new(compiler[0])
        .args(&compiler[1..])
        .args(["-Wall", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(include)
        .arg("-o")
        .args([&library, &source])
        .output()
        .unwrap_or_else(|error| panic!("install a compiler as `{}`: {error}", compiler[0]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Library::load(&library).unwrap()
}
