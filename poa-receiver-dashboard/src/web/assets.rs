//! The files of the page, compiled in.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The path at which the page exchanges the secret for a cookie.
pub(crate) const SESSION: &str = "/session";
/// The path of an agent's recent figures.
pub(crate) const HISTORY: &str = "/history";

/// A file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal $content_type:ident $file:literal)*) => {
        &[$(Asset { path: $path, content_type: $content_type, content: include_bytes!(concat!("../../", $file)) }),*]
    };
}

/// All of them.
pub(crate) const ALL: &[Asset] = assets! {
    "/" HTML "page/index.html"
    "/style.css" CSS "page/style.css"
    "/icon.svg" SVG "page/icon.svg"
    "/main.js" SCRIPT "page/main.js"
    "/agents.js" SCRIPT "page/agents.js"
    "/chart.js" SCRIPT "page/chart.js"
    "/columns.js" SCRIPT "page/columns.js"
    "/detail.js" SCRIPT "page/detail.js"
    "/feed.js" SCRIPT "page/feed.js"
    "/format.js" SCRIPT "page/format.js"
    "/rate.js" SCRIPT "page/rate.js"
    "/samples.js" SCRIPT "page/samples.js"
    "/sign-in.js" SCRIPT "page/sign-in.js"
    "/summary.js" SCRIPT "page/summary.js"
    "/table.js" SCRIPT "page/table.js"
    "/uplot.js" SCRIPT "vendor/uplot/uPlot.iife.min.js"
    "/uplot.css" CSS "vendor/uplot/uPlot.min.css"
};

/// The file at this path.
pub(crate) fn find(path: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.path == path)
}

/// Whether something other than the feed is at this path.
pub(crate) fn is_taken(path: &str) -> bool {
    find(path).is_some() || path == SESSION || path == HISTORY
}

/// A hash that identifies this content.
pub(crate) fn tag(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..12]))
}
