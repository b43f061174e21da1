//! The `[auth]` table.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration as StdDuration;

use argon2::PasswordHash;
use poa_core::config::{Duration, Problem, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::check_name;
use crate::password::{HashCost, check_length};

/// The `[auth]` table: the issuing of tokens, and the admins.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AuthConfig {
    /// The `iss` and `aud` claims of tokens.
    pub issuer: String,
    /// The key that signs tokens with HS512: the bytes of this string, preferably 64 or more random ones. When absent, a key is generated once
    /// and kept in the file `secret_key` in `data_dir`, with `engine = "nats"` in the cluster.
    pub secret_key: Option<Secret>,
    /// How long a token is valid; at least `1s`.
    pub token_ttl: Duration,
    /// With `engine = "nats"`, users are in the cluster. A node that has lost contact does not see bans from other nodes: after this time
    /// it accepts no token until contact is restored.
    pub trust_without_contact: Duration,
    /// The admins, who may manage users. When empty, there is one admin named `admin`, whose password is generated once and kept in the
    /// file `admin_password` in `data_dir`.
    pub admins: Vec<AdminConfig>,
    #[doc(hidden)]
    #[serde(skip)]
    pub hash_cost: HashCost,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "poa_backend".to_owned(),
            secret_key: None,
            token_ttl: Duration::from_secs(3600),
            trust_without_contact: Duration::from_secs(30),
            admins: Vec::new(),
            hash_cost: HashCost::default(),
        }
    }
}

/// An admin. Exactly one of the three passwords must be given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AdminConfig {
    /// The name: 1 to 255 bytes, no colon, no control characters.
    pub name: String,
    /// The password itself, at least 8 characters.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The Argon2 hash of the password, as `$argon2id$v=19$…`.
    #[serde(default)]
    pub password_hash: Option<Secret>,
    /// A file whose first line is the password. A relative path starts at the working directory.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The rights of the admin.
    #[serde(default)]
    pub role: Role,
}

/// The rights of an admin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Lists users and tokens.
    Read,
    /// Also adds, changes, bans and removes users, and revokes tokens.
    #[default]
    Manage,
}

impl AdminConfig {
    /// An admin with this password.
    #[must_use]
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: Some(Secret::new(password)), ..Self::default() }
    }
}

impl AuthConfig {
    /// Reports every problem that the types do not exclude. Pure: no file is read.
    #[must_use]
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.issuer.is_empty() {
            problems
                .push(Problem::new("issuer", "must not be empty; leave it out for `poa_backend`"));
        }
        if self.secret_key.as_ref().is_some_and(|key| key.expose().is_empty()) {
            problems.push(Problem::new(
                "secret_key",
                "must not be empty; give at least 64 random characters, or leave it out to have a key generated",
            ));
        }
        if self.token_ttl.get() < StdDuration::from_secs(1) {
            let message = format!("{} is too short; write at least \"1s\"", self.token_ttl);
            problems.push(Problem::new("token_ttl", message));
        }
        problems.extend(self.validate_admins());
        problems
    }

    fn validate_admins(&self) -> Vec<Problem> {
        let mut names = HashSet::new();
        let mut problems = Vec::new();
        for (index, admin) in self.admins.iter().enumerate() {
            let mut found = admin.validate();
            if !names.insert(&admin.name) {
                let message = format!("there are two admins named `{}`; rename one", admin.name);
                found.push(Problem::new("name", message));
            }
            let at = |problem: Problem| problem.under(&index.to_string()).under("admins");
            problems.extend(found.into_iter().map(at));
        }
        problems
    }
}

impl AdminConfig {
    fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(invalid) = check_name(&self.name) {
            problems.push(Problem::new("name", invalid.to_string()));
        }
        if let Some(password) = &self.password
            && check_length(password.expose()).is_err()
        {
            problems.push(Problem::new("password", "must have at least 8 characters"));
        }
        if let Some(hash) = &self.password_hash
            && !is_argon2(hash.expose())
        {
            problems.push(Problem::new(
                "password_hash",
                "is not an Argon2 hash, which starts with `$argon2id$v=19$`",
            ));
        }
        let given = usize::from(self.password.is_some())
            + usize::from(self.password_hash.is_some())
            + usize::from(self.password_file.is_some());
        if given != 1 {
            problems.push(Problem::new(
                "",
                format!("give exactly one of `password`, `password_hash` and `password_file`, not {given}"),
            ));
        }
        problems
    }
}

fn is_argon2(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        hash.hash.is_some()
            && hash.salt.is_some()
            && argon2::Algorithm::try_from(hash.algorithm).is_ok()
            && argon2::Params::try_from(&hash).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml_like: serde_json::Value) -> Vec<String> {
        let config: AuthConfig = serde_json::from_value(toml_like).unwrap();
        config.validate().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_has_a_default() {
        let config: AuthConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config.issuer, "poa_backend");
        assert_eq!(config.token_ttl, Duration::from_secs(3600));
        assert!(config.validate().is_empty());
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let found = problems(serde_json::json!({
            "issuer": "", "secret_key": "", "token_ttl": "10ms",
            "admins": [
                {"name": "a", "password": "short"},
                {"name": "a:b", "password_hash": "$2b$10$abc"},
                {"name": "a", "password_file": "x", "password": "long enough"},
                {"name": "d"},
                {"name": "e", "password_hash": hash},
            ],
        }));
        let starts = [
            "issuer: must",
            "secret_key: must",
            "token_ttl: 10ms is too short",
            "admins.0.password: must",
            "admins.1.name: ",
            "admins.1.password_hash: is not an Argon2 hash",
            "admins.2: give exactly one",
            "admins.2.name: there are two admins named `a`",
            "admins.3: give exactly one",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (problem, start) in found.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem} / {start}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_secrets_are_not_shown() {
        assert!(serde_json::from_str::<AuthConfig>(r#"{"hash_cost": 1}"#).is_err());
        let config = AuthConfig {
            secret_key: Some(Secret::new("hunter2")),
            admins: vec![AdminConfig::new("a", "hunter22")],
            ..AuthConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }
}
