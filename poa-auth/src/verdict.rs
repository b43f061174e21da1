//! Whether a token is valid, checked with every request and nearly always answered from memory.

use std::sync::Arc;

use poa_core::Timestamp;
use poa_core::auth::{AuthError, Principal};

use crate::auth::Inner;
use crate::token::Facts;

/// The most tokens that are remembered: enough for a fleet of agents with one each. A token takes about
/// 600 bytes.
pub(crate) const CACHED: usize = 131_072;

/// A token that was found valid. Only such tokens are remembered, so unauthenticated clients cannot fill
/// the cache.
pub(crate) struct Verdict {
    pub(crate) facts: Arc<Facts>,
    pub(crate) principal: Principal,
    /// When the epoch of the directory has changed, user and ban must be looked up again; the signature
    /// need not.
    epoch: u64,
}

impl Inner {
    /// The result for a token at this time.
    ///
    /// Only a token that would be valid except for its age is [`AuthError::Expired`].
    pub(crate) fn verdict(&self, token: &str, now: Timestamp) -> Result<Arc<Verdict>, AuthError> {
        self.tokens()?;
        let known = self.verified.get(token);
        let verdict = match known {
            Some(verdict) if verdict.epoch == self.directory.epoch() => verdict,
            known => self.judge(token, known.map(|verdict| verdict.facts.clone()), now)?,
        };
        verdict.facts.check_time(now)?;
        Ok(verdict)
    }

    fn judge(
        &self,
        token: &str,
        known: Option<Arc<Facts>>,
        now: Timestamp,
    ) -> Result<Arc<Verdict>, AuthError> {
        let tokens = self.tokens()?;
        let read = || tokens.read(token).map(Arc::new);
        let facts = known.or_else(read).ok_or(AuthError::Unauthorized)?;
        let (principal, epoch) = self.directory.admit(&facts).ok_or(AuthError::Unauthorized)?;
        facts.check_time(now)?;
        let verdict = Arc::new(Verdict { facts, principal, epoch });
        self.verified.insert(token.into(), verdict.clone());
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Auth, AuthConfig, HashCost, NewUser};

    const HOUR: u64 = 3_600_000_000;

    #[tokio::test]
    async fn time_passes_for_tokens_in_memory_too() {
        let dir = tempfile::tempdir().unwrap();
        let config = AuthConfig { hash_cost: HashCost::for_tests(), ..AuthConfig::default() };
        let auth = Auth::open(config, dir.path()).unwrap();
        let alice = NewUser { name: Some("alice".to_owned()), ..NewUser::default() };
        auth.add_user(alice).await.unwrap();
        let now = Timestamp::now();
        let token = auth.0.tokens().unwrap().issue("alice", now, 0);
        let at = |micros| auth.0.verdict(&token, Timestamp::from_micros(micros)).map(|_| ());

        let now = now.as_micros();
        assert!(at(now).is_ok());
        assert_eq!(auth.0.verified.len(), 1);
        assert!(matches!(at(now + HOUR), Err(AuthError::Expired)));
        assert!(matches!(at(now - HOUR), Err(AuthError::Unauthorized)));
        assert!(at(now).is_ok());
    }

    #[tokio::test]
    async fn invalid_tokens_are_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::open(AuthConfig::default(), dir.path()).unwrap();
        let token = auth.0.tokens().unwrap().issue("nobody", Timestamp::now(), 0);
        for text in [&*token, "a.b.c", ""] {
            assert!(auth.0.verdict(text, Timestamp::now()).is_err());
        }
        assert_eq!(auth.0.verified.len(), 0);
    }
}
