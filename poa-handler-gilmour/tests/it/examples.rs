//! The programs of examples/gilmour, as they are.
