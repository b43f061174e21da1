//! Finds passwords that would be parsed as another part of the URL.

/// Refuses a URL in which a reserved character turns a part of the password into a host, a port, a database or an option.
///
/// Whatever the mistake, the `@` before the host remains: so there must be exactly one, before the path and the options.
///
/// # Errors
/// The form to write instead, without any part of the URL.
pub(super) fn check(url: &str) -> Result<(), String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if rest.chars().any(char::is_control) {
        return Err(
            "this URL has a line break or another control character; if its password comes from a file, end that file without a line \
             break, or write `password` as a key of its own"
                .into(),
        );
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let signs = (rest[..end].matches('@').count(), rest[end..].matches('@').count());
    if signs.0 > 1 || signs.1 > 0 {
        return Err(
            "this URL has an `@` too many, or a `/` or `?` before it; in a user or a password write `@` as %40, `/` as %2F, `?` as %3F, \
             `:` as %3A and `%` as %25, or write `password` as a key of its own, which is used verbatim"
                .into(),
        );
    }
    let encoded =
        |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !rest.split('%').skip(1).all(encoded) {
        return Err(
            "this URL has a `%` that two hexadecimal digits do not follow; in a password write it as %25, or write `password` as a key of \
             its own, which is used verbatim"
                .into(),
        );
    }
    Ok(())
}
