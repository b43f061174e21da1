//! Hosts as their users see them: start, supervision, stop.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use poa_core::status::{Phase, PluginStatus};
use poa_core::{
    Ack, AgentId, BuildContext, BuildError, CustomHandler, DeliveryError, Draft, HandlerContext,
    HandlerFactory, Host, HostHandle, Message, Payload, PluginError, Receiver, ReceiverFactory,
    ReceiverOptions, StartError, async_trait, receiver_fn,
};
use poa_engine_local::{Memory, MemoryConfig};
use tokio::sync::mpsc;

/// Passes on what it receives.
struct Forward(mpsc::UnboundedSender<Message>);

#[async_trait]
impl Receiver for Forward {
    async fn metrics_received(&mut self, batch: &[Message]) -> Result<(), DeliveryError> {
        for message in batch {
            self.0.send(message.clone()).map_err(DeliveryError::transient)?;
        }
        Ok(())
    }
}

fn forward() -> (ReceiverFactory, mpsc::UnboundedReceiver<Message>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let factory: ReceiverFactory = Arc::new(move |_: &BuildContext| {
        let sender = sender.clone();
        Box::pin(async move { Ok(Box::new(Forward(sender)) as Box<dyn Receiver>) })
    });
    (factory, receiver)
}

/// The behaviour of a test handler, called each time it is run.
type Script =
    fn(usize, HandlerContext) -> futures_util::future::BoxFuture<'static, Result<(), PluginError>>;

struct Scripted {
    run: usize,
    script: Script,
}

#[async_trait]
impl CustomHandler for Scripted {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        (self.script)(self.run, cx).await
    }

    fn endpoints(&self) -> Vec<String> {
        vec![format!("test://{}", self.run)]
    }
}

fn scripted(script: Script) -> HandlerFactory {
    let runs = Arc::new(AtomicUsize::new(0));
    Arc::new(move |_: &BuildContext| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(Box::new(Scripted { run, script }) as Box<dyn CustomHandler>) })
    })
}

fn draft(host: &HostHandle, data_type: &str) -> Draft {
    let data_type = host.data_types().get(data_type).unwrap().clone();
    let payload = Payload::json(&serde_json::json!({"x": 1})).unwrap();
    Draft::new(AgentId::new("agent").unwrap(), data_type, payload)
}

fn plugin(host: &HostHandle, name: &str) -> PluginStatus {
    host.status().plugins.into_iter().find(|plugin| plugin.name == name).unwrap()
}

fn builder() -> (poa_core::HostBuilder, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (
        Host::builder()
            .engine::<Memory>("memory", MemoryConfig::default())
            .data_types(["a", "b"])
            .data_dir(dir.path().join("data")),
        dir,
    )
}

