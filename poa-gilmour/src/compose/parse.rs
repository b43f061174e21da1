//! From JSON to a composition that can be evaluated.

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use super::{Action, Step};
use crate::{Data, InvalidTopic, Object, Shape, Topic};

/// How large a composition may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// How deep operators may stand within each other.
    pub depth: usize,
    /// How many steps there may be in all, operators included.
    pub steps: usize,
    /// The longest time a request may be given.
    pub timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { depth: 32, steps: 256, timeout: Duration::from_secs(86_400) }
    }
}

impl Bounds {
    /// The same with these.
    #[must_use]
    pub fn size(self, depth: usize, steps: usize) -> Self {
        Self { depth, steps, ..self }
    }
}

/// Why a text is not a composition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct InvalidComposition {
    place: Place,
    problem: Problem,
}

impl InvalidComposition {
    /// The place, as a JSON pointer (RFC 6901): `/pipe/0/requests`. Empty for the whole.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.place.0
    }

    /// The same within a document that has the composition at this pointer.
    #[must_use]
    pub fn under(mut self, pointer: &str) -> Self {
        self.place.0.insert_str(0, pointer);
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("the composition") } else { write!(f, "`{}`", self.0) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("not well-formed JSON: {0}")]
    Json(String),
    #[error("must be an object with one operator, this is {0}")]
    NotAStep(Shape),
    #[error(
        "is not known; a step has one of requests, lambda, pipe, andand, oror, batch, parallel"
    )]
    UnknownKey,
    #[error("has no operator; write one of requests, lambda, pipe, andand, oror, batch, parallel")]
    NoOperator,
    #[error("is a second operator; a step has exactly one")]
    TwoOperators,
    #[error("must be a list of steps, this is {0}")]
    NotAList(Shape),
    #[error("has no steps; an operator needs at least one")]
    Empty,
    #[error("must be an object of exactly one topic, this has {0}")]
    Topics(usize),
    #[error("must be an object of one topic, this is {0}")]
    NotTopics(Shape),
    #[error(transparent)]
    Topic(InvalidTopic),
    #[error("must be the path of a handler on the node, this is {0}")]
    NotAPath(Shape),
    #[error("must be true or false, and stand beside `batch`")]
    Record,
    #[error("must be a whole number of seconds from 0 to {0}, and stand beside `requests`")]
    Timeout(u64),
    #[error("stands deeper than the limit of {0}")]
    TooDeep(usize),
    #[error("there are more than {0} steps")]
    TooManySteps(usize),
}

