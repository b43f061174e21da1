//! A handler whose future is dropped, or panics, before it completes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use poa_core::{CustomHandler, HandlerContext, HandlerFactory, PluginError, async_trait};

use super::{HandlerContract, PATIENCE, SUBJECT, stop};
use crate::cut::polled;
use crate::{Recording, TestHost};

/// How long a message without an answer is waited for before another is sent: it may have been lost with the first instance.
const ARRIVAL: Duration = Duration::from_millis(100);
/// The most awaits at which it is dropped.
const CUTS: usize = 12;

#[derive(Clone, Copy, Debug)]
enum How {
    Dropped,
    Panicking,
}

/// The first instance is dropped after this many polls; later ones are not.
struct CutOff {
    handler: Box<dyn CustomHandler>,
    /// `None` for an instance that runs to its end.
    after: Option<(usize, How)>,
}

#[async_trait]
impl CustomHandler for CutOff {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        let Some((polls, how)) = self.after else { return self.handler.run(cx).await };
        match (polled(polls, self.handler.run(cx)).await, how) {
            (Some(ended), _) => ended,
            (None, How::Dropped) => Err(PluginError::new("cut off")),
            (None, How::Panicking) => panic!("injected"),
        }
    }

    fn endpoints(&self) -> Vec<String> {
        self.handler.endpoints()
    }
}

fn cut_once(factory: &HandlerFactory, polls: usize, how: How) -> HandlerFactory {
    let (factory, first) = (factory.clone(), Arc::new(AtomicBool::new(true)));
    Arc::new(move |cx| {
        let after = first.swap(false, Ordering::SeqCst).then_some((polls, how));
        let building = factory(cx);
        Box::pin(async move {
            let handler = building.await?;
            Ok(Box::new(CutOff { handler, after }) as Box<dyn CustomHandler>)
        })
    })
}

/// The result of a handler that was dropped, or should have been.
#[derive(PartialEq)]
enum Came {
    Back,
    /// It served and was not dropped, because it is not polled that often.
    ThroughIt,
}

pub(super) async fn comes_back<C: AsyncFn(&[String]) -> bool>(subject: &HandlerContract<C>) {
    for polls in 1..=CUTS {
        for how in [How::Dropped, How::Panicking] {
            let what = format!("{how:?} after {polls} polls");
            let factory = cut_once(&subject.factory, polls, how);
            if cut_and_ask(&what, factory, subject).await == Came::ThroughIt {
                return;
            }
        }
    }
}

async fn cut_and_ask<C: AsyncFn(&[String]) -> bool>(
    what: &str,
    factory: HandlerFactory,
    subject: &HandlerContract<C>,
) -> Came {
    let recording = Recording::new();
    let host = subject.host(&factory, recording.factory(), |host| host).await;
    let asking = ask_until_it_serves(what, &host, &recording, subject);
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    let Ok((positive, came)) = asked else {
        let status = host.status(SUBJECT);
        panic!("{what}: it does not serve again within {PATIENCE:?}: {status:?}");
    };
    let delivered = recording.record().messages().count();
    assert!(delivered >= positive, "{what}: {positive} positive answers, {delivered} delivered");
    stop(what, host).await;
    came
}

/// Sends until a second instance has answered, or the first has several times; returns the number of positive answers.
async fn ask_until_it_serves<C: AsyncFn(&[String]) -> bool>(
    what: &str,
    host: &TestHost,
    recording: &Recording,
    subject: &HandlerContract<C>,
) -> (usize, Came) {
    const SEVERAL: usize = 10;
    let mut positive = 0;
    loop {
        let second = host.status(SUBJECT).restarts > 0;
        if !subject.ask_within(ARRIVAL, what, host, recording).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        positive += 1;
        match second {
            true => return (positive, Came::Back),
            false if positive == SEVERAL => return (positive, Came::ThroughIt),
            false => {}
        }
    }
}
