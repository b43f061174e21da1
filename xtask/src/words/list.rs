//! The phrases that the text of this project does not use, each with its reason.
//!
//! They mark sentences that a fluent reader stumbles over. The usual words are in `docs/glossary.md`.

/// A phrase to avoid.
#[derive(Debug)]
pub(crate) struct Phrase {
    /// Its words, in lower case; any run of white space may stand between them.
    pub(crate) words: &'static [&'static str],
    /// Words that make it right when they come directly before.
    pub(crate) unless_before: &'static [&'static str],
    /// Words that make it right when they come directly after.
    pub(crate) unless_after: &'static [&'static str],
    /// The reason, and what to write instead.
    pub(crate) why: &'static str,
}

const fn phrase(words: &'static [&'static str], why: &'static str) -> Phrase {
    Phrase { words, unless_before: &[], unless_after: &[], why }
}

const NAME_THE_PARTY: &str =
    "hides who acts; name the party: an operator, no receiver, each client, the process that …";
const AGAIN: &str = "archaic; write `again`, or the verb itself: rebuilt, restarted, reconnected";
const EVICTED: &str =
    "a figure of speech for losing data; write `is skipped`, `is evicted` or `is removed`";
const LOCATED: &str = "translated; write `is in`, `is listed in` or `is documented in`";
const CONTINUES: &str = "vague; write `continues`, `keeps running` or the verb itself";
const GUARANTEES: &str = "a figure of speech; write what it `guarantees`";
const REPORTS: &str = "headless; write `reports`, `shows` or `lists`, and the noun";
const LOGS: &str = "vague; write `reports it` or `logs a warning`";
const BACKLOG: &str = "the glossary calls it the backlog";
const SKIPS: &str = "a figure of speech; write `skips` or `ignores`";
const NOT_A: &str = "translated negation; write `is not a …` or `is not a valid …`";
const IN_FLIGHT: &str = "the glossary calls it in flight";

/// Every phrase to avoid.
pub(crate) const PHRASES: &[Phrase] = &[
    phrase(&["nobody"], NAME_THE_PARTY),
    phrase(&["somebody"], NAME_THE_PARTY),
    phrase(&["anybody"], NAME_THE_PARTY),
    phrase(&["everybody"], NAME_THE_PARTY),
    phrase(&["whoever"], NAME_THE_PARTY),
    phrase(&["whomever"], NAME_THE_PARTY),
    phrase(&["anew"], AGAIN),
    phrase(&["once", "more"], AGAIN),
    phrase(&["for", "ever"], "write `indefinitely`, or `until …`"),
    phrase(&["gives", "way"], EVICTED),
    phrase(&["give", "way"], EVICTED),
    phrase(&["gave", "way"], EVICTED),
    phrase(&["giving", "way"], EVICTED),
    phrase(&["stands", "in"], LOCATED),
    phrase(&["stand", "in"], LOCATED),
    phrase(&["stood", "in"], LOCATED),
    phrase(&["stands", "there"], LOCATED),
    phrase(&["stands", "with"], LOCATED),
    phrase(&["stands", "beside"], LOCATED),
    phrase(&["stands", "alone"], "the glossary says `isolated`"),
    phrase(&["stand", "alone"], "the glossary says `isolated`"),
    phrase(&["goes", "on"], CONTINUES),
    phrase(&["go", "on"], CONTINUES),
    phrase(&["went", "on"], CONTINUES),
    phrase(&["is", "worth"], GUARANTEES),
    phrase(&["more", "than", "nothing"], "write `greater than zero`"),
    Phrase {
        words: &["is", "nothing"],
        unless_before: &["there"],
        unless_after: &[],
        why: "write `is empty` or `is zero`; for a judgement, `is normal`",
    },
    phrase(&["tells", "what"], REPORTS),
    phrase(&["tells", "who"], REPORTS),
    phrase(&["tells", "everything"], REPORTS),
    phrase(&["tells", "of"], REPORTS),
    phrase(&["says", "so"], LOGS),
    phrase(&["said", "so"], LOGS),
    phrase(&["what", "waits"], BACKLOG),
    phrase(&["who", "waits"], NAME_THE_PARTY),
    phrase(&["passes", "over"], SKIPS),
    phrase(&["pass", "over"], SKIPS),
    phrase(&["passed", "over"], SKIPS),
    phrase(&["in", "hand"], IN_FLIGHT),
    phrase(&["who", "may", "speak"], "write what is permitted: which users may send"),
    phrase(&["come", "round"], "translated idiom; write `arrive` or `propagate`"),
    phrase(&["comes", "round"], "translated idiom; write `arrives` or `propagates`"),
    phrase(&["fails", "for", "good"], "the glossary calls it a permanent error"),
    phrase(&["fails", "for", "now"], "the glossary calls it a transient error"),
    phrase(&["turn", "round"], "translated; write `reverse`"),
    Phrase {
        words: &["is", "no"],
        unless_before: &["there", "it", "that", "this"],
        unless_after: &["longer", "more", "greater", "less", "different", "worse", "better", "way"],
        why: NOT_A,
    },
];

/// Words that make a headless description when a doc comment starts with them.
pub(crate) const HEADLESS: &[&str] = &["what", "who", "whom", "whose", "which", "where"];

/// The reason against them.
pub(crate) const HEADLESS_WHY: &str =
    "a description starts with a noun or a verb: `The address …`, `Returns …`";
