//! What the demo tells.

use std::path::{Path, PathBuf};

use poa_auth::Auth;
use poa_host::Server;

use crate::failure::Failure;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) admin: String,
    pub(crate) rest: String,
    pub(crate) auth: String,
    pub(crate) data_dir: PathBuf,
}

impl Places {
    /// Where a server of the built-in configuration has them.
    pub(crate) fn of(server: &Server) -> Result<Self, Failure> {
        let addresses = server.addresses();
        let place = |name: &str| {
            let found = addresses.iter().find(|(of, _)| of == name);
            found
                .map(|(_, at)| at.clone())
                .ok_or_else(|| Failure::because(format!("{name} does not listen")))
        };
        let data_dir = server.config().data_dir().to_owned();
        Ok(Self { admin: place("admin")?, rest: place("rest")?, auth: place("auth")?, data_dir })
    }

    /// The certificate that the auth handler made for itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data_dir.join("auth.cert.pem")
    }

    /// Where the SQLite receiver stores.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("metrics.db")
    }
}

/// What runs where, and what to try.
pub(crate) fn explain(places: &Places, auth: &Auth) -> String {
    let Places { admin, rest, auth: login, .. } = places;
    let (certificate, database) = (quote(&places.certificate()), quote(&places.database()));
    let (name, password) = auth
        .generated_admin()
        .map_or(("admin", "YOUR-PASSWORD"), |admin| (&*admin.name, admin.password.expose()));
    let agent = super::agent::NAME;
    format!(
        r#"
  REST    {rest}    POST /ping /data /bye
  auth    {login}   POST /session, users; certificate {certificate}
  admin   {admin}    /health/ready /metrics /status
  data    {database}
  agent   {agent} sends this machine's CPU, memory and disk every 2 s

The admin is `{name}` with the password {password}

Try it from another shell in this directory: make a user, get a token, send a metric.

  curl -sS --cacert {certificate} -u {name}:{password} -H 'content-type: application/json' -d '{{"user-name":"me","password":"my-password"}}' {login}/user
  TOKEN=$(curl -sS --cacert {certificate} -u me:my-password -H 'content-type: application/json' -X POST {login}/session | sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -sS -H "Authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{{"id":"me","type":"system_metrics","data":{{"type":"statistics","body":{{"cpu_load":1.5,"memory_usage":20,"disk_usage":30}}}}}}' {rest}/data

Then look at the rows:

  sqlite3 {database} 'SELECT date, agent_id, cpu_load FROM system_stats ORDER BY message_id DESC LIMIT 5'

Ctrl-C ends it."#
    )
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
    fn paths_survive_a_shell() {
        assert_eq!(quote(Path::new("poa-data/x.pem")), "poa-data/x.pem");
        assert_eq!(quote(Path::new("it's here")), r"'it'\''s here'");
    }
}
