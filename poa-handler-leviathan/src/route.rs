//! Paths and the resources they name.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::page;

/// The resource or action that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Action(Network, Action),
    Cen(String),
    Cin(String),
    Cens,
    Cins,
    Container {
        host: String,
        container: String,
    },
    Member {
        host: String,
        container: String,
        cen: String,
    },
    Cpool,
    Switch,
    Monitor,
    /// A file of the page.
    Page,
}

/// The kind of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Cen,
    Cin,
}

/// The actions on networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Import,
    Make,
    Destroy,
}

impl Route {
    /// Reads a path, percent-decoded; a trailing slash makes no difference. `None` for an unknown path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if page::is_page(path) {
            return Some(Self::Page);
        }
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match *segments {
            ["cens"] => Self::Cens,
            ["cins"] => Self::Cins,
            ["cpool"] => Self::Cpool,
            ["switch"] => Self::Switch,
            ["leviathan", "monitor"] => Self::Monitor,
            ["cen", id] => Self::network(Network::Cen, id),
            ["cin", id] => Self::network(Network::Cin, id),
            ["host", host, container] => {
                Self::Container { host: host.to_owned(), container: container.to_owned() }
            }
            ["host", host, container, cen] => Self::Member {
                host: host.to_owned(),
                container: container.to_owned(),
                cen: cen.to_owned(),
            },
            _ => return None,
        })
    }

    /// Literal actions come first: they cannot be ids.
    fn network(network: Network, id: &str) -> Self {
        match (network, id) {
            (_, "import") => Self::Action(network, Action::Import),
            (_, "make") => Self::Action(network, Action::Make),
            (_, "destroy") => Self::Action(network, Action::Destroy),
            (Network::Cen, id) => Self::Cen(id.to_owned()),
            (Network::Cin, id) => Self::Cin(id.to_owned()),
        }
    }

    /// The value of the header `Allow`. HEAD works wherever GET does.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Self::Action(..) | Self::Cpool | Self::Switch => "POST, OPTIONS",
            Self::Cens | Self::Cins | Self::Monitor | Self::Page => "GET, OPTIONS",
            Self::Cin(_) => "GET, DELETE, OPTIONS",
            Self::Cen(_) | Self::Container { .. } => "GET, PUT, DELETE, OPTIONS",
            Self::Member { .. } => "PUT, DELETE, OPTIONS",
        }
    }

    pub(crate) fn allows(&self, method: &Method) -> bool {
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.allow().split(", ").any(|allowed| allowed == method)
    }

    /// Whether answers are JSON documents, for which `Accept` counts.
    pub(crate) fn is_resource(&self) -> bool {
        use Route::{Action, Cpool, Monitor, Page, Switch};
        !matches!(self, Action(..) | Cpool | Switch | Monitor | Page)
    }
}

fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_things() {
        assert_eq!(Route::of("/cen/import"), Some(Route::Action(Network::Cen, Action::Import)));
        assert_eq!(Route::of("/cen/cen1/"), Some(Route::Cen("cen1".to_owned())));
        assert_eq!(Route::of("/cpool/"), Some(Route::Cpool));
        let slash = Route::of("/host/host1/a%2Fb/cen1");
        assert!(matches!(slash, Some(Route::Member { container, .. }) if container == "a/b"));
        for page in ["/leviathan", "/leviathan/", "/leviathan/feed.js"] {
            assert_eq!(Route::of(page), Some(Route::Page), "{page}");
        }
        for nothing in [
            "/cen/",
            "/cen",
            "/",
            "",
            "cen/x",
            "/cen/%ff",
            "/host/h",
            "/host/h/c/n/x",
            "/cen//x",
            "/leviathan/x",
        ] {
            assert_eq!(Route::of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn methods_follow_the_table() {
        let cen = Route::of("/cen/x").unwrap();
        assert!(
            cen.allows(&Method::HEAD) && cen.allows(&Method::PUT) && !cen.allows(&Method::POST)
        );
        assert!(!Route::Cpool.allows(&Method::GET));
    }
}
