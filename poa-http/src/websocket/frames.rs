//! Frames over a socket, with memory for them only while there are any.

use tokio_websockets as ws;

use super::metered::Metered;

pub(super) type Stream = ws::WebSocketStream<Metered>;

/// The size of a client's frame without its payload: two bytes, the mask, and a length that does not fit into the two.
const HEAD: u64 = 6;

/// A stream of the library holds a read buffer of 8 KiB as long as it lives, more than the rest of an idle connection takes. So
/// it lives only while a message is being transferred; in between, only the socket is kept.
pub(super) struct Frames {
    /// Absent only during a change.
    state: Option<State>,
    limit: usize,
    /// The bytes of the received messages, each counted as one frame. Messages in several frames took more bytes: after them
    /// this is less than was received, and the stream lives as long as the connection.
    taken: u64,
    /// A close frame was sent or received, which only this stream knows.
    closing: bool,
}

enum State {
    Resting(Metered),
    Streaming(Box<Stream>),
}

const WHOLE: &str = "a change is never left halfway";

impl Frames {
    pub(super) fn new(socket: Metered, limit: usize) -> Self {
        Self { state: Some(State::Resting(socket)), limit, taken: 0, closing: false }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        if let Some(stream) = self.running() {
            stream.limits_mut().set_max_payload_len(Some(limit));
        }
    }

    pub(super) fn socket(&self) -> &Metered {
        match self.state.as_ref().expect(WHOLE) {
            State::Resting(socket) => socket,
            State::Streaming(stream) => stream.get_ref(),
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut Metered {
        match self.state.as_mut().expect(WHOLE) {
            State::Resting(socket) => socket,
            State::Streaming(stream) => stream.get_mut(),
        }
    }

    pub(super) fn into_socket(self) -> Metered {
        match self.state.expect(WHOLE) {
            State::Resting(socket) => socket,
            State::Streaming(stream) => stream.into_inner(),
        }
    }

    /// The stream, if there is one now. If there is none, nothing waits to be sent.
    pub(super) fn running(&mut self) -> Option<&mut Stream> {
        match &mut self.state {
            Some(State::Streaming(stream)) => Some(stream),
            _ => None,
        }
    }

    /// The stream.
    pub(super) fn stream(&mut self) -> &mut Stream {
        self.state = match self.state.take() {
            Some(State::Resting(socket)) => {
                Some(State::Streaming(Box::new(start(socket, self.limit))))
            }
            other => other,
        };
        self.running().expect("it was started if there was none")
    }

    /// Records a message from the stream. Returns whether it completes the message that was arriving, as all but pings and
    /// pongs do: those may be sent between the parts of a message.
    pub(super) fn take(&mut self, message: &ws::Message) -> bool {
        self.closing |= message.is_close();
        let bytes = frame_len(message.as_payload().len());
        self.taken += bytes;
        let in_between = message.is_ping() || message.is_pong();
        if in_between {
            self.socket_mut().pass_over(bytes);
        }
        !in_between
    }

    /// Records that a close frame was passed to the stream.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Frees the stream's memory, unless it holds a part of a message or has seen a close frame. All output must have been
    /// sent.
    pub(super) fn rest(&mut self) {
        if self.closing || self.taken != self.socket().received() {
            return;
        }
        self.state = match self.state.take() {
            Some(State::Streaming(stream)) => Some(State::Resting(stream.into_inner())),
            other => other,
        };
    }
}

fn start(socket: Metered, limit: usize) -> Stream {
    let limits = ws::Limits::default().max_payload_len(Some(limit));
    ws::ServerBuilder::new().limits(limits).serve(socket)
}

/// The size of a message in one frame; the library refuses lengths that are not in their shortest form.
fn frame_len(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    HEAD + length + payload as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_never_take_less_than_the_whole() {
        assert_eq!([0, 125, 126, 65_535, 65_536].map(frame_len), [6, 131, 134, 65_543, 65_550]);
        for whole in [1, 125, 126, 127, 252, 65_535, 65_536, 65_600, 131_071] {
            for first in 0..=whole {
                assert!(frame_len(first) + frame_len(whole - first) >= frame_len(whole));
            }
        }
    }
}
