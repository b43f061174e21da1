//! poa-gilmour without a gateway: round trips, signals, compositions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use poa_gilmour::{
    Call, Composition, Data, Engine, Gilmour, MemoryEngine, Message, NatsEngine, Options,
    RedisEngine, SlotTopic, Topic,
};
use poa_test_nats::Servers;
use poa_test_redis::Server as Redis;

use super::{outage, raw_redis};
use crate::Failure;
use crate::report::{median, table};

const TIME: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// How many requests are under way at once.
pub(super) const AT_ONCE: usize = 64;
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(redis: &Redis, nats: &Servers) -> Result<(), Failure> {
    round_trips(redis, nats).await?;
    signals().await?;
    compositions().await
}

/// Redis and NATS, each killed under load and started again.
pub(super) async fn outages(redis: &mut Redis, nats: &mut Servers) -> Result<(), Failure> {
    let (asking, serving) = (redis_engine(redis).await?, redis_engine(redis).await?);
    let of_redis = outage::row("Redis", redis, asking, serving).await?;
    let (asking, serving) = (nats_engine(nats).await?, nats_engine(nats).await?);
    let of_nats = outage::row("NATS", nats, asking, serving).await?;
    outage::show(&[of_redis, of_nats]);
    Ok(())
}

fn over(engine: impl Engine) -> Gilmour {
    Gilmour::new(engine).with_timeout(PATIENCE)
}

async fn redis_engine(redis: &Redis) -> Result<Gilmour, Failure> {
    let engine = RedisEngine::new(&redis.url(), Options::default())?;
    engine.connect(PATIENCE).await?;
    Ok(over(engine))
}

async fn nats_engine(nats: &Servers) -> Result<Gilmour, Failure> {
    let engine = NatsEngine::new(&nats.url(0), Options::default())?;
    engine.connect(PATIENCE).await?;
    Ok(over(engine))
}

/// How many of these there are a second, so many at once.
pub(super) async fn rate<F, Fut>(work: F) -> Result<f64, Failure>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    let (work, done) = (Arc::new(work), Arc::new(AtomicU64::new(0)));
    let begin = Instant::now();
    let workers = (0..AT_ONCE).map(|_| {
        let (work, done) = (work.clone(), done.clone());
        tokio::spawn(async move {
            while begin.elapsed() < TIME {
                work().await?;
                done.fetch_add(1, Relaxed);
            }
            Ok::<_, Failure>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(done.load(Relaxed) as f64 / begin.elapsed().as_secs_f64())
}

async fn round_trips(redis: &Redis, nats: &Servers) -> Result<(), Failure> {
    let raw = raw_redis::Raw::connect(&redis.url()).await?;
    let echo = Topic::new("echo")?;
    let answer = async |call: Call| Message::ok(call.data);
    let sides = [
        ("`engine = memory`", over(MemoryEngine::default()), None),
        ("`engine = redis`", redis_engine(redis).await?, Some(redis_engine(redis).await?)),
        ("`engine = nats`", nats_engine(nats).await?, Some(nats_engine(nats).await?)),
    ];
    let mut held = Vec::new();
    for (_, asking, serving) in &sides {
        held.push(serving.as_ref().unwrap_or(asking).reply(&echo, answer).await?);
    }
    let mut rates = vec![Vec::new(); sides.len() + 1];
    for _ in 0..ROUNDS {
        let raw = raw.clone();
        rates[0].push(rate(move || raw.clone().round_trip()).await?);
        for (place, (_, asking, _)) in sides.iter().enumerate() {
            let (asking, echo) = (asking.clone(), echo.clone());
            let request = move || {
                let (asking, echo) = (asking.clone(), echo.clone());
                async move { Ok(asking.request(&echo, &Data::text("first")).await.map(drop)?) }
            };
            rates[place + 1].push(rate(request).await?);
        }
    }
    println!("Requests without a gateway, {AT_ONCE} at once, medians of {ROUNDS} rounds\n");
    let yardstick = median(rates[0].clone());
    let names = ["the same commands by the Redis client alone"].into_iter();
    let names = names.chain(sides.iter().map(|(name, ..)| *name));
    let rows = names.zip(rates).map(|(name, rates)| {
        let rate = median(rates);
        vec![name.to_owned(), format!("{rate:.0}"), format!("{:.2}", rate / yardstick)]
    });
    table(&["way", "requests/s", "of the yardstick"], &rows.collect::<Vec<_>>());
    Ok(())
}

async fn signals() -> Result<(), Failure> {
    let mut rows = Vec::new();
    for slots in [1_u64, 10, 100] {
        let gilmour = over(MemoryEngine::default());
        let heard = Arc::new(AtomicU64::new(0));
        let mut held = Vec::new();
        for _ in 0..slots {
            let heard = heard.clone();
            let handler = move |_: Call| {
                heard.fetch_add(1, Relaxed);
                std::future::ready(Message::ok(Data::null()))
            };
            held.push(gilmour.slot(&SlotTopic::new("log.*")?, handler).await?);
        }
        let (topic, data) = (Topic::new("log.a")?, Data::text("first"));
        let (begin, mut sent) = (Instant::now(), 0_u64);
        while begin.elapsed() < TIME {
            gilmour.signal(&topic, &data).await?;
            sent += 1;
            // No more are under way than handlers keep up with.
            while heard.load(Relaxed) + 1000 < sent * slots {
                tokio::task::yield_now().await;
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let handled = heard.load(Relaxed) as f64 / seconds;
        rows.push(vec![
            slots.to_string(),
            format!("{:.0}", sent as f64 / seconds),
            format!("{handled:.0}"),
        ]);
    }
    println!("Signals, `engine = memory`\n");
    table(&["slots", "signals/s", "handled/s"], &rows);
    Ok(())
}

async fn compositions() -> Result<(), Failure> {
    let gilmour = over(MemoryEngine::default());
    let answer = async |call: Call| Message::ok(call.data);
    let _echo = gilmour.reply(&Topic::new("echo")?, answer).await?;
    let steps = [r#"{"requests":{"echo":{"m":1}}}"#; 10].join(",");
    let mut rows = Vec::new();
    for operator in ["pipe", "parallel"] {
        let composition = Composition::parse(&format!("{{\"{operator}\":[{steps}]}}"))?;
        let (gilmour, input) = (gilmour.clone(), Data::parse(r#"{"first":1}"#)?);
        let composition = Arc::new(composition);
        let evaluate = move || {
            let (gilmour, composition, input) =
                (gilmour.clone(), composition.clone(), input.clone());
            async move {
                match gilmour.compose(&composition, input).await.code() {
                    200 => Ok(()),
                    code => Err(format!("code {code}").into()),
                }
            }
        };
        rows.push(vec![
            format!("`{operator}` of ten requests"),
            format!("{:.0}", rate(evaluate).await?),
        ]);
    }
    println!("Compositions, `engine = memory`, {AT_ONCE} at once\n");
    table(&["composition", "evaluations/s"], &rows);
    Ok(())
}
