/// Limits on the structure of a body.
///
/// The size of a body is limited where it is read from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep objects and arrays may nest. The outermost one counts, so a flat object has depth 1.
    pub max_depth: u8,
    /// How many items a batch may hold. Decoding stops at the first one beyond it.
    pub max_items: usize,
}

impl Default for Limits {
    /// Depth 128, 10,000 items.
    fn default() -> Self {
        Self { max_depth: 128, max_items: 10_000 }
    }
}
