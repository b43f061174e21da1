//! Files that are compiled in.

use std::borrow::Cow;

/// A file of a page.
#[derive(Clone, Debug)]
pub struct Asset {
    path: Cow<'static, str>,
    content_type: &'static str,
    content: &'static [u8],
}

impl Asset {
    /// A document.
    #[must_use]
    pub const fn html(path: &'static str, content: &'static [u8]) -> Self {
        Self::new(path, "text/html; charset=utf-8", content)
    }

    /// A style sheet.
    #[must_use]
    pub const fn css(path: &'static str, content: &'static [u8]) -> Self {
        Self::new(path, "text/css; charset=utf-8", content)
    }

    /// A script.
    #[must_use]
    pub const fn script(path: &'static str, content: &'static [u8]) -> Self {
        Self::new(path, "text/javascript; charset=utf-8", content)
    }

    /// A drawing.
    #[must_use]
    pub const fn svg(path: &'static str, content: &'static [u8]) -> Self {
        Self::new(path, "image/svg+xml", content)
    }

    const fn new(path: &'static str, content_type: &'static str, content: &'static [u8]) -> Self {
        Self { path: Cow::Borrowed(path), content_type, content }
    }

    /// The path at which it is served.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn into_parts(self) -> (Cow<'static, str>, &'static str, &'static [u8]) {
        (self.path, self.content_type, self.content)
    }
}

/// The files that every page has, in this directory: `base.css`, `feed.js`, `sign-in.js` and `icon.svg`.
///
/// `directory` begins and ends with a slash.
#[must_use]
pub fn shared(directory: &str) -> [Asset; 4] {
    const SHARED: [Asset; 4] = [
        Asset::css("base.css", include_bytes!("../shared/base.css")),
        Asset::script("feed.js", include_bytes!("../shared/feed.js")),
        Asset::script("sign-in.js", include_bytes!("../shared/sign-in.js")),
        Asset::svg("icon.svg", include_bytes!("../shared/icon.svg")),
    ];
    SHARED.map(|asset| Asset { path: Cow::Owned(directory.to_owned() + &asset.path), ..asset })
}
