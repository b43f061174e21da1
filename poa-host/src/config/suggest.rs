//! "Did you mean …".

/// The best guess at what was meant, if one is close enough to suggest.
pub(crate) fn closest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance * 3 <= name.chars().count().max(3))
        .min()
        .map(|(_, name)| name)
}

/// ``; did you mean `x`?``, or the list of known names if no guess is close.
pub(crate) fn hint<'a>(
    written: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(name) = closest(written, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<_> = known.into_iter().collect();
    if names.is_empty() {
        format!("there are no {what}")
    } else {
        format!("{what}: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_close_names() {
        assert_eq!(closest("lisen", ["listen", "tls"]), Some("listen"));
        assert_eq!(
            closest("sytem_metrics", ["system_metrics", "ethereum_metrics"]),
            Some("system_metrics")
        );
        assert_eq!(closest("zzz", ["listen", "tls"]), None);
        assert_eq!(hint("zzz", "known keys", ["listen", "tls"]), "known keys: listen, tls");
    }
}