pub(super) fn parse(json: &str, bounds: Bounds) -> Result<Step, InvalidComposition> {
    let mut reader = Reader { bounds, steps: 0, pointer: String::new() };
    match serde_json::from_str::<&RawValue>(json) {
        Ok(value) => reader.step(value, 0),
        Err(error) => Err(reader.problem(Problem::Json(error.to_string()))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Requests,
    Lambda,
    Pipe,
    AndAnd,
    OrOr,
    Batch,
    Parallel,
}

impl Operator {
    /// Of a key. Digits behind it are ignored: the Ruby client writes them.
    fn of(key: &str) -> Option<Self> {
        Some(match key.trim_end_matches(|last: char| last.is_ascii_digit()) {
            "requests" => Self::Requests,
            "lambda" => Self::Lambda,
            "pipe" => Self::Pipe,
            "andand" => Self::AndAnd,
            "oror" => Self::OrOr,
            "batch" => Self::Batch,
            "parallel" => Self::Parallel,
            _ => return None,
        })
    }
}

struct Reader {
    bounds: Bounds,
    steps: usize,
    pointer: String,
}

type Parsed<T> = Result<T, InvalidComposition>;

/// The members of a step.
#[derive(Default)]
struct Parts<'a> {
    operator: Option<(&'a str, Operator, &'a RawValue)>,
    record: Option<&'a RawValue>,
    timeout: Option<&'a RawValue>,
}

impl Reader {
    fn problem(&self, problem: Problem) -> InvalidComposition {
        InvalidComposition { place: Place(self.pointer.clone()), problem }
    }

    /// Reads what stands below this key.
    fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let result = read(self);
        self.pointer.truncate(length);
        result
    }

    fn step(&mut self, value: &RawValue, depth: usize) -> Parsed<Step> {
        let number = self.steps;
        self.steps += 1;
        if self.steps > self.bounds.steps {
            return Err(self.problem(Problem::TooManySteps(self.bounds.steps)));
        }
        if depth > self.bounds.depth {
            return Err(self.problem(Problem::TooDeep(self.bounds.depth)));
        }
        let Ok(members) = serde_json::from_str::<Members<'_>>(value.get()) else {
            return Err(self.problem(Problem::NotAStep(shape(value))));
        };
        let parts = self.parts(&members)?;
        let Some((key, operator, value)) = parts.operator else {
            return Err(self.problem(Problem::NoOperator));
        };
        let record = self.record(parts.record, operator)?;
        let timeout = self.timeout(parts.timeout, operator)?;
        let action = self.within(key, |reader| match operator {
            Operator::Requests => reader.request(value, timeout),
            Operator::Lambda => reader.lambda(value),
            Operator::Pipe => reader.list(value, depth).map(Action::Pipe),
            Operator::AndAnd => reader.list(value, depth).map(Action::AndAnd),
            Operator::OrOr => reader.list(value, depth).map(Action::OrOr),
            Operator::Batch => {
                reader.list(value, depth).map(|steps| Action::Batch { steps, record })
            }
            Operator::Parallel => reader.list(value, depth).map(Action::Parallel),
        })?;
        Ok(Step { number, action })
    }

    fn parts<'a>(&mut self, members: &'a Members<'a>) -> Parsed<Parts<'a>> {
        let mut parts = Parts::default();
        for (key, value) in &members.0 {
            match (&**key, Operator::of(key)) {
                (_, Some(_)) if parts.operator.is_some() => {
                    return self.within(key, |reader| Err(reader.problem(Problem::TwoOperators)));
                }
                (_, Some(operator)) => parts.operator = Some((key, operator, value)),
                ("record", None) => parts.record = Some(value),
                ("timeout", None) => parts.timeout = Some(value),
                (_, None) => {
                    return self.within(key, |reader| Err(reader.problem(Problem::UnknownKey)));
                }
            }
        }
        Ok(parts)
    }

    fn record(&mut self, value: Option<&RawValue>, operator: Operator) -> Parsed<bool> {
        let Some(value) = value else { return Ok(false) };
        match serde_json::from_str(value.get()) {
            Ok(record) if operator == Operator::Batch => Ok(record),
            _ => self.within("record", |reader| Err(reader.problem(Problem::Record))),
        }
    }

    /// 0 is the same as none.
    fn timeout(
        &mut self,
        value: Option<&RawValue>,
        operator: Operator,
    ) -> Parsed<Option<Duration>> {
        let Some(value) = value else { return Ok(None) };
        let most = self.bounds.timeout.as_secs();
        match serde_json::from_str::<u64>(value.get()) {
            Ok(seconds) if operator == Operator::Requests && seconds <= most => {
                Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
            }
            _ => self.within("timeout", |reader| Err(reader.problem(Problem::Timeout(most)))),
        }
    }

    fn request(&mut self, value: &RawValue, timeout: Option<Duration>) -> Parsed<Action> {
        let Ok(Members(topics)) = serde_json::from_str::<Members<'_>>(value.get()) else {
            return Err(self.problem(Problem::NotTopics(shape(value))));
        };
        let [(topic, merge)] = &topics[..] else {
            return Err(self.problem(Problem::Topics(topics.len())));
        };
        let merge: Option<Object> = serde_json::from_str(merge.get()).ok();
        self.within(topic, |reader| {
            let topic = Topic::new(topic).map_err(|why| reader.problem(Problem::Topic(why)))?;
            Ok(Action::Request { topic, merge, timeout })
        })
    }

    fn lambda(&mut self, value: &RawValue) -> Parsed<Action> {
        match serde_json::from_str::<String>(value.get()) {
            Ok(path) if !path.is_empty() => Ok(Action::Lambda(path)),
            _ => Err(self.problem(Problem::NotAPath(shape(value)))),
        }
    }

    fn list(&mut self, value: &RawValue, depth: usize) -> Parsed<Vec<Step>> {
        let Ok(steps) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
            return Err(self.problem(Problem::NotAList(shape(value))));
        };
        if steps.is_empty() {
            return Err(self.problem(Problem::Empty));
        }
        let numbered = steps.into_iter().enumerate();
        numbered
            .map(|(index, step)| {
                self.within(&index.to_string(), |reader| reader.step(step, depth + 1))
            })
            .collect()
    }
}

fn shape(value: &RawValue) -> Shape {
    Data::from(value.to_owned()).shape()
}

/// The members of an object, those of the same key included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
