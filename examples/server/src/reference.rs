//! The reference page in the documentation.

use crate::registry::registry;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
const WRITE: &str = "POA_WRITE_DOCS";

#[test]
fn the_reference_page_is_current() {
    let page = poa_host::reference(&registry());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        page == checked_in,
        "docs/configuration.md is not what the schema says; regenerate it with `{WRITE}=1 cargo test -p poa-server reference`"
    );
}
