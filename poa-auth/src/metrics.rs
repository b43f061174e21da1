//! The metrics of authentication.

use poa_core::telemetry::{Counter, Gauge, Histogram, Telemetry};

use crate::auth::Who;

/// The result for a password that was presented.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Accepted,
    Refused,
    Busy,
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Accepted, Self::Refused, Self::Busy, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

pub(crate) struct Metrics {
    users: [Counter; 4],
    admins: [Counter; 4],
    pub(crate) hash: Histogram,
    pub(crate) cached: Gauge,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let logins = |who: Who| {
            Outcome::ALL.map(|outcome| {
                let labels = [("who", who.name()), ("outcome", outcome.name())];
                telemetry.counter("auth_logins", "Passwords presented", &labels)
            })
        };
        Self {
            users: logins(Who::User),
            admins: logins(Who::Admin),
            hash: telemetry.histogram("auth_hash_seconds", "Time to verify one password hash", &[]),
            cached: telemetry.gauge("auth_cached_tokens", "Verified tokens in memory", &[]),
        }
    }

    pub(crate) fn login(&self, who: Who, outcome: Outcome) -> &Counter {
        let of = match who {
            Who::User => &self.users,
            Who::Admin => &self.admins,
        };
        &of[outcome as usize]
    }
}
