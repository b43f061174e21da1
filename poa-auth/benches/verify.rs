//! The cost of a request's token: found in memory, seen for the first time, or forged.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has to stop")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use poa_auth::{Auth, AuthConfig, HashCost, NewUser};
use poa_core::auth::Authenticator as _;
use poa_core::config::Secret;
use tokio::runtime::Runtime;

/// Tokens that one `Auth` sees for the first time.
const TOKENS: usize = 5_000;

fn open(data_dir: &Path) -> Auth {
    let mut config = AuthConfig::default();
    config.hash_cost = HashCost::for_tests();
    Auth::open(config, data_dir).unwrap()
}

fn tokens(auth: &Auth) -> Vec<String> {
    let runtime = Runtime::new().unwrap();
    let password = "alicepassword";
    let alice = NewUser {
        name: Some("alice".to_owned()),
        password: Some(Secret::new(password)),
        agent: None,
    };
    runtime.block_on(auth.add_user(alice)).unwrap();
    (0..TOKENS).map(|_| runtime.block_on(auth.login("alice", password)).unwrap()).collect()
}

fn verify(criterion: &mut Criterion) {
    let data_dir = tempfile::tempdir().unwrap();
    let auth = open(data_dir.path());
    let tokens = tokens(&auth);
    let token = &tokens[0];

    auth.verify(token).unwrap();
    criterion.bench_function("verify/cached", |b| b.iter(|| auth.verify(black_box(token))));

    let forged = format!("{}A", &token[..token.len() - 1]);
    criterion.bench_function("verify/forged", |b| b.iter(|| auth.verify(black_box(&forged))));

    let (mut stranger, mut next) = (open(data_dir.path()), 0);
    let mut unseen = || {
        if next == TOKENS {
            (stranger, next) = (open(data_dir.path()), 0);
        }
        next += 1;
        (stranger.clone(), &tokens[next - 1])
    };
    criterion.bench_function("verify/cold", |b| {
        b.iter_batched(&mut unseen, |(auth, token)| auth.verify(token), BatchSize::SmallInput);
    });
}

criterion_group!(benches, verify);
criterion_main!(benches);
