//! The files of the page, compiled in.

use poa_page::Asset;

/// The path at which the page exchanges the secret for a cookie.
pub(crate) const SESSION: &str = "/session";
/// The path of an agent's recent figures.
pub(crate) const HISTORY: &str = "/history";

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal)*) => {
        [$(Asset::$kind($path, include_bytes!(concat!("../../", $file)))),*]
    };
}

/// The files of this page alone.
const OWN: [Asset; 15] = assets! {
    "/" html "page/index.html"
    "/style.css" css "page/style.css"
    "/main.js" script "page/main.js"
    "/agents.js" script "page/agents.js"
    "/chart.js" script "page/chart.js"
    "/columns.js" script "page/columns.js"
    "/detail.js" script "page/detail.js"
    "/format.js" script "page/format.js"
    "/rate.js" script "page/rate.js"
    "/samples.js" script "page/samples.js"
    "/session.js" script "page/session.js"
    "/summary.js" script "page/summary.js"
    "/table.js" script "page/table.js"
    "/uplot.js" script "vendor/uplot/uPlot.iife.min.js"
    "/uplot.css" css "vendor/uplot/uPlot.min.css"
};

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Asset> {
    OWN.into_iter().chain(poa_page::shared("/"))
}

/// Whether something other than the feed is at this path.
pub(crate) fn is_taken(path: &str) -> bool {
    path == SESSION || path == HISTORY || all().any(|asset| asset.path() == path)
}
