//! Plugins as child processes, in any language.
