//! Patterns of Redis: what `PSUBSCRIBE` matches channels with.

/// Whether `text` matches `pattern` as Redis would say it: `*` is any run of bytes, the empty one and dots included; `?` is one byte;
/// `[abc]`, `[a-c]` and `[^a]` are one byte of a set; a backslash takes the special meaning from what follows it.
///
/// Bytes, not characters: so does Redis. Takes time proportional to the product of both lengths at most.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // The place to continue from when the part after the last `*` does not match here: one byte later in the text.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, seen));
            continue;
        }
        if at == pattern.len() && seen == text.len() {
            return true;
        }
        if let Some(byte) = text.get(seen)
            && let Some(length) = step(&pattern[at..], *byte)
        {
            at += length;
            seen += 1;
            continue;
        }
        match retry {
            Some((after_star, from)) if from < text.len() => {
                retry = Some((after_star, from + 1));
                (at, seen) = (after_star, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern this byte uses up; nothing when it does not match.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let (length, found) = set(pattern, byte);
            found.then_some(length)
        }
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// The length of the set that the pattern begins with, and whether it has this byte. A set without an end reaches to the end.
fn set(pattern: &[u8], byte: u8) -> (usize, bool) {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at..] {
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [b']', ..] => return (at + 1, found != negated),
            [] => return (at, found != negated),
            [from, b'-', to, ..] => {
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
}

/// Whether there is a `*` that no backslash precedes: what makes a slot's topic a pattern.
#[must_use]
pub fn has_star(text: &str) -> bool {
    let mut escaped = false;
    text.bytes().any(|byte| {
        let star = byte == b'*' && !escaped;
        escaped = byte == b'\\' && !escaped;
        star
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The matcher of Redis, `stringmatchlen` of its `util.c`, written down as it reads.
    fn reference(pattern: &[u8], text: &[u8]) -> bool {
        let Some(first) = pattern.first() else { return text.is_empty() };
        match first {
            b'*' => {
                let rest = &pattern[1..];
                (0..=text.len()).any(|skipped| reference(rest, &text[skipped..]))
            }
            _ if text.is_empty() => false,
            b'?' => reference(&pattern[1..], &text[1..]),
            b'[' => {
                let (length, found) = set(pattern, text[0]);
                found && reference(&pattern[length..], &text[1..])
            }
            b'\\' if pattern.len() > 1 => {
                pattern[1] == text[0] && reference(&pattern[2..], &text[1..])
            }
            literal => *literal == text[0] && reference(&pattern[1..], &text[1..]),
        }
    }

    #[test]
    fn matches_as_redis_does() {
        // Each of these was asked of a redis-server 7.0 by PSUBSCRIBE and PUBLISH.
        for (pattern, text, matched) in [
            ("x.*", "x.a", true),
            ("x.*", "x.a.b", true),
            ("x.*", "x.", true),
            ("x.*", "x", false),
            ("x.*.z", "x.a.b.z", true),
            ("a?c[12]*", "abc1", true),
            ("a?c[12]*", "abc3", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a[bc", "ab", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("**a*", "xxa", true),
            (r"a\", r"a\", true),
        ] {
            assert_eq!(matches(pattern, text), matched, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "a*".repeat(128);
        assert!(!matches(&(pattern + "b"), &"a".repeat(256)));
    }

    #[test]
    fn only_a_star_makes_a_pattern() {
        assert!(has_star("x.*") && has_star("x.*.z") && has_star(r"\\*"));
        assert!(!has_star("a?c[12]") && !has_star(r"a\*b") && !has_star(""));
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(pattern in r"[ab*?\[\]^\\-]{0,8}", text in "[ab*^-]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), reference(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_text_matches_itself_escaped(text in "[ -~]{0,16}") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(&escaped, &text) && !has_star(&escaped));
        }
    }
}
