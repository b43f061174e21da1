//! Items without everything that is not part of the API: bodies, private fields, comments.

use syn::{
    Attribute, Block, Field, Fields, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility,
    parse_quote,
};

/// Attributes that belong to the API.
const KEPT: &[&str] =
    &["derive", "non_exhaustive", "must_use", "cfg", "deprecated", "async_trait", "macro_export"];

/// The public form of an item, if it is public.
pub(super) fn public(item: &Item) -> Option<Item> {
    let mut item = item.clone();
    match &mut item {
        Item::Fn(function) if is_public(&function.vis) => {
            keep(&mut function.attrs);
            *function.block = empty();
        }
        Item::Struct(structure) if is_public(&structure.vis) => {
            keep(&mut structure.attrs);
            hide_private(&mut structure.fields);
        }
        Item::Enum(enumeration) if is_public(&enumeration.vis) => {
            keep(&mut enumeration.attrs);
            for variant in &mut enumeration.variants {
                keep(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| keep(&mut field.attrs));
            }
        }
        Item::Trait(interface) if is_public(&interface.vis) => {
            keep(&mut interface.attrs);
            interface.items.iter_mut().for_each(strip_trait_item);
        }
        Item::Const(constant) if is_public(&constant.vis) => {
            keep(&mut constant.attrs);
            *constant.expr = parse_quote!(_);
        }
        Item::Type(alias) if is_public(&alias.vis) => keep(&mut alias.attrs),
        Item::Macro(rules) if rules.attrs.iter().any(|a| a.path().is_ident("macro_export")) => {
            keep(&mut rules.attrs);
            rules.mac.tokens = parse_quote!(() => {};);
        }
        _ => return None,
    }
    Some(item)
}

/// The name of an item that can be re-exported.
pub(super) fn name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Fn(function) => function.sig.ident.to_string(),
        Item::Struct(structure) => structure.ident.to_string(),
        Item::Enum(enumeration) => enumeration.ident.to_string(),
        Item::Trait(interface) => interface.ident.to_string(),
        Item::Const(constant) => constant.ident.to_string(),
        Item::Type(alias) => alias.ident.to_string(),
        Item::Macro(rules) => rules.ident.as_ref()?.to_string(),
        _ => return None,
    })
}

/// The public form of an implementation for the type of this name; none when nothing of it is public.
pub(super) fn implementation(block: &ItemImpl, of: &str) -> Option<ItemImpl> {
    let Type::Path(path) = &*block.self_ty else { return None };
    if path.path.segments.last()?.ident != of {
        return None;
    }
    let mut block = block.clone();
    let inherent = block.trait_.is_none();
    keep(&mut block.attrs);
    block.items.retain(|item| match item {
        ImplItem::Fn(function) => inherent && is_public(&function.vis),
        ImplItem::Const(constant) => inherent && is_public(&constant.vis),
        ImplItem::Type(_) => true,
        _ => false,
    });
    for item in &mut block.items {
        match item {
            ImplItem::Fn(function) => {
                keep(&mut function.attrs);
                function.block = empty();
            }
            ImplItem::Const(constant) => {
                keep(&mut constant.attrs);
                constant.expr = parse_quote!(_);
            }
            _ => {}
        }
    }
    (!inherent || !block.items.is_empty()).then_some(block)
}

fn strip_trait_item(item: &mut TraitItem) {
    match item {
        TraitItem::Fn(function) => {
            keep(&mut function.attrs);
            function.default = function.default.is_some().then(empty);
        }
        TraitItem::Type(kind) => keep(&mut kind.attrs),
        TraitItem::Const(constant) => keep(&mut constant.attrs),
        _ => {}
    }
}

fn hide_private(fields: &mut Fields) {
    let private = fields.iter().any(|field| !is_public(&field.vis));
    match fields {
        Fields::Named(named) => {
            named.named =
                named.named.iter().filter(|field| is_public(&field.vis)).cloned().collect();
            named.named.iter_mut().for_each(|field| keep(&mut field.attrs));
            if private {
                named.named.push(parse_quote!(_private: _));
            }
        }
        Fields::Unnamed(unnamed) if private => {
            let hidden: Field = parse_quote!(_);
            unnamed.unnamed = [hidden].into_iter().collect();
        }
        _ => {}
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn keep(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| KEPT.iter().any(|kept| attribute.path().is_ident(kept)));
}

fn empty() -> Block {
    parse_quote!({})
}
