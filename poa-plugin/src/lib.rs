//! Plugins in shared libraries: a stable C ABI, its SDK and its loader.
