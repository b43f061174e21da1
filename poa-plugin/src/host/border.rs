//! Calls into a plugin.

/// Calls a function of a plugin, which must not unwind.
///
/// An exception of another language, or a panic of another Rust runtime, cannot be caught here, and leaves its thread
/// in an unknown state. So it ends the process, with a report of its origin: the messages are delivered again from the
/// log.
pub(crate) fn cross<T>(library: &str, function: &'static str, call: impl FnOnce() -> T) -> T {
    let left = Left { library, function };
    let value = call();
    std::mem::forget(left);
    value
}

/// Dropped only when a call unwinds through it.
struct Left<'a> {
    library: &'a str,
    function: &'static str,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let Self { library, function } = self;
        // Not by the log: a lock of it may be held by the code that was unwound.
        eprintln!(
            "poa: an exception left the function `{function}` of plugin `{library}`, so this process ends; catch it there (in C++: \
             `noexcept`, or `poa_guard` of poa_plugin.h), or run the plugin as a child with `kind = \"exec\"`"
        );
        std::process::abort();
    }
}
