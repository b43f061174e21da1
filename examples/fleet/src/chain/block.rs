//! One block as agents report it.

use bytes::Bytes;
use fastrand::Rng;
use serde::Serialize;

use super::decimal::Decimal;
use crate::seed::{hex, push_hex};
use crate::wrap::wrap;

/// Seconds in which one authority may seal a block.
pub(super) const STEP_SECONDS: u64 = 5;

/// The size of a block without transactions, and of each transaction.
const EMPTY_BYTES: u64 = 566;
const TRANSACTION_BYTES: u64 = 113;

const GAS_OF_A_TRANSFER: u64 = 21_000;

/// A block, and how it is encoded, since every agent reports it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: Header,
    /// Seconds since the fleet's start, fractions included, when it was sealed.
    pub(crate) sealed: f64,
    /// The current gas price, in wei.
    pub(crate) gas_price: u64,
    /// How many transactions waited for the next block.
    pub(crate) pending: u64,
    /// The body alone.
    pub(crate) body: Bytes,
    /// The body as the data of a message.
    pub(crate) data: Bytes,
}

/// The fields that Parity's nodes report of a block sealed by an authority, in the order in which agents send them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(crate) author: String,
    pub(crate) difficulty: String,
    pub(crate) extra_data: &'static str,
    pub(crate) gas_limit: u64,
    pub(crate) gas_used: u64,
    pub(crate) hash: String,
    pub(crate) miner: String,
    pub(crate) number: u64,
    pub(crate) parent_hash: String,
    pub(crate) receipts_root: String,
    pub(crate) seal_fields: [String; 2],
    pub(crate) sha3_uncles: &'static str,
    pub(crate) signature: String,
    pub(crate) size: u64,
    pub(crate) state_root: String,
    pub(crate) step: String,
    pub(crate) timestamp: u64,
    pub(crate) total_difficulty: String,
    pub(crate) transactions: Vec<String>,
    pub(crate) transactions_root: String,
    pub(crate) uncles: [(); 0],
}

/// The parent of the next block.
pub(super) struct Parent<'a> {
    pub(super) number: u64,
    pub(super) hash: &'a str,
    pub(super) step: u64,
    pub(super) total_difficulty: &'a mut Decimal,
}

impl Header {
    /// Seals a block on `parent` at `step`, by the rules of Authority Round.
    pub(super) fn seal(
        rng: &mut Rng,
        parent: Parent<'_>,
        step: u64,
        author: String,
        transactions: u64,
    ) -> Self {
        // The heaviest chain is the one with the fewest steps left out.
        let difficulty = u128::MAX - u128::from(step - parent.step);
        parent.total_difficulty.add(difficulty);
        let mut signature = String::with_capacity(130);
        push_hex(&mut signature, rng, 65);
        let gas_limit = 8_000_000 + rng.u64(..8_000);
        let gas = (0..transactions).map(|_| GAS_OF_A_TRANSFER * rng.u64(1..=6)).sum::<u64>();
        Self {
            miner: author.clone(),
            author,
            difficulty: difficulty.to_string(),
            extra_data: "0xde830207028f5061726974792d457468657265756d86312e32",
            gas_limit,
            gas_used: gas.min(gas_limit),
            hash: hex(rng, 32),
            number: parent.number + 1,
            parent_hash: parent.hash.to_owned(),
            receipts_root: hex(rng, 32),
            seal_fields: [format!("0x84{step:08x}"), format!("0xb841{signature}")],
            sha3_uncles: "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
            signature,
            size: EMPTY_BYTES + TRANSACTION_BYTES * transactions,
            state_root: hex(rng, 32),
            step: step.to_string(),
            timestamp: step * STEP_SECONDS,
            total_difficulty: parent.total_difficulty.to_string(),
            transactions: (0..transactions).map(|_| hex(rng, 32)).collect(),
            transactions_root: hex(rng, 32),
            uncles: [],
        }
    }
}

impl Block {
    pub(super) fn new(header: Header, sealed: f64, gas_price: u64, pending: u64) -> Self {
        let body = Bytes::from(
            rmp_serde::to_vec_named(&header).expect("strings and numbers can always be encoded"),
        );
        let data = wrap("block", &body);
        Self { header, sealed, gas_price, pending, body, data }
    }
}
