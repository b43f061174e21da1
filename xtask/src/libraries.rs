//! The libraries of this workspace: the packages that are published.

use std::process::Command;

use serde::Deserialize;

use crate::run::{Failure, output};

/// A published package, as `cargo metadata` describes it.
#[derive(Deserialize)]
pub(crate) struct Library {
    pub(crate) name: String,
    features: std::collections::BTreeMap<String, Vec<String>>,
    /// Registries it may go to; none when it is not for publishing.
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` or `build`; none for what the library itself is compiled with.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Library>,
}

/// All of them, by name.
pub(crate) fn libraries() -> Result<Vec<Library>, Failure> {
    let arguments = ["metadata", "--no-deps", "--locked", "--format-version", "1"];
    let text = output(cargo().args(arguments))?;
    let metadata: Metadata = serde_json::from_str(&text).map_err(|error| {
        Failure::Unreadable("what `cargo metadata` says".into(), error.to_string())
    })?;
    let published = |library: &Library| library.publish.as_ref().is_none_or(|to| !to.is_empty());
    let mut libraries: Vec<_> = metadata.packages.into_iter().filter(published).collect();
    libraries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(libraries)
}

impl Library {
    /// The packages that it is compiled with.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        let needed = |dependency: &&Dependency| dependency.kind.as_deref() != Some("dev");
        self.dependencies.iter().filter(needed).map(|dependency| dependency.name.as_str())
    }

    /// Flags for each way to build it: without features, with each of them alone, with all.
    pub(crate) fn builds(&self) -> Vec<Vec<String>> {
        let alone = |feature: &String| {
            vec!["--no-default-features".into(), "--features".into(), feature.clone()]
        };
        let named = self.features.keys().filter(|name| *name != "default");
        let mut builds = vec![vec!["--no-default-features".to_owned()]];
        builds.extend(named.map(alone));
        if builds.len() > 1 {
            builds.push(vec!["--all-features".to_owned()]);
        }
        builds
    }

    /// For the page: its direct dependencies, and the number of packages in all, itself included.
    #[cfg(test)]
    fn tree(&self) -> Result<(Vec<String>, usize), Failure> {
        let packages = |depth: &[&str]| {
            let arguments = ["tree", "--locked", "--package", &self.name, "--edges", "normal"];
            // The same on every machine.
            let format =
                ["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--no-dedupe"];
            output(cargo().args(arguments).args(format).args(depth))
        };
        let package = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let all: std::collections::BTreeSet<_> = packages(&[])?.lines().map(package).collect();
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let own = packages(&["--depth", "1"])?.lines().skip(1).map(name).collect();
        Ok((own, all.len()))
    }
}

/// The page that lists what comes with each library.
#[cfg(test)]
fn page() -> Result<String, Failure> {
    let mut rows = Vec::new();
    for library in libraries()? {
        let (own, count) = library.tree()?;
        rows.push((count, library.name, own));
    }
    rows.sort();
    let row = |(count, name, own): &(usize, String, Vec<String>)| {
        format!("| `{name}` | {count} | {} |\n", own.join(", "))
    };
    Ok(format!("{HEAD}{}", rows.iter().map(row).collect::<String>()))
}

#[cfg(test)]
const HEAD: &str = "\
# Dependencies

Each library with its default features: the number of packages built in all, itself included, and its direct dependencies, as
`cargo tree --edges normal --depth 1` lists them for Linux. Most packages are shared. `cargo xtask docs` writes this page, and a test compares
it.

| library | packages | depends on |
|---|---|---|
";

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_dependencies_is_that_of_today() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dependencies.md");
        let page = page().unwrap_or_else(|failure| panic!("{failure}"));
        if std::env::var_os("POA_WRITE_DOCS").is_some() {
            std::fs::write(&file, &page).unwrap_or_else(|error| panic!("{error}"));
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(written, page, "run `cargo xtask docs`");
    }
}
