use crate::scan::Kind;

/// Records which of the open containers are objects: one bit for each level that a `u8` of depth can count.
#[derive(Debug)]
pub(super) struct Nesting {
    objects: [u64; 4],
    innermost: u8,
}

impl Nesting {
    pub(super) fn new(outermost: Kind) -> Self {
        let mut nesting = Self { objects: [0; 4], innermost: 0 };
        nesting.mark(outermost);
        nesting
    }

    pub(super) fn in_object(&self) -> bool {
        let word = self.objects[usize::from(self.innermost / 64)];
        word >> (self.innermost % 64) & 1 == 1
    }

    /// The caller has checked the depth, which is at most `u8::MAX`, so the level fits.
    pub(super) fn enter(&mut self, kind: Kind) {
        self.innermost += 1;
        self.mark(kind);
    }

    /// Leaves the innermost container; returns whether it was also the outermost.
    pub(super) fn leave(&mut self) -> bool {
        let done = self.innermost == 0;
        self.innermost = self.innermost.saturating_sub(1);
        done
    }

    fn mark(&mut self, kind: Kind) {
        let bit = 1 << (self.innermost % 64);
        let word = &mut self.objects[usize::from(self.innermost / 64)];
        *word = if kind == Kind::Object { *word | bit } else { *word & !bit };
    }
}
