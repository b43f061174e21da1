//! The items that users of a crate can name, by their paths.

use std::collections::BTreeMap;

use syn::{File, Item, ItemUse, UseTree, Visibility};

use super::item;
use super::source::Module;

/// Re-exports of re-exports are followed no deeper than this.
const DEPTH: usize = 8;

/// An item that users of a crate can name.
pub(super) struct Entry<'c> {
    /// Its declaration, without everything that is not public.
    text: String,
    /// The item; none if it is of another crate.
    pub(super) item: Option<&'c Item>,
}

/// The public API of a crate as text.
pub(super) fn of(crate_name: &str, root: &Module) -> String {
    let mut text = String::new();
    for (path, entry) in entries(crate_name, root) {
        text.push_str(&format!("// {path}\n{}\n", entry.text));
    }
    text
}

/// The public API of a crate, by path.
pub(super) fn entries<'c>(crate_name: &str, root: &'c Module) -> BTreeMap<String, Entry<'c>> {
    let mut surface = Surface { root, implementations: root.all_items(), entries: BTreeMap::new() };
    surface.module(crate_name, &[], root);
    surface.entries
}

struct Surface<'c> {
    root: &'c Module,
    implementations: Vec<&'c Item>,
    entries: BTreeMap<String, Entry<'c>>,
}

impl<'c> Surface<'c> {
    fn module(&mut self, path: &str, at: &[String], module: &'c Module) {
        for item in &module.items {
            match item {
                Item::Use(import) if matches!(import.vis, Visibility::Public(_)) => {
                    self.re_exports(path, at, import);
                }
                item => self.item(path, None, item),
            }
        }
        for (name, child) in module.children.iter().filter(|(_, child)| child.public) {
            let at = [at, std::slice::from_ref(name)].concat();
            self.module(&format!("{path}::{name}"), &at, &child.module);
        }
    }

    fn item(&mut self, path: &str, name: Option<&str>, item: &'c Item) {
        let (Some(public), Some(own)) = (item::public(item), item::name(item)) else { return };
        let mut items = vec![public];
        for implementation in &self.implementations {
            let Item::Impl(block) = implementation else { continue };
            items.extend(item::implementation(block, &own).map(Item::Impl));
        }
        let text = prettyplease::unparse(&File { shebang: None, attrs: Vec::new(), items });
        let path = format!("{path}::{}", name.unwrap_or(&own));
        self.entries.insert(path, Entry { text, item: Some(item) });
    }

    fn re_exports(&mut self, path: &str, at: &[String], import: &ItemUse) {
        for import in leaves(&import.tree) {
            match self.target(at, &import.segments, DEPTH) {
                Some(Target::Item(item)) => self.item(path, Some(&import.name), item),
                Some(Target::Module(module, at)) if import.name == "*" => {
                    self.module(path, &at, module);
                }
                Some(Target::Module(module, at)) => {
                    self.module(&format!("{path}::{}", import.name), &at, module);
                }
                None => {
                    let text = format!("pub use {};\n", import.segments.join("::"));
                    let path = format!("{path}::{}", import.name);
                    self.entries.insert(path, Entry { text, item: None });
                }
            }
        }
    }

    /// The item or module that a path leads to from a module; none for one of another crate.
    fn target(&self, at: &[String], path: &[String], depth: usize) -> Option<Target<'c>> {
        let (first, rest) = path.split_first()?;
        let (mut at, rest) = match first.as_str() {
            "crate" => (Vec::new(), rest),
            "self" => (at.to_vec(), rest),
            "super" => (at[..at.len().checked_sub(1)?].to_vec(), rest),
            _ => (at.to_vec(), path),
        };
        let (name, modules) = rest.split_last()?;
        let mut module = self.at(&at)?;
        for name in modules {
            module = &module.children.get(name)?.module;
            at.push(name.clone());
        }
        if name == "*" {
            return Some(Target::Module(module, at));
        }
        if let Some(child) = module.children.get(name) {
            at.push(name.clone());
            return Some(Target::Module(&child.module, at));
        }
        let named = |item: &&Item| item::name(item).as_deref() == Some(name);
        match module.items.iter().find(named) {
            Some(item) => Some(Target::Item(item)),
            None => self.imported(&at, module, name, depth.checked_sub(1)?),
        }
    }

    /// The target of a `use` in this module that brings in this name.
    fn imported(
        &self,
        at: &[String],
        module: &Module,
        name: &str,
        depth: usize,
    ) -> Option<Target<'c>> {
        let imports = module.items.iter().filter_map(|item| match item {
            Item::Use(import) => Some(leaves(&import.tree)),
            _ => None,
        });
        let import = imports.flatten().find(|import| import.name == name)?;
        self.target(at, &import.segments, depth)
    }

    fn at(&self, path: &[String]) -> Option<&'c Module> {
        path.iter().try_fold(self.root, |module, name| Some(&module.children.get(name)?.module))
    }
}

enum Target<'c> {
    Item(&'c Item),
    /// A module, and where it is.
    Module(&'c Module, Vec<String>),
}

/// One name that a `use` brings in.
struct Leaf {
    segments: Vec<String>,
    name: String,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
    match tree {
        UseTree::Path(path) => {
            let mut below = leaves(&path.tree);
            for leaf in &mut below {
                // `use a::{self}` brings in `a`.
                if leaf.segments == ["self"] {
                    leaf.segments.clear();
                    leaf.name = path.ident.to_string();
                }
                leaf.segments.insert(0, path.ident.to_string());
            }
            below
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            vec![Leaf { segments: vec![name.clone()], name }]
        }
        UseTree::Rename(rename) => {
            let segments = vec![rename.ident.to_string()];
            vec![Leaf { segments, name: rename.rename.to_string() }]
        }
        UseTree::Glob(_) => vec![Leaf { segments: vec!["*".into()], name: "*".into() }],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, &str)]) -> String {
        let dir = std::env::temp_dir().join(format!("poa-api-{}", std::process::id()));
        let dir = dir.join(format!("{:p}", files.as_ptr()));
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let text = of("demo", &Module::load(&dir.join("lib.rs")).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        text
    }

    #[test]
    fn lists_what_can_be_named_without_bodies_and_private_parts() {
        let files = [
            ("lib.rs", "mod inner; pub mod outer; pub use inner::{Shown as Renamed, deep::Far};"),
            (
                "inner/mod.rs",
                "pub mod deep; pub struct Shown { pub a: u8, b: u8 } impl Shown { pub fn go(&self) -> u8 { 1 } fn no() {} }
                 pub struct Hidden; impl Clone for Shown { fn clone(&self) -> Self { todo() } }",
            ),
            ("inner/deep.rs", "pub struct Far(u8);"),
            ("outer.rs", "/// Docs.\npub trait Do { fn it(&self) { } } pub(crate) fn internal() {}"),
        ];
        let expected = "\
// demo::Far
pub struct Far(_);

// demo::Renamed
pub struct Shown {
    pub a: u8,
    _private: _,
}
impl Shown {
    pub fn go(&self) -> u8 {}
}
impl Clone for Shown {}

// demo::outer::Do
pub trait Do {
    fn it(&self) {}
}

";
        assert_eq!(listing(&files), expected);
    }

    #[test]
    fn names_of_other_crates_are_listed_as_such() {
        let files = [("lib.rs", "pub use other::Thing;")];
        assert_eq!(listing(&files), "// demo::Thing\npub use other::Thing;\n\n");
    }
}
