/// What a body may cost before it is refused.
///
/// The size of a body is not here: whoever reads it from the network counts its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep objects and arrays may nest. The outermost one counts, so a flat object has depth 1.
    pub max_depth: u8,
}

impl Default for Limits {
    /// Depth 128.
    fn default() -> Self {
        Self { max_depth: 128 }
    }
}
