//! JSON according to RFC 8259, checked in one pass without recursion.

mod nesting;
mod number;
mod string;

use std::borrow::Cow;

use self::nesting::Nesting;
use crate::scan::{Kind, Node, Scan, Shape};
use crate::{Format, Limits, Malformed, Problem, Reference};

/// A position in a JSON text; everything before it has been checked.
#[derive(Debug)]
pub(crate) struct Json<'b> {
    text: &'b str,
    at: usize,
    depth: u8,
    max_depth: u8,
}

/// The position of a member's name, quotes included.
#[derive(Debug, Clone, Copy)]
struct Name {
    start: usize,
    end: usize,
    escaped: bool,
}

pub(crate) const fn malformed(offset: usize, problem: Problem) -> Malformed {
    Malformed { format: Format::Json, offset, problem }
}

/// U+FEFF in UTF-8. RFC 8259, section 8.1, lets a parser ignore one at the beginning.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether the text is empty.
pub(crate) fn is_empty(body: &[u8]) -> bool {
    body.is_empty() || body == BYTE_ORDER_MARK
}

impl<'b> Json<'b> {
    /// Checking UTF-8 for the whole body first is cheaper than string by string, and allows every string to
    /// be borrowed without a second check.
    pub(crate) fn new(body: &'b [u8], limits: &Limits) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body)
            .map_err(|error| malformed(error.valid_up_to(), Problem::Utf8))?;
        let at = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Ok(Self { text, at, depth: 0, max_depth: limits.max_depth })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn peek_past_blanks(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[cold]
    fn wrong(&self, problem: Problem) -> Malformed {
        let problem = match self.peek() {
            Some(_) => problem,
            None => Problem::UnexpectedEnd,
        };
        malformed(self.at, problem)
    }

    fn descend(&mut self) -> Result<(), Malformed> {
        if self.depth == self.max_depth {
            return Err(malformed(self.at, Problem::TooDeep(self.max_depth)));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Skips a closing bracket and returns whether it did, or the comma that is required before all items
    /// but the first.
    #[inline]
    fn closes(&mut self, in_object: bool, first: bool) -> Result<bool, Malformed> {
        let bracket = if in_object { b'}' } else { b']' };
        match self.peek_past_blanks() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(true)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(false)
            }
            _ if first => Ok(false),
            _ if in_object => Err(self.wrong(Problem::ExpectedCommaOrBrace)),
            _ => Err(self.wrong(Problem::ExpectedCommaOrBracket)),
        }
    }

    /// Skips a member's name and colon.
    #[inline]
    fn name(&mut self) -> Result<Name, Malformed> {
        if self.peek_past_blanks() != Some(b'"') {
            return Err(self.wrong(Problem::ExpectedName));
        }
        let start = self.at;
        let escaped = self.string()?;
        let end = self.at;
        if self.peek_past_blanks() != Some(b':') {
            return Err(self.wrong(Problem::ExpectedColon));
        }
        self.at += 1;
        Ok(Name { start, end, escaped })
    }

    /// Skips a string and returns whether it contains an escape.
    #[inline]
    fn string(&mut self) -> Result<bool, Malformed> {
        let (end, escaped) = string::scan(self.text.as_bytes(), self.at)?;
        self.at = end;
        Ok(escaped)
    }

    /// The text between the quotes at `start` and before `end`.
    fn inside(&self, start: usize, end: usize) -> &'b str {
        &self.text[start + 1..end - 1]
    }

    /// Skips a scalar, or the bracket that opens a container.
    #[inline]
    fn token(&mut self) -> Result<Kind, Malformed> {
        match self.peek_past_blanks() {
            Some(b'"') => self.string().map(|_| Kind::Text),
            Some(b'{') => self.descend().map(|()| Kind::Object),
            Some(b'[') => self.descend().map(|()| Kind::Array),
            Some(b'-' | b'0'..=b'9') => {
                self.at = number::scan(self.text.as_bytes(), self.at)?;
                Ok(Kind::Number)
            }
            Some(b't') => self.literal("true", Kind::Bool(true)),
            Some(b'f') => self.literal("false", Kind::Bool(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(self.wrong(Problem::ExpectedValue)),
        }
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind, Malformed> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(malformed(self.at, Problem::ExpectedValue));
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Skips the rest of a container whose opening bracket has been read.
    fn contents(&mut self, outermost: Kind) -> Result<(), Malformed> {
        let mut open = Nesting::new(outermost);
        let mut first = true;
        loop {
            let in_object = open.in_object();
            if self.closes(in_object, first)? {
                first = false;
                self.depth -= 1;
                if open.leave() {
                    return Ok(());
                }
                continue;
            }
            if in_object {
                self.name()?;
            }
            let kind = self.token()?;
            first = kind.is_container();
            if first {
                open.enter(kind);
            }
        }
    }
}

impl<'b> Scan<'b> for Json<'b> {
    fn shape(&mut self) -> Option<Shape> {
        self.peek_past_blanks().map(|byte| match byte {
            b'{' => Shape::Object,
            b'[' => Shape::Array,
            _ => Shape::Other,
        })
    }

    fn object(&mut self, mut member: impl FnMut(&[u8], Node)) -> Result<(), Malformed> {
        self.descend()?;
        let mut first = true;
        while !self.closes(true, first)? {
            first = false;
            let name = self.name()?;
            let node = self.value()?;
            let raw = self.inside(name.start, name.end);
            if name.escaped {
                member(string::unescape(raw).as_bytes(), node);
            } else {
                member(raw.as_bytes(), node);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array<E: From<Malformed>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.descend()?;
        let mut first = true;
        while !self.closes(false, first)? {
            first = false;
            item(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Node, Malformed> {
        self.peek_past_blanks();
        let start = self.at;
        let kind = self.token()?;
        if kind.is_container() {
            self.contents(kind)?;
        }
        Ok(Node { kind, start, end: self.at })
    }

    fn finish(mut self) -> Result<(), Malformed> {
        match self.peek_past_blanks() {
            None => Ok(()),
            Some(_) => Err(malformed(self.at, Problem::TrailingBytes)),
        }
    }

    fn text(&self, node: Node) -> Option<Cow<'b, str>> {
        let is_text = node.kind == Kind::Text;
        is_text.then(|| string::unescape(self.inside(node.start, node.end)))
    }

    fn raw(&self, node: Node) -> &'b [u8] {
        &self.text.as_bytes()[node.start..node.end]
    }

    fn reference(&self, node: Option<Node>) -> Reference<'b> {
        Reference::Json(node.map(|node| Cow::Borrowed(&self.text[node.start..node.end])))
    }
}
