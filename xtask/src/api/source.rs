//! The module tree of a crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, Meta, Visibility};

use crate::run::Failure;

/// A module: its items, and the modules in it.
#[derive(Default)]
pub(super) struct Module {
    pub(super) items: Vec<Item>,
    pub(super) children: BTreeMap<String, Child>,
}

/// A module in another.
pub(super) struct Child {
    pub(super) public: bool,
    pub(super) module: Module,
}

impl Module {
    /// Parses a crate from its root file.
    pub(super) fn load(file: &Path) -> Result<Self, Failure> {
        let directory = file.parent().unwrap_or(Path::new(".")).to_owned();
        Self::parse(file, &directory)
    }

    /// `directory` is where the files of the modules in this one are.
    fn parse(file: &Path, directory: &Path) -> Result<Self, Failure> {
        let unreadable = |error: String| Failure::Unreadable(file.display().to_string(), error);
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        let parsed = syn::parse_file(&text).map_err(|error| unreadable(error.to_string()))?;
        Self::of(parsed.items, directory)
    }

    fn of(items: Vec<Item>, directory: &Path) -> Result<Self, Failure> {
        let mut module = Self::default();
        for item in items {
            match item {
                Item::Mod(inner) if is_test(&inner.attrs) => {}
                Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let below = directory.join(&name);
                    let public = matches!(inner.vis, Visibility::Public(_));
                    let child = match inner.content {
                        Some((_, items)) => Self::of(items, &below)?,
                        None => Self::parse(&file_of(directory, &name), &below)?,
                    };
                    module.children.insert(name, Child { public, module: child });
                }
                item => module.items.push(item),
            }
        }
        Ok(module)
    }

    /// Every item of this module and of those in it.
    pub(super) fn all_items(&self) -> Vec<&Item> {
        let children = self.children.values().flat_map(|child| child.module.all_items());
        self.items.iter().chain(children).collect()
    }
}

fn file_of(directory: &Path, name: &str) -> PathBuf {
    let flat = directory.join(format!("{name}.rs"));
    if flat.exists() { flat } else { directory.join(name).join("mod.rs") }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().starts_with("test")
        }
        _ => false,
    })
}
