//! One line of the StatsD protocol: `name:value|type|@rate|#tags`.

/// A line that was parsed. `name` includes the tags, which identify a series as well.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) sample: Sample,
}

/// The value of a line, by its type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    /// `c`: added to a counter, already divided by the sample rate.
    Count(f64),
    /// `g`: the new value of a gauge.
    Gauge(f64),
    /// `g` with a sign: a change of a gauge.
    GaugeChange(f64),
    /// `ms`, `h` or `d`: a measurement of a distribution.
    Timing(f64),
    /// `s`: a member of a set.
    Member(String),
}

/// The reason why a line is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("a line is `name:value|type`")]
    Shape,
    #[error("the value is not a finite number")]
    Value,
    #[error("the type is none of c, g, ms, h, d and s")]
    Type,
    #[error("the sample rate is not a number greater than 0 and at most 1")]
    Rate,
}

impl Line {
    /// Parses a line without its end.
    pub(crate) fn parse(line: &str) -> Result<Self, LineError> {
        let mut sections = line.split('|');
        let (name, value) =
            sections.next().and_then(|head| head.split_once(':')).ok_or(LineError::Shape)?;
        let kind = sections.next().ok_or(LineError::Shape)?;
        let (mut rate, mut tags) = (1.0, None);
        for section in sections {
            match section.split_at_checked(1) {
                Some(("@", text)) => rate = parse_rate(text)?,
                Some(("#", text)) => tags = Some(text),
                // Extensions of other dialects do not change the value.
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(LineError::Shape);
        }
        let name = tags.map_or_else(|| name.to_owned(), |tags| format!("{name}#{tags}"));
        Ok(Self { name, sample: sample(kind, value, rate)? })
    }
}

fn sample(kind: &str, value: &str, rate: f64) -> Result<Sample, LineError> {
    Ok(match kind {
        "c" => Sample::Count(number(value)? / rate),
        "g" if value.starts_with(['+', '-']) => Sample::GaugeChange(number(value)?),
        "g" => Sample::Gauge(number(value)?),
        "ms" | "h" | "d" => Sample::Timing(number(value)?),
        "s" => Sample::Member(value.to_owned()),
        _ => return Err(LineError::Type),
    })
}

fn number(text: &str) -> Result<f64, LineError> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(LineError::Value)
}

fn parse_rate(text: &str) -> Result<f64, LineError> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 1.0);
    rate.ok_or(LineError::Rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, sample: Sample) -> Result<Line, LineError> {
        Ok(Line { name: name.to_owned(), sample })
    }

    #[test]
    fn reads_every_type() {
        assert_eq!(Line::parse("hits:3|c"), line("hits", Sample::Count(3.0)));
        assert_eq!(Line::parse("hits:3|c|@0.1"), line("hits", Sample::Count(30.0)));
        assert_eq!(Line::parse("load:1.5|g"), line("load", Sample::Gauge(1.5)));
        assert_eq!(Line::parse("load:-2|g"), line("load", Sample::GaugeChange(-2.0)));
        assert_eq!(Line::parse("wait:320|ms|@0.5"), line("wait", Sample::Timing(320.0)));
        assert_eq!(Line::parse("users:ann|s"), line("users", Sample::Member("ann".into())));
    }

    #[test]
    fn tags_belong_to_the_name() {
        assert_eq!(
            Line::parse("hits:1|c|#route:home"),
            line("hits#route:home", Sample::Count(1.0))
        );
    }

    #[test]
    fn refuses_other_lines() {
        for text in ["", "hits", "hits:1", ":1|c"] {
            assert_eq!(Line::parse(text), Err(LineError::Shape), "{text}");
        }
        for text in ["hits:x|c", "hits:nan|g", "hits:inf|ms", "hits:|c"] {
            assert_eq!(Line::parse(text), Err(LineError::Value), "{text}");
        }
        assert_eq!(Line::parse("hits:1|x"), Err(LineError::Type));
        for text in ["hits:1|c|@0", "hits:1|c|@2", "hits:1|c|@"] {
            assert_eq!(Line::parse(text), Err(LineError::Rate), "{text}");
        }
    }
}
