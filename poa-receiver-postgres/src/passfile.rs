//! Passwords in a file of lines `host:port:database:user:password`, as PostgreSQL programs read it.

use std::path::Path;

use tokio_postgres::config::Host;

/// The password for this connection; `None` if the file has no matching line, or cannot be read. The server reports the missing password
/// then.
pub(crate) fn find(path: &Path, driver: &tokio_postgres::Config) -> Option<String> {
    let text = std::fs::read_to_string(path)
        .inspect_err(|error| tracing::warn!("cannot read the passfile {}: {error}", path.display()))
        .ok()?;
    let user = driver.get_user().unwrap_or_default();
    let port = driver.get_ports().first().copied().unwrap_or(5432).to_string();
    let host = match driver.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        _ => "localhost",
    };
    let wanted = [host, &port, driver.get_dbname().unwrap_or(user), user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let (password, place) = fields.split_last()?;
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == *wanted;
        (place.len() == wanted.len() && place.iter().zip(&wanted).all(fits))
            .then(|| password.clone())
    })
}

/// The fields of a line: the first four, and the rest as the password. A backslash escapes the next character.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        let sign = match sign {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => signs.next(),
            sign => Some(sign),
        };
        if let Some(last) = fields.last_mut() {
            last.extend(sign);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        let text = "# a comment\nother:5432:d:u:no\ndb:5433:*:u:no\ndb:5432:d:u:s3cr\\:et\\\\:x\n*:*:*:*:any\nshort:line\n";
        std::fs::write(&path, text).unwrap();
        let password = |url: &str| find(&path, &url.parse().unwrap());
        assert_eq!(password("postgres://u@db/d").as_deref(), Some("s3cr:et\\:x"));
        assert_eq!(password("postgres://u@db/e").as_deref(), Some("any"));
        assert_eq!(find(&dir.path().join("none"), &"postgres://u@db".parse().unwrap()), None);
    }
}
