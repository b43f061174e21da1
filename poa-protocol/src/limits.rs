/// Limits on the structure of a body.
///
/// The size of a body is limited by the code that reads it from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum nesting depth of objects and arrays. The outermost one counts, so a flat object
    /// has depth 1.
    pub max_depth: u8,
    /// The most items in a batch. Decoding stops at the first one above the limit.
    pub max_items: usize,
}

impl Default for Limits {
    /// Depth 128, 10,000 items.
    fn default() -> Self {
        Self { max_depth: 128, max_items: 10_000 }
    }
}
