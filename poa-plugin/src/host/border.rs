//! The step into a plugin.

/// Calls a function of a plugin, which must not let anything out that unwinds.
///
/// An exception of another language, or a panic of another Rust, cannot be caught here, and what its thread held is in an unknown state.
/// So it ends the process, and says whose it was: what is in the log comes again.
pub(crate) fn cross<T>(library: &str, function: &'static str, call: impl FnOnce() -> T) -> T {
    let left = Left { library, function };
    let value = call();
    std::mem::forget(left);
    value
}

/// Dropped only when something unwinds through it.
struct Left<'a> {
    library: &'a str,
    function: &'static str,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let Self { library, function } = self;
        // Not by the log: nothing that could be held by whoever was unwound.
        eprintln!(
            "poa: an exception left the function `{function}` of plugin `{library}`, so this process ends; catch it there (in C++: \
             `noexcept`, or `poa_guard` of poa_plugin.h), or run the plugin as a child with `kind = \"exec\"`"
        );
        std::process::abort();
    }
}
