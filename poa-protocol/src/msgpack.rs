//! MessagePack, checked in one pass without recursion.

use std::borrow::Cow;

use crate::scan::{Kind, Node, Scan, Shape};
use crate::{Format, Limits, Malformed, Problem, Reference};

/// A position in a MessagePack body; everything before it has been checked.
#[derive(Debug)]
pub(crate) struct MessagePack<'b> {
    body: &'b [u8],
    at: usize,
    depth: u8,
    max_depth: u8,
}

/// The head of a value. `children` counts the values that follow inside it, names included.
#[derive(Debug, Clone, Copy)]
struct Token {
    kind: Kind,
    children: usize,
}

const fn malformed(offset: usize, problem: Problem) -> Malformed {
    Malformed { format: Format::MessagePack, offset, problem }
}

impl<'b> MessagePack<'b> {
    pub(crate) const fn new(body: &'b [u8], limits: &Limits) -> Self {
        Self { body, at: 0, depth: 0, max_depth: limits.max_depth }
    }

    #[inline]
    fn skip(&mut self, length: usize, problem: Problem) -> Result<&'b [u8], Malformed> {
        match self.body[self.at..].split_at_checked(length) {
            Some((bytes, _)) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(malformed(self.at, problem)),
        }
    }

    /// Reads a length field of 1, 2 or 4 bytes.
    fn length(&mut self, width: usize) -> Result<usize, Malformed> {
        let field = self.skip(width, Problem::UnexpectedEnd)?;
        let length = field.iter().fold(0, |length, &byte| length << 8 | u64::from(byte));
        usize::try_from(length).map_err(|_| malformed(self.at, Problem::Length))
    }

    fn number(&mut self, width: usize) -> Result<Token, Malformed> {
        self.skip(width, Problem::UnexpectedEnd)?;
        Ok(Token::leaf(Kind::Number))
    }

    fn text(&mut self, length: usize) -> Result<Token, Malformed> {
        let start = self.at;
        let bytes = self.skip(length, Problem::Length)?;
        if bytes.is_ascii() {
            return Ok(Token::leaf(Kind::Text));
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Token::leaf(Kind::Text)),
            Err(error) => Err(malformed(start + error.valid_up_to(), Problem::Utf8)),
        }
    }

    fn opaque(&mut self, kind: Kind, length: usize) -> Result<Token, Malformed> {
        self.skip(length, Problem::Length)?;
        Ok(Token::leaf(kind))
    }

    /// An ext has one byte of type besides its data.
    fn extension(&mut self, length: usize) -> Result<Token, Malformed> {
        self.skip(1, Problem::UnexpectedEnd)?;
        self.opaque(Kind::Extension, length)
    }

    /// A value takes at least one byte, so a length that cannot fit is refused before anything is
    /// read.
    fn container(&self, kind: Kind, length: usize) -> Result<Token, Malformed> {
        let width = if kind == Kind::Object { 2 } else { 1 };
        length
            .checked_mul(width)
            .filter(|&children| children <= self.body.len() - self.at)
            .map(|children| Token { kind, children })
            .ok_or(malformed(self.at, Problem::Length))
    }

    /// Skips a scalar, or the head of a container.
    #[inline]
    fn token(&mut self) -> Result<Token, Malformed> {
        let marker = self.skip(1, Problem::UnexpectedEnd)?[0];
        match marker {
            0x00..=0x7f | 0xe0..=0xff => Ok(Token::leaf(Kind::Number)),
            0x80..=0x8f => self.container(Kind::Object, usize::from(marker & 0x0f)),
            0x90..=0x9f => self.container(Kind::Array, usize::from(marker & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f)),
            0xc0 => Ok(Token::leaf(Kind::Null)),
            0xc1 => Err(malformed(self.at - 1, Problem::ReservedMarker)),
            0xc2 | 0xc3 => Ok(Token::leaf(Kind::Bool(marker == 0xc3))),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                self.opaque(Kind::Binary, length)
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (marker - 0xc7))?;
                self.extension(length)
            }
            0xca | 0xcb => self.number(4 << (marker - 0xca)),
            0xcc..=0xcf => self.number(1 << (marker - 0xcc)),
            0xd0..=0xd3 => self.number(1 << (marker - 0xd0)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4)),
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                self.text(length)
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                self.container(Kind::Array, length)
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                self.container(Kind::Object, length)
            }
        }
    }

    fn descend(&mut self) -> Result<(), Malformed> {
        if self.depth == self.max_depth {
            return Err(malformed(self.at, Problem::TooDeep(self.max_depth)));
        }
        self.depth += 1;
        Ok(())
    }

    /// Skips the values inside a container whose head has been read.
    fn contents(&mut self, children: usize) -> Result<(), Malformed> {
        self.descend()?;
        let mut outer = Outer::default();
        let mut left = children;
        loop {
            if left > 0 {
                left -= 1;
                let token = self.token()?;
                if token.kind.is_container() {
                    self.descend()?;
                    outer.push(left);
                    left = token.children;
                }
                continue;
            }
            self.depth -= 1;
            match outer.pop() {
                Some(remaining) => left = remaining,
                None => return Ok(()),
            }
        }
    }

    /// Skips the head of a container that [`Scan::shape`] announced.
    fn open(&mut self) -> Result<usize, Malformed> {
        let token = self.token()?;
        self.descend()?;
        Ok(token.children)
    }

    /// The bytes of a str or a bin without its head.
    fn content(&self, node: Node) -> &'b [u8] {
        let head = match self.body[node.start] {
            0xc4 | 0xd9 => 2,
            0xc5 | 0xda => 3,
            0xc6 | 0xdb => 5,
            _ => 1,
        };
        &self.body[node.start + head..node.end]
    }
}

