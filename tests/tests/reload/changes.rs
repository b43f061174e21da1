//! The configurations, one after the other.

use poa_tests::{Home, METRICS, sqlite};

/// The differences from one configuration to the next.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// The part that stays.
    base: String,
    round: usize,
    /// A number in the sections of the handlers that change.
    handlers: usize,
    /// And in that of the receiver.
    receiver: usize,
    /// Whether there are one more handler and receiver.
    more: bool,
}

/// A home whose configuration changes.
pub(crate) fn home() -> (Home, Changes) {
    let ws = "[handlers.ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n";
    let home = Home::with(&(sqlite("local", "metrics.db", "") + ws));
    let base = std::fs::read_to_string(home.config()).unwrap();
    let changes = Changes { base, round: 0, handlers: 0, receiver: 0, more: false };
    changes.write(&home);
    (home, changes)
}

impl Changes {
    /// Writes the next configuration. The result that a reload must have.
    pub(crate) fn next(&mut self, home: &Home) -> &'static str {
        let step = self.round % 6;
        self.round += 1;
        match step {
            0 => self.handlers += 1,
            1 | 4 => self.more = !self.more,
            2 => self.receiver += 1,
            3 => {
                // The text of the last one and a mistake, and in its turn a receiver that cannot start.
                let (wrong, result) = match self.round % 12 {
                    4 => ("[handlers.wrong]\nkind = \"rest\"\nlisen = 1\n".to_owned(), "refused"),
                    _ => (required(), "rolled_back"),
                };
                std::fs::write(home.config(), self.text() + &wrong).unwrap();
                return result;
            }
            _ => (self.handlers, self.receiver) = (self.handlers + 1, self.receiver + 1),
        }
        self.write(home);
        "applied"
    }

    /// Changes what all plugins share.
    pub(crate) fn of_the_host(&self, home: &Home, nth: usize) {
        self.write(home);
        home.change_host(nth);
    }

    fn write(&self, home: &Home) {
        std::fs::write(home.config(), self.text()).unwrap();
    }

    fn text(&self) -> String {
        let limit =
            |base: usize| format!("limits = {{ max_connections = {} }}", base + self.handlers % 7);
        let handlers = format!(
            "[handlers.changed-rest]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n{}\n\
             [handlers.changed-ws]\nkind = \"ws\"\nlisten = \"127.0.0.1:0\"\n{}\n",
            limit(1000),
            limit(2000),
        );
        let batch = format!("batch = {{ size = {} }}", 100 + self.receiver % 7);
        let mut text = self.base.clone() + &handlers + &sqlite("second", "second.db", &batch);
        if self.more {
            text += "[handlers.more]\nkind = \"rest\"\nlisten = \"127.0.0.1:0\"\n";
            text += &sqlite("more", "more.db", "");
        }
        text
    }
}

fn required() -> String {
    format!(
        "[receivers.wrong]\nkind = \"postgres\"\nrequired = true\nurl = \"postgres://postgres@127.0.0.1:1/x\"\nsubscribe = {METRICS:?}\n"
    )
}
