//! The page at `/`: nodes and topics, live; a form for requests, signals and compositions.
//!
//! Its files say nothing about this gateway. What it shows and sends goes by the interface, with the token.

use poa_page::{Asset, Files};

const OWN: [Asset; 3] = [
    Asset::html("/", include_bytes!("../page/index.html")),
    Asset::css("/style.css", include_bytes!("../page/style.css")),
    Asset::script("/main.js", include_bytes!("../page/main.js")),
];

/// All files of the page.
pub(crate) fn files() -> Files {
    Files::new(OWN.into_iter().chain(poa_page::shared("/")), &[])
}
