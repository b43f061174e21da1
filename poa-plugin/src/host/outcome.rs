//! The result of a plugin's call, in the host's types.

use std::ffi::c_void;

use poa_core::{BuildError, DeliveryError, PluginError};

use crate::abi;
use crate::sized;

/// The result of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u32,
    pub(crate) text: String,
    pub(crate) items: Vec<usize>,
    pub(crate) instance: *mut c_void,
}

// SAFETY: the pointer is only passed back to the plugin, whose functions can be called from any thread.
unsafe impl Send for Answer {}

/// More than a batch can have.
const MOST_ITEMS: usize = 1 << 24;

impl Answer {
    /// Copies the result of a plugin.
    ///
    /// # Safety
    /// `outcome` is null or a valid outcome, until this returns.
    pub(crate) unsafe fn read(outcome: *const abi::Outcome) -> Self {
        // SAFETY: the caller guarantees it.
        let Ok(outcome) = (unsafe { sized::read(outcome) }) else {
            return Self::broken("completed a call without a result");
        };
        let there = !outcome.items.is_null() && outcome.items.is_aligned();
        let items = if there && outcome.items_len <= MOST_ITEMS {
            // SAFETY: not null, aligned, and not too many; the caller guarantees the rest.
            unsafe { std::slice::from_raw_parts(outcome.items, outcome.items_len) }
        } else {
            &[]
        };
        Self {
            code: outcome.code,
            // SAFETY: as above.
            text: unsafe { outcome.text.text() },
            items: items.iter().map(|item| *item as usize).collect(),
            instance: outcome.instance,
        }
    }

    /// A call that can succeed later.
    pub(crate) fn transient(text: &str) -> Self {
        Self { code: abi::POA_TRANSIENT, ..Self::broken(text) }
    }

    /// The result assumed for a plugin that violates the interface.
    pub(crate) fn broken(text: &str) -> Self {
        let instance = std::ptr::null_mut();
        Self { code: abi::POA_PANICKED, text: text.to_owned(), items: Vec::new(), instance }
    }

    /// The result of delivering `count` messages.
    ///
    /// # Panics
    /// When the plugin did: the core then treats it like any plugin that panics. The panic hook is not called again.
    pub(crate) fn of_delivery(self, count: usize) -> Result<(), DeliveryError> {
        match self.code {
            abi::POA_OK => Ok(()),
            abi::POA_TRANSIENT => Err(DeliveryError::transient(self.text)),
            abi::POA_PERMANENT => {
                let items = self.items.into_iter().filter(|item| *item < count).collect();
                Err(DeliveryError::permanent_for(items, self.text))
            }
            abi::POA_PANICKED => std::panic::resume_unwind(Box::new(self.text)),
            code => Err(DeliveryError::transient(unknown(code, &self.text))),
        }
    }

    /// The result of a build.
    ///
    /// # Panics
    /// As [`of_delivery`](Self::of_delivery).
    pub(crate) fn of_build(self) -> Result<(), BuildError> {
        match self.code {
            abi::POA_OK => Ok(()),
            abi::POA_TRANSIENT => Err(BuildError::unavailable(self.text)),
            abi::POA_PERMANENT => Err(BuildError::failed(self.text)),
            abi::POA_PANICKED => std::panic::resume_unwind(Box::new(self.text)),
            code => Err(BuildError::failed(unknown(code, &self.text))),
        }
    }

    /// The result of a handler.
    ///
    /// # Panics
    /// As [`of_delivery`](Self::of_delivery).
    pub(crate) fn of_run(self) -> Result<(), PluginError> {
        match self.code {
            abi::POA_OK => Ok(()),
            abi::POA_TRANSIENT | abi::POA_PERMANENT => Err(PluginError::new(self.text)),
            abi::POA_PANICKED => std::panic::resume_unwind(Box::new(self.text)),
            code => Err(PluginError::new(unknown(code, &self.text))),
        }
    }
}

fn unknown(code: u32, text: &str) -> String {
    format!("the plugin answered with the unknown code {code}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: abi::Outcome) -> Answer {
        // SAFETY: a valid outcome.
        unsafe { Answer::read(&raw const outcome) }
    }

    #[test]
    fn every_code_has_its_meaning() {
        assert!(answer(abi::Outcome::code(abi::POA_OK)).of_delivery(1).is_ok());
        let later = answer(abi::Outcome::with_text(abi::POA_TRANSIENT, "later")).of_delivery(1);
        assert!(
            matches!(later, Err(DeliveryError::Transient { source: why, .. }) if why.to_string() == "later")
        );
        let strange = answer(abi::Outcome::with_text(77, "?")).of_delivery(1);
        assert!(
            matches!(strange, Err(DeliveryError::Transient { source: why, .. }) if why.to_string().contains("77"))
        );
    }

    #[test]
    fn only_items_of_the_batch_can_be_refused() {
        let items = [0, 9, 1];
        let refused = abi::Outcome {
            items: items.as_ptr(),
            items_len: items.len(),
            ..abi::Outcome::with_text(abi::POA_PERMANENT, "no")
        };
        let refused = answer(refused).of_delivery(2);
        assert!(matches!(refused, Err(DeliveryError::Permanent { items, .. }) if items == [0, 1]));
    }

    #[test]
    fn items_that_cannot_be_read_are_none() {
        let items = [0_u64, 0];
        let misaligned = abi::Outcome {
            items: std::ptr::from_ref(&items).cast::<u8>().wrapping_add(1).cast(),
            items_len: 1,
            ..abi::Outcome::code(abi::POA_PERMANENT)
        };
        assert!(answer(misaligned).items.is_empty());
        assert!(answer(abi::Outcome { items_len: usize::MAX, ..misaligned }).items.is_empty());
    }

    #[test]
    fn no_result_is_a_broken_plugin() {
        // SAFETY: null is allowed.
        let answer = unsafe { Answer::read(std::ptr::null()) };
        let caught = std::panic::catch_unwind(|| answer.of_run());
        assert!(caught.is_err_and(|text| text.is::<String>()));
    }
}
