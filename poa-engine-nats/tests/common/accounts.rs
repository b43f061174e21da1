//! Accounts as a NATS operator signs them: one for poa, and the system account, each with the credentials of a user.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Accounts {
    /// For the configuration of servers.
    pub(crate) lines: String,
    /// The credentials of a user of the account for poa, and of one of the system account.
    pub(crate) client: PathBuf,
    pub(crate) system: PathBuf,
    _dir: TempDir,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("poa-accounts-").unwrap();
        let operator = KeyPair::new_operator();
        let signed =
            sign(&operator, &operator.public_key(), &json!({ "type": "operator", "version": 2 }));
        let (client, system) = (KeyPair::new_account(), KeyPair::new_account());
        let lines = format!(
            "operator: {signed}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{\n{}: {}\n{}: {}\n}}",
            system.public_key(),
            client.public_key(),
            sign(&operator, &client.public_key(), &account(-1)),
            system.public_key(),
            sign(&operator, &system.public_key(), &account(0)),
        );
        let file = |name: &str, account: &KeyPair| {
            let path = dir.path().join(name);
            write_user(account, &path);
            path
        };
        Self {
            lines,
            client: file("client.creds", &client),
            system: file("system.creds", &system),
            _dir: dir,
        }
    }
}

/// An account that may use as much of JetStream; -1 for everything.
fn account(jetstream: i64) -> Value {
    json!({
        "type": "account",
        "version": 2,
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": jetstream, "disk_storage": jetstream, "streams": jetstream, "consumer": jetstream,
        },
    })
}

/// Writes the credentials of a new user of an account.
fn write_user(account: &KeyPair, path: &Path) {
    let user = KeyPair::new_user();
    let rights = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        sign(account, &user.public_key(), &rights),
        user.seed().unwrap()
    );
    std::fs::write(path, text).unwrap();
}

/// A token about `subject` in the form of NATS.
fn sign(issuer: &KeyPair, subject: &str, about: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = json!({
        "jti": subject, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": subject, "sub": subject, "nats": about,
    });
    let text = format!("{head}.{}", encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}
