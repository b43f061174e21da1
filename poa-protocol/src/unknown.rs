use std::fmt::Write as _;

/// How much of an unknown word is repeated to the client, in characters.
const ECHO_CHARS: usize = 48;

/// Reports that `found` is not a known `what`, lists the known ones, and suggests the nearest.
pub(crate) fn describe<'k>(
    what: &str,
    found: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let cut: String = found.chars().take(ECHO_CHARS).collect();
    let dots = if cut.len() < found.len() { "…" } else { "" };
    let mut message =
        format!("unknown {what} `{}{dots}`; known: {}", cut.escape_debug(), known.join(", "));
    if let Some(nearest) = nearest(&cut, &known) {
        let _ = write!(message, "; did you mean `{nearest}`?");
    }
    message
}

/// The known word within a third of its own length in edits, letter case aside.
fn nearest<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let found = found.to_lowercase();
    known
        .iter()
        .map(|word| (strsim::osa_distance(&found, &word.to_lowercase()), *word))
        .filter(|(distance, word)| distance * 3 <= word.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
