//! Metrics from other sources: removes lines that a scraper would not understand.

use super::END;

/// Appends metrics; repeated metadata of a metric is left out.
pub(super) fn append(text: &mut String, more: &str) {
    for line in more.lines().filter(|line| *line != END.trim() && is_sound(line)) {
        let about: Vec<_> = line.splitn(4, ' ').take(3).collect();
        if line.starts_with('#') && text.contains(&format!("{} ", about.join(" "))) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
}

/// Whether a line is in the format; a line that is not would make a scraper refuse the whole text.
fn is_sound(line: &str) -> bool {
    match line.strip_prefix("# ") {
        Some(comment) => is_comment(comment),
        None => is_sample(line),
    }
}

/// `TYPE name counter`, `HELP name …`, `UNIT name seconds`.
fn is_comment(comment: &str) -> bool {
    let mut words = comment.splitn(3, ' ');
    let (kind, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
    let known = match kind {
        Some("HELP") => true,
        Some("TYPE" | "UNIT") => word(rest).is_some_and(|(_, after)| after.is_empty()),
        _ => false,
    };
    known && name.and_then(word).is_some_and(|(_, after)| after.is_empty())
}

/// `name{label="value"} 1.5 1700000000`.
fn is_sample(line: &str) -> bool {
    let Some((_, rest)) = word(line) else { return false };
    let numbers = match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => Some(rest),
    };
    let Some(numbers) = numbers.and_then(|rest| rest.strip_prefix(' ')) else { return false };
    let numbers: Vec<_> = numbers.split(' ').collect();
    numbers.len() <= 2 && numbers.iter().all(|number| number.parse::<f64>().is_ok())
}

/// The rest of a line after the opening brace of the labels.
fn labels(mut rest: &str) -> Option<&str> {
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let (_, value) = word(rest)?;
        let value = value.strip_prefix("=\"")?;
        rest = &value[closing(value)? + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix('}'),
        }
    }
}

/// The position at which a quoted text ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// A name, and the text that follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !inside(c)).unwrap_or(text.len());
    let begins = text.starts_with(|c: char| inside(c) && !c.is_ascii_digit());
    begins.then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_no_scraper_understands_are_left_out() {
        let good = "# HELP a Some text, \"quoted\".\n# TYPE a counter\n# UNIT a seconds\na_total 1\na 1.5 1700000000\na{} +Inf\n\
            a{b=\"c\",d=\"\\\"}\\\\\"} NaN\na{b=\"c\",} -1e9\n";
        let bad = [
            "",
            "a",
            "a ",
            "a b",
            "a  1",
            "9a 1",
            "a-b 1",
            "a 1 2 3",
            "a{ 1",
            "a{b} 1",
            "a{b=c} 1",
            "a{b=\"c} 1",
            "a{b=\"c\"}1",
            "a{b=\"c\" d=\"e\"} 1",
            "a 1 # {} 1",
            "# TYPE a",
            "# TYPE a b c",
            "# TYPE 9 counter",
            "# nothing",
            "#",
            "<html>",
        ];
        let mut text = String::new();
        append(&mut text, good);
        assert_eq!(text, good);
        for line in bad {
            append(&mut text, line);
            assert_eq!(text, good, "{line:?}");
        }
    }
}
