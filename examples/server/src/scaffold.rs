//! `poa-server new`: writes a plugin to begin with.

mod name;
mod template;

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{New, Role};
use crate::failure::Failure;
use crate::output::say;
use crate::registry::registry;
use name::Name;
use template::Template;

/// Writes the files, and says what to do next.
pub(crate) fn new(options: &New) -> Result<u8, Failure> {
    let name = Name::new(&options.name).map_err(Failure::because)?;
    let template = Template::of(options.role, options.form()).ok_or_else(|| {
        Failure::because("there is no template for a handler in C; use --dylib or --exec")
    })?;
    if let Some(taken) = template.taken(&name) {
        return Err(Failure::because(format_args!(
            "`{}` would make a type `{taken}`, which the code has already; choose another name",
            name.as_str()
        )));
    }
    let registry = registry();
    let there = match options.role {
        Role::Handler => registry.handlers().contains_key(&*name.snake()),
        Role::Receiver => registry.receivers().contains_key(&*name.snake()),
    };
    if template.has_kind() && there {
        return Err(Failure::because(format_args!(
            "`{}` is a kind that poa-server has already; choose another name",
            name.snake()
        )));
    }
    let directory = options.path.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    make(&directory)?;
    for (path, text) in template.files(&name) {
        let path = directory.join(path);
        write(&path, &text).map_err(|error| {
            Failure::new(format_args!("cannot write {}", path.display()), error)
        })?;
    }
    say(format_args!("wrote {}; now:\n  cd {}", directory.display(), directory.display()));
    template.next_steps().iter().for_each(|step| say(format_args!("  {step}")));
    Ok(0)
}

/// Makes the directory, which must not be there with anything in it.
fn make(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    fs::create_dir_all(directory)
        .map_err(|error| Failure::new(format_args!("cannot make {shown}"), error))?;
    let mut entries = fs::read_dir(directory)
        .map_err(|error| Failure::new(format_args!("cannot read {shown}"), error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::because(format_args!(
            "{shown} is there already, and not empty; choose another place with --path DIR"
        ))),
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}