#[tokio::test]
async fn two_hosts_run_in_one_process() {
    let (first, mut first_got) = forward();
    let (second, mut second_got) = forward();
    let (one, _dir) = builder();
    let (two, _dir2) = builder();
    let one = one.receiver_from("r", ReceiverOptions::subscribe(["a"]), first);
    let two = two.receiver_from("r", ReceiverOptions::subscribe(["a"]), second);
    let (one, two) = (one.start().await.unwrap(), two.start().await.unwrap());
    one.handle().send_to_receivers(draft(&one.handle(), "a")).unwrap().await.unwrap();
    let message = first_got.recv().await.unwrap();
    assert_eq!(message.agent_id().as_str(), "agent");
    assert!(one.stop().await.is_clean());

    two.handle().send_to_receivers(draft(&two.handle(), "a")).unwrap().await.unwrap();
    assert_ne!(second_got.recv().await.unwrap().id(), message.id());
    assert!(two.stop().await.is_clean());
    assert!(first_got.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_handler_is_restarted_and_others_are_not_affected() {
    let (builder, _dir) = builder();
    let host = builder
        .handler_from(
            "bad",
            scripted(|run, cx| {
                Box::pin(async move {
                    match run {
                        0 => panic!("on purpose"),
                        1 => Err(PluginError::new("out of luck")),
                        2 => Ok(()),
                        _ => {
                            cx.shutdown().cancelled().await;
                            Ok(())
                        }
                    }
                })
            }),
        )
        .handler_from(
            "good",
            scripted(|_, cx| {
                Box::pin(async move {
                    cx.shutdown().cancelled().await;
                    Ok(())
                })
            }),
        )
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    while plugin(&handle, "bad").restarts < 3 || plugin(&handle, "bad").phase != Phase::Running {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bad = plugin(&handle, "bad");
    assert_eq!(bad.last_error.as_deref(), Some("returned before it was told to stop"));
    assert_eq!(bad.endpoints, ["test://3"]);
    let good = plugin(&handle, "good");
    assert_eq!((good.restarts, good.phase, good.last_error), (0, Phase::Running, None));
    assert!(host.stop().await.is_clean());
    assert_eq!(plugin(&handle, "bad").phase, Phase::Stopped);
}

/// The time a host whose handler and receiver are stuck takes to stop, with limits of 3 s and 5 s, and what it leaves.
async fn stop_of_the_stuck(
    stop: impl AsyncFnOnce(poa_core::Host) -> poa_core::StopReport,
) -> (u64, poa_core::StopReport) {
    struct Stuck;
    #[async_trait]
    impl Receiver for Stuck {
        async fn metrics_received(&mut self, _: &[Message]) -> Result<(), DeliveryError> {
            std::future::pending().await
        }
    }
    let stuck: ReceiverFactory =
        Arc::new(|_: &BuildContext| Box::pin(async { Ok(Box::new(Stuck) as Box<dyn Receiver>) }));
    let (builder, _dir) = builder();
    let host = builder
        .stop_timeouts(Duration::from_secs(3), Duration::from_secs(5))
        .receiver_from("stuck", ReceiverOptions::subscribe(["a"]), stuck)
        .handler_from("deaf", scripted(|_, _| Box::pin(std::future::pending())))
        .start()
        .await
        .unwrap();
    for _ in 0..3 {
        host.handle().send_to_receivers(draft(&host.handle(), "a")).unwrap().await.unwrap();
    }
    // Every task runs once: the handler is in its `run`, the receiver has a batch in flight.
    tokio::task::yield_now().await;
    let begin = tokio::time::Instant::now();
    let report = stop(host).await;
    (begin.elapsed().as_secs(), report)
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_limited_in_time_and_names_what_it_left() {
    let (seconds, report) = stop_of_the_stuck(async |host| host.stop().await).await;
    assert_eq!(seconds, 8);
    assert_eq!(report.abandoned, ["handlers.deaf", "receivers.stuck"]);
    assert_eq!(report.undelivered, [("stuck".to_owned(), 3)]);
}

/// Neither one that fails nor one that cannot be built hangs, so neither is abandoned.
#[tokio::test(start_paused = true)]
async fn receivers_whose_destination_is_away_end_in_time_at_a_stop() {
    let (builder, _dir) = builder();
    let fails = receiver_fn(|_: Vec<Message>| async { Err(DeliveryError::transient("away")) });
    let absent: ReceiverFactory =
        Arc::new(|_: &BuildContext| Box::pin(async { Err(BuildError::unavailable("away")) }));
    let options = || ReceiverOptions::subscribe(["a"]);
    let host = builder
        .stop_timeouts(Duration::from_secs(3), Duration::from_secs(20))
        .receiver_from("fails", options(), fails)
        .receiver_from("absent", options(), absent)
        .start()
        .await
        .unwrap();
    let handle = host.handle();
    handle.send_to_receivers(draft(&handle, "a")).unwrap().await.unwrap();
    let begin = tokio::time::Instant::now();
    let report = host.stop().await;
    let seconds = begin.elapsed().as_secs_f64();
    assert!((19.0..20.0).contains(&seconds), "{seconds} s");
    assert_eq!(report.abandoned, [""; 0]);
    assert_eq!(report.undelivered, [("fails".to_owned(), 1), ("absent".to_owned(), 1)]);
    for name in ["fails", "absent"] {
        assert_eq!(plugin(&handle, name).phase, Phase::Stopped, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_may_give_receivers_less_time_and_never_more() {
    for (drain, expected) in [(1, 4), (60, 8)] {
        let stop = async |host: poa_core::Host| host.stop_within(Duration::from_secs(drain)).await;
        let (seconds, report) = stop_of_the_stuck(stop).await;
        assert_eq!(seconds, expected);
        assert_eq!(report.undelivered, [("stuck".to_owned(), 3)]);
    }
}

#[tokio::test]
async fn a_stop_delivers_the_backlog() {
    let (factory, mut got) = forward();
    let (builder, _dir) = builder();
    let options = ReceiverOptions::subscribe(["a"]).batch(10, Duration::from_secs(3600));
    let host = builder.receiver_from("r", options, factory).start().await.unwrap();
    for _ in 0..25 {
        host.handle().send_to_receivers(draft(&host.handle(), "a")).unwrap().await.unwrap();
    }
    let handle = host.handle();
    assert!(handle.is_ready());
    assert!(host.stop().await.is_clean());
    assert!(!handle.is_ready());
    let mut count = 0;
    while got.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 25);
    assert!(handle.send_to_receivers(draft(&handle, "a")).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_receiver_is_retried_unless_required() {
    let (forward, mut got) = forward();
    let tries = Arc::new(AtomicUsize::new(0));
    let late: ReceiverFactory = Arc::new(move |cx: &BuildContext| {
        if tries.fetch_add(1, Ordering::Relaxed) < 3 {
            Box::pin(async { Err(BuildError::unavailable("no database")) })
        } else {
            forward(cx)
        }
    });
    let (required, _dir) = builder();
    let options = ReceiverOptions::subscribe(["a"]);
    let error =
        required.receiver_from("db", options.clone().required(), late.clone()).start().await;
    let error = error.unwrap_err();
    assert!(matches!(&error, StartError::Plugin { plugin, .. } if plugin == "receivers.db"));

    let (optional, _dir) = builder();
    let host = optional.receiver_from("db", options, late).start().await.unwrap();
    host.handle().send_to_receivers(draft(&host.handle(), "a")).unwrap().await.unwrap();
    let status = plugin(&host.handle(), "db");
    assert_eq!(status.last_error.as_deref(), Some("no database"));
    assert!(got.recv().await.is_some());
    assert!(host.stop().await.is_clean());
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_at_start() {
    let (factory, _got) = forward();
    let options = ReceiverOptions::subscribe(["a"]);

    let (twice, _dir) = builder();
    let twice = twice.receiver_from("r", options.clone(), factory.clone()).receiver_from(
        "r",
        options,
        factory.clone(),
    );
    let error = twice.start().await.unwrap_err();
    assert!(matches!(error, StartError::DuplicateName(name) if name == "receivers.r"));

    let (unknown, _dir) = builder();
    let options = ReceiverOptions::subscribe(["c"]);
    let error = unknown.receiver_from("r", options, factory).start().await.unwrap_err();
    assert!(error.to_string().contains("`c` is not among the host's data types"), "{error}");

    let (stored, _dir) = builder();
    let error = stored.ack(Ack::Stored).start().await.unwrap_err();
    assert!(matches!(error, StartError::AckNotPossible { .. }));

    let panics: HandlerFactory = Arc::new(|_: &BuildContext| Box::pin(async { panic!("oh") }));
    let (panicking, _dir) = builder();
    let error = panicking.handler_from("p", panics).start().await.unwrap_err();
    assert!(matches!(error, StartError::Plugin { plugin, .. } if plugin == "handlers.p"));
}

#[tokio::test]
async fn a_dropped_host_leaves_no_task() {
    let (factory, mut got) = forward();
    let (builder, _dir) = builder();
    let host = builder
        .receiver_from("r", ReceiverOptions::subscribe(["a"]), factory)
        .handler_from("h", scripted(|_, _| Box::pin(std::future::pending())))
        .start()
        .await
        .unwrap();
    drop(host);
    // The channel closes once the factory and the receiver it made are gone.
    assert!(got.recv().await.is_none());
}
