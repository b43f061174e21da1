//! Stores Ethereum blocks in a DynamoDB table.
