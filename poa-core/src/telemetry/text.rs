//! Texts of metrics: put together by family, without the lines that a scraper would not understand.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::END;

/// The families of one or several texts, in the order in which they came first.
///
/// OpenMetrics wants the lines of a family in one place, its metadata once and first.
#[derive(Debug, Default)]
pub(super) struct Families {
    families: Vec<Family>,
    places: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Family {
    /// `# TYPE …`, `# HELP …`, `# UNIT …`: the first of each kind.
    metadata: Vec<String>,
    samples: Vec<String>,
}

impl Families {
    /// Adds the lines of a text.
    pub(super) fn add(&mut self, text: &str) {
        let mut current: Option<&str> = None;
        for line in text.lines().filter(|line| *line != END.trim() && is_sound(line)) {
            match line.strip_prefix("# ") {
                Some(comment) => {
                    let mut words = comment.split(' ');
                    let (kind, name) = (words.next().unwrap_or_default(), words.next());
                    current = name;
                    self.family(name.unwrap_or_default()).describe(kind, line);
                }
                None => {
                    let name = word(line).map_or("", |(name, _)| name);
                    // A sample has the name of its family, with a suffix such as `_total` or `_bucket`.
                    let family = current.filter(|family| name.starts_with(family)).unwrap_or(name);
                    self.family(family).samples.push(line.to_owned());
                }
            }
        }
    }

    fn family(&mut self, name: &str) -> &mut Family {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => {
                self.families.push(Family::default());
                self.places.insert(name.to_owned(), self.families.len() - 1);
                self.families.len() - 1
            }
        };
        &mut self.families[place]
    }

    /// One text, which ends as OpenMetrics does.
    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for family in self.families {
            for line in family.metadata.iter().chain(&family.samples) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{line}");
            }
        }
        text + END
    }
}

impl Family {
    fn describe(&mut self, kind: &str, line: &str) {
        let known = |line: &String| line.split(' ').nth(1) == Some(kind);
        if !self.metadata.iter().any(known) {
            self.metadata.push(line.to_owned());
        }
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
        assert_eq!(merged(&[good]), format!("{good}{END}"));
        for line in bad {
            assert_eq!(merged(&[good, line]), format!("{good}{END}"), "{line:?}");
        }
    }

    fn merged(texts: &[&str]) -> String {
        let mut families = Families::default();
        texts.iter().for_each(|text| families.add(text));
        families.into_text()
    }

    #[test]
    fn a_family_is_in_one_place() {
        let one =
            "# HELP a Some\n# TYPE a counter\na_total{host=\"x\"} 1\n# TYPE b gauge\nb 1\n# EOF\n";
        let two = "# HELP a Some\n# TYPE a counter\na_total{host=\"y\"} 2\nbare 3\n# EOF\n";
        let both = "# HELP a Some\n# TYPE a counter\na_total{host=\"x\"} 1\na_total{host=\"y\"} 2\n\
            # TYPE b gauge\nb 1\nbare 3\n# EOF\n";
        assert_eq!(merged(&[one, two]), both);
    }
}
