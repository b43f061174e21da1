//! The rows of the page in a browser.

pub(crate) use poa_tests::{Browser, DARK, DESKTOP, LAPTOP, PHONE};

/// Reads the list of agents.
pub(crate) trait Rows {
    /// The text of a cell of an agent, once there is such a row.
    async fn cell(&mut self, agent: &str, column: &str) -> String;

    /// Waits until an agent is in this state.
    async fn until_state(&mut self, agent: &str, state: &str);
}

impl Rows for Browser {
    async fn cell(&mut self, agent: &str, column: &str) -> String {
        let script = format!(
            "document.querySelector('#rows tr[data-id=\"{agent}\"] .c-{column}')?.textContent"
        );
        self.until(&script).await.as_str().unwrap().to_owned()
    }

    async fn until_state(&mut self, agent: &str, state: &str) {
        let script = format!(
            "document.querySelector('#rows tr[data-id=\"{agent}\"]')?.dataset.state === '{state}'"
        );
        self.until(&script).await;
    }
}
