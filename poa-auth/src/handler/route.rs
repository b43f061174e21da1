use http::Method;
use poa_protocol::Refusal;

/// One row of the table in protocol section 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// For users.
    Session,
    /// For admins.
    Admin(Task),
}

/// The requests that only admins may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    AddUser,
    ListUsers,
    /// `None` stands for a name that cannot exist because it is not UTF-8.
    DeleteUser(Option<String>),
    ChangeUser(Option<String>),
    BanUser,
    BanToken,
    /// Of one user, or of all.
    ListTokens(Option<Option<String>>),
    /// All tokens of a user.
    RevokeTokens(Option<String>),
    RevokeToken(String),
}

impl Task {
    /// Whether it changes nothing.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self, Self::ListUsers | Self::ListTokens(_))
    }
}

impl Route {
    /// The route of a request, or 404, or 405.
    pub(super) fn find(method: &Method, path: &str) -> Result<Self, Refusal> {
        let not_allowed = |allow| Err(Refusal::MethodNotAllowed { allow });
        match (method, path) {
            (&Method::POST, "/session") => Ok(Self::Session),
            (&Method::POST, "/user") => Ok(Self::Admin(Task::AddUser)),
            (&Method::GET, "/user") => Ok(Self::Admin(Task::ListUsers)),
            (&Method::POST, "/blacklist/user") => Ok(Self::Admin(Task::BanUser)),
            (&Method::POST, "/blacklist/token") => Ok(Self::Admin(Task::BanToken)),
            (_, "/session" | "/blacklist/user" | "/blacklist/token") => not_allowed("POST"),
            (&Method::GET, "/token") => Ok(Self::Admin(Task::ListTokens(None))),
            (_, "/token") => not_allowed("GET"),
            (_, "/user") => not_allowed("GET, POST"),
            _ => Self::of_one(method, path, not_allowed),
        }
    }

    /// The task for a path that names one user or token.
    fn of_one(
        method: &Method,
        path: &str,
        not_allowed: impl Fn(&'static str) -> Result<Self, Refusal>,
    ) -> Result<Self, Refusal> {
        if let Some(id) = below("/token/", path) {
            return match *method {
                Method::DELETE => Ok(Self::Admin(Task::RevokeToken(id.to_owned()))),
                _ => not_allowed("DELETE"),
            };
        }
        let of = path.strip_suffix("/token").and_then(|path| below("/user/", path));
        if let Some(name) = of.map(percent_decode) {
            return match *method {
                Method::GET => Ok(Self::Admin(Task::ListTokens(Some(name)))),
                Method::DELETE => Ok(Self::Admin(Task::RevokeTokens(name))),
                _ => not_allowed("DELETE, GET"),
            };
        }
        match (method, below("/user/", path)) {
            (_, None) => Err(Refusal::NotFound { what: "path" }),
            (&Method::DELETE, Some(name)) => {
                Ok(Self::Admin(Task::DeleteUser(percent_decode(name))))
            }
            (&Method::PATCH, Some(name)) => Ok(Self::Admin(Task::ChangeUser(percent_decode(name)))),
            (_, Some(_)) => not_allowed("DELETE, PATCH"),
        }
    }
}

/// The `:name` of `/user/:name`, for example.
fn below<'p>(place: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(place).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// Decodes `%41`; a `%` without two hexadecimal digits stands for itself. `None` if the bytes are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, remaining) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', &rest[1..]),
            },
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = remaining;
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(method: &str, path: &str) -> Result<Route, u16> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Route::find(&method, path).map_err(|refusal| refusal.status())
    }

    #[test]
    fn every_row_of_the_table() {
        assert_eq!(found("POST", "/session"), Ok(Route::Session));
        assert_eq!(found("POST", "/user"), Ok(Route::Admin(Task::AddUser)));
        assert_eq!(found("GET", "/user"), Ok(Route::Admin(Task::ListUsers)));
        assert_eq!(
            found("DELETE", "/user/a"),
            Ok(Route::Admin(Task::DeleteUser(Some("a".to_owned()))))
        );
        assert_eq!(
            found("PATCH", "/user/a"),
            Ok(Route::Admin(Task::ChangeUser(Some("a".to_owned()))))
        );
        assert_eq!(found("POST", "/blacklist/user"), Ok(Route::Admin(Task::BanUser)));
        assert_eq!(found("POST", "/blacklist/token"), Ok(Route::Admin(Task::BanToken)));
        assert_eq!(found("GET", "/token"), Ok(Route::Admin(Task::ListTokens(None))));
        let alice = || Some("alice".to_owned());
        let of_alice = |method| found(method, "/user/alice/token");
        assert_eq!(of_alice("GET"), Ok(Route::Admin(Task::ListTokens(Some(alice())))));
        assert_eq!(of_alice("DELETE"), Ok(Route::Admin(Task::RevokeTokens(alice()))));
        let revoke = Task::RevokeToken("x-_".to_owned());
        assert_eq!(found("DELETE", "/token/x-_"), Ok(Route::Admin(revoke)));
    }

    #[test]
    fn other_paths_are_404_and_other_methods_405() {
        for path in [
            "/",
            "",
            "/nope",
            "/user/",
            "/user/a/b",
            "/user//token",
            "/token/",
            "/User",
            "/session/",
            "/blacklist",
            "*",
        ] {
            assert_eq!(found("POST", path), Err(404), "{path}");
        }
        for path in [
            "/session",
            "/user",
            "/blacklist/user",
            "/blacklist/token",
            "/user/a",
            "/token",
            "/token/a",
            "/user/a/token",
        ] {
            for method in ["PUT", "HEAD", "OPTIONS", "BREW"] {
                assert_eq!(found(method, path), Err(405), "{method} {path}");
            }
        }
    }

    #[test]
    fn names_are_percent_decoded() {
        let decoded = |name: &str| percent_decode(name);
        assert_eq!(decoded("jos%C3%a9").as_deref(), Some("josé"));
        assert_eq!(decoded("a%2Fb%20c+d").as_deref(), Some("a/b c+d"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(decoded("%+1").as_deref(), Some("%+1"));
        assert_eq!(decoded("%ff"), None);
    }

    proptest! {
        #[test]
        fn any_name_survives_encoding(name in ".{1,50}") {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(percent_decode(&encoded), Some(name));
        }
    }
}
