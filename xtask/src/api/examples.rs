//! Public items without an example that runs.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Attribute, Expr, Item, Lit, Meta};

use super::surface::Entry;

/// The paths of types, traits and functions whose documentation has neither an example nor the name of an item with one.
pub(super) fn missing(entries: &BTreeMap<String, Entry<'_>>) -> Vec<String> {
    let documented: Vec<_> =
        entries.iter().filter_map(|(path, entry)| Some((path, text(entry.item?)?))).collect();
    let with: BTreeSet<_> = documented
        .iter()
        .filter(|(_, text)| has_example(text))
        .map(|(path, _)| name(path))
        .collect();
    let lacks = |text: &str| {
        !has_example(text) && !referred(text).is_some_and(|target| with.contains(target))
    };
    documented.iter().filter(|(_, text)| lacks(text)).map(|(path, _)| (*path).clone()).collect()
}

/// The documentation of an item that has to have an example; none for constants and macros.
fn text(item: &Item) -> Option<String> {
    let attributes = match item {
        Item::Fn(function) => &function.attrs,
        Item::Struct(structure) => &structure.attrs,
        Item::Enum(enumeration) => &enumeration.attrs,
        Item::Trait(interface) => &interface.attrs,
        Item::Type(alias) => &alias.attrs,
        _ => return None,
    };
    Some(attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n"))
}

/// The text of a doc comment.
fn line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    match &meta.value {
        Expr::Lit(literal) if meta.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a block of code runs as a test: one without attributes, or with those that only choose how it is compiled.
fn has_example(text: &str) -> bool {
    let mut open = false;
    let mut opening = |info: &str| {
        open = !open;
        open && info.split(',').all(|word| matches!(word.trim(), "" | "rust" | "edition2024"))
    };
    text.lines().filter_map(|line| line.trim_start().strip_prefix("```")).any(&mut opening)
}

/// The name of the item in `See [`Type`] for an example.`
fn referred(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("for an example")?;
    let (_, reference) = before.rsplit_once("See [`")?;
    reference.split_once('`').map(|(path, _)| name(path))
}

fn name(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_runs_is_an_example() {
        assert!(has_example("A type.\n\n```\nlet a = 1;\n```"));
        assert!(has_example("```text\na\n```\n```rust\nlet a = 1;\n```"));
        assert!(!has_example("A type.\n\n```text\na\n```"));
        assert!(!has_example("```ignore\nlet a = 1;\n```"));
        assert!(!has_example("```no_run\nlet a = 1;\n```"));
    }

    #[test]
    fn items_without_an_example_or_a_reference_to_one_are_missing() {
        let file: syn::File = syn::parse_quote! {
            /// ```
            /// let a = 1;
            /// ```
            pub struct Shown;
            /// See [`crate::Shown`] for an example.
            pub struct Referring;
            /// See [`Referring`] for an example.
            pub struct Indirect;
            /// Says nothing.
            pub fn silent() {}
            pub const NUMBER: u8 = 1;
        };
        let module = super::super::source::Module { items: file.items, ..Default::default() };
        let entries = super::super::surface::entries("demo", &module);
        assert_eq!(missing(&entries), ["demo::Indirect", "demo::silent"]);
    }
}
