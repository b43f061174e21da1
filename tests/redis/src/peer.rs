use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How long a peer waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which a test sends commands as they were recorded, and reads what the server says. Blocks.
#[derive(Debug)]
pub struct Peer(BufReader<TcpStream>);

/// The reply of a server (RESP 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, `$…`: text.
    Text(String),
    /// `-ERR …`
    Error(String),
    /// `:1`
    Number(i64),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Reply>),
}

impl Reply {
    /// The text; empty of what is not one.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The items; none of what is not a list.
    #[must_use]
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

impl Peer {
    /// Connects to the server on this port.
    ///
    /// # Panics
    /// When that fails, as all methods.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    /// Sends a command; its reply.
    pub fn say(&mut self, command: &[&str]) -> Reply {
        self.send(command);
        self.read()
    }

    /// Sends a command, and reads no reply.
    pub fn send(&mut self, command: &[&str]) {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            bytes.extend(format!("${}\r\n", word.len()).bytes());
            bytes.extend(word.bytes());
            bytes.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes).expect("sent");
    }

    /// The next message of a subscription: its channel and its payload. Confirmations are skipped.
    pub fn message(&mut self) -> (String, String) {
        loop {
            let reply = self.read();
            match reply.list() {
                [kind, channel, payload] if kind.text() == "message" => {
                    return (channel.text().to_owned(), payload.text().to_owned());
                }
                [kind, _, channel, payload] if kind.text() == "pmessage" => {
                    return (channel.text().to_owned(), payload.text().to_owned());
                }
                _ => {}
            }
        }
    }

    /// Reads one reply.
    pub fn read(&mut self) -> Reply {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(rest.parse().expect("a number")),
            "$" => self.bulk(rest.parse().expect("a length")),
            "*" => {
                let length: i64 = rest.parse().expect("a length");
                if length < 0 {
                    Reply::Nil
                } else {
                    Reply::List((0..length).map(|_| self.read()).collect())
                }
            }
            _ => panic!("not RESP: {line}"),
        }
    }

    fn bulk(&mut self, length: i64) -> Reply {
        let Ok(length) = usize::try_from(length) else { return Reply::Nil };
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).expect("a text");
        bytes.truncate(length);
        Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a line");
        assert_ne!(read, 0, "the server closed the connection");
        line.truncate(line.trim_end().len());
        line
    }
}
