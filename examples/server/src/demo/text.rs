//! The text that the demo prints.

use std::path::{Path, PathBuf};

use poa_auth::Auth;
use poa_host::Server;

use crate::failure::Failure;

/// The addresses and files of a server.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) admin: String,
    pub(crate) rest: String,
    pub(crate) auth: String,
    pub(crate) gilmour: String,
    /// Not part of every configuration.
    pub(crate) ws: Option<String>,
    /// Not part of every configuration.
    pub(crate) dashboard: Option<String>,
    pub(crate) data_dir: PathBuf,
}

impl Places {
    /// Finds them for a server of the built-in configuration.
    pub(crate) fn of(server: &Server) -> Result<Self, Failure> {
        let addresses = server.addresses();
        let find = |name: &str| {
            let found = addresses.iter().find(|(of, _)| of == name);
            found.map(|(_, at)| at.clone())
        };
        let place = |name: &str| {
            find(name).ok_or_else(|| Failure::because(format!("{name} does not listen")))
        };
        Ok(Self {
            admin: place("admin")?,
            rest: place("rest")?,
            auth: place("auth")?,
            gilmour: place("gilmour")?,
            ws: find("ws"),
            dashboard: find("dashboard"),
            data_dir: server.config().data_dir().to_owned(),
        })
    }

    /// The handler that the simulated agents connect to: a WebSocket handler if there is one.
    pub(crate) fn for_fleets(&self) -> &str {
        self.ws.as_deref().unwrap_or(&self.rest)
    }

    /// The page of the dashboard, with the secret that opens it.
    pub(crate) fn page(&self) -> Option<String> {
        let dashboard = self.dashboard.as_ref()?.trim_end_matches('/');
        let secret = std::fs::read_to_string(self.data_dir.join("dashboard.secret"));
        let query = secret.map(|secret| format!("?secret={}", secret.trim())).unwrap_or_default();
        Some(format!("{dashboard}/{query}"))
    }

    /// The certificate that the auth handler made for itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data_dir.join("auth.cert.pem")
    }

    /// The file of the SQLite receiver.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("metrics.db")
    }
}

/// The addresses, and commands to try.
pub(crate) fn explain(places: &Places, auth: &Auth, simulated: u16, node: &str) -> String {
    let Places { admin, rest, auth: login, gilmour, .. } = places;
    let calls = calls(gilmour, node);
    let (certificate, database) = (quote(&places.certificate()), quote(&places.database()));
    let (name, password) = auth
        .generated_admin()
        .map_or(("admin", "YOUR-PASSWORD"), |admin| (&*admin.name, admin.password.expose()));
    let agent = super::agent::NAME;
    let (more, page) = (more(places, simulated), page(places));
    format!(
        r#"
  REST    {rest}    POST /ping /data /bye
  auth    {login}   POST /session, users; certificate {certificate}
  admin   {admin}    /health/ready /metrics /status
  gilmour {gilmour}    a page; two nodes answer the topics `words` and `count`
  data    {database}
  agent   {agent} sends this machine's CPU, memory and disk every 2 s{more}
{page}
The admin is `{name}` with the password {password}

Try it from another shell in this directory: make a user, get a token, send a metric.

  curl -sS --cacert {certificate} -u {name}:{password} -H 'content-type: application/json' -d '{{"user-name":"me","password":"my-password"}}' {login}/user
  TOKEN=$(curl -sS --cacert {certificate} -u me:my-password -H 'content-type: application/json' -X POST {login}/session | sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -sS -H "Authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"id":"me","type":"system_metrics","data":{{"type":"statistics","body":{{"cpu_load":1.5,"memory_usage":20,"disk_usage":30}}}}}}' {rest}/data

Then look at the rows:

  sqlite3 {database} 'SELECT date, agent_id, cpu_load FROM system_stats ORDER BY message_id DESC LIMIT 5'

Programs call each other by topic: a request, a composition of two, and a signal that becomes a row. The id is that of a node.

{calls}

Ctrl-C ends it."#
    )
}

/// The commands that a node sends requests and signals with.
fn calls(gilmour: &str, node: &str) -> String {
    let bodies = [
        ("request", r#"{"topic":"words","message":"a b a"}"#),
        (
            "request",
            r#"{"composition":{"pipe":[{"requests":{"words":""}},{"requests":{"count":""}}]},"message":"a b a"}"#,
        ),
        (
            "signal",
            r#"{"topic":"metrics.demo","message":{"type":"statistics","body":{"cpu_load":2.5,"memory_usage":20,"disk_usage":30}}}"#,
        ),
    ];
    let line = |(route, body)| format!("  curl -sS {gilmour}/{route}/{node} -d '{body}'");
    bodies.map(line).join("\n")
}

/// The parts that not every demo has.
fn more(places: &Places, simulated: u16) -> String {
    let ws =
        places.ws.iter().map(|ws| format!("\n  ws      {ws}    the same calls over WebSocket"));
    let (name, url) = (super::fleet::NAME, places.for_fleets());
    let fleet =
        format!("\n  agents  {simulated} simulated ones, {name}-00000 and so on, send to {url}");
    ws.chain((simulated > 0).then_some(fleet)).collect()
}

fn page(places: &Places) -> String {
    places.page().map_or_else(String::new, |page| format!("\nWatch them at  {page}\n"))
}

/// A path as a shell takes it.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_opens_with_the_secret_that_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places {
            admin: String::new(),
            rest: "http://127.0.0.1:4002".into(),
            auth: String::new(),
            gilmour: String::new(),
            ws: None,
            dashboard: None,
            data_dir: dir.path().to_owned(),
        };
        assert_eq!((page(&places), more(&places, 0)), (String::new(), String::new()));
        assert!(more(&places, 50).contains("50 simulated ones"));
        std::fs::write(dir.path().join("dashboard.secret"), "s3cret\n").unwrap();
        places.dashboard = Some("http://127.0.0.1:8181".into());
        assert_eq!(page(&places), "\nWatch them at  http://127.0.0.1:8181/?secret=s3cret\n");
        places.ws = Some("ws://127.0.0.1:4004/ws".into());
        assert!(more(&places, 1).ends_with("send to ws://127.0.0.1:4004/ws"));
    }

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quote(Path::new("poa-data/x.pem")), "poa-data/x.pem");
        assert_eq!(quote(Path::new("it's here")), r"'it'\''s here'");
    }
}