impl Token {
    const fn leaf(kind: Kind) -> Self {
        Self { kind, children: 0 }
    }
}

impl<'b> Scan<'b> for MessagePack<'b> {
    fn shape(&mut self) -> Option<Shape> {
        self.body.get(self.at).map(|marker| match marker {
            0x80..=0x8f | 0xde | 0xdf => Shape::Object,
            0x90..=0x9f | 0xdc | 0xdd => Shape::Array,
            _ => Shape::Other,
        })
    }

    fn object(&mut self, mut member: impl FnMut(&[u8], Node)) -> Result<(), Malformed> {
        let members = self.open()? / 2;
        for _ in 0..members {
            let name = self.value()?;
            let node = self.value()?;
            if matches!(name.kind, Kind::Text | Kind::Binary) {
                member(self.content(name), node);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array<E: From<Malformed>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..self.open()? {
            item(self)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Node, Malformed> {
        let start = self.at;
        let token = self.token()?;
        if token.kind.is_container() {
            self.contents(token.children)?;
        }
        Ok(Node { kind: token.kind, start, end: self.at })
    }

    fn finish(self) -> Result<(), Malformed> {
        if self.at == self.body.len() {
            return Ok(());
        }
        Err(malformed(self.at, Problem::TrailingBytes))
    }

    fn text(&self, node: Node) -> Option<Cow<'b, str>> {
        if !matches!(node.kind, Kind::Text | Kind::Binary) {
            return None;
        }
        let text = std::str::from_utf8(self.content(node)).ok()?;
        Some(Cow::Borrowed(text))
    }

    fn raw(&self, node: Node) -> &'b [u8] {
        &self.body[node.start..node.end]
    }

    fn reference(&self, node: Option<Node>) -> Reference<'b> {
        Reference::MessagePack(node.map(|node| Cow::Borrowed(self.raw(node))))
    }
}

/// The number of values that each enclosing container still expects; real messages never exceed the
/// array.
#[derive(Debug, Default)]
struct Outer {
    near: [usize; 8],
    far: Vec<usize>,
    length: usize,
}

impl Outer {
    fn push(&mut self, left: usize) {
        match self.near.get_mut(self.length) {
            Some(slot) => *slot = left,
            None => self.far.push(left),
        }
        self.length += 1;
    }

    fn pop(&mut self) -> Option<usize> {
        self.length = self.length.checked_sub(1)?;
        self.far.pop().or_else(|| self.near.get(self.length).copied())
    }
}
