use std::fmt;

/// A problem in a configuration: its place, the fault, and the cure.
///
/// ```
/// use poa_core::config::Problem;
///
/// // `Plugin::validate` names the key within its section; the host adds the path of the section, and finds the line.
/// let problem = Problem::new("tls.cert", "is set without `key`; set both");
/// let problem = problem.under("rest").under("handlers");
/// assert_eq!(problem.to_string(), "handlers.rest.tls.cert: is set without `key`; set both");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The keys that lead to the value, from the outside in; the index of an array element is its number.
    pub path: Vec<String>,
    /// The fault and its cure.
    pub message: String,
}

impl Problem {
    /// A problem with the value at `path`, a sequence of keys separated by dots; empty for the whole section.
    #[must_use]
    pub fn new(path: &str, message: impl Into<String>) -> Self {
        let path = path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        Self { path, message: message.into() }
    }

    /// The same problem, seen from the table that holds `key`.
    #[must_use]
    pub fn under(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path.join("."), self.message)
        }
    }
}
