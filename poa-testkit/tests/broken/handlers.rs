//! Handlers that are called through memory, and violate one rule.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use poa_core::{
    AgentId, CustomHandler, Draft, Format, HandlerContext, HandlerFactory, Payload, PluginError,
    ReceiptError, Refused, async_trait,
};
use poa_testkit::{HandlerContract, handler_contract};
use tokio::sync::{mpsc, oneshot};

use crate::verdict;

/// The violated rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// None.
    None,
    /// The answer does not wait for the receipt.
    AnswersEarly,
    /// It waits, and ignores the result of the receipt.
    AlwaysYes,
    /// A message that the host refuses is answered like any other.
    YesWhenRefused,
    /// A message whose receipt was dropped is answered like any other.
    YesWhenStopped,
    /// The answer is always negative.
    AlwaysNo,
    /// A message that is not delivered gets no answer at all.
    SilentWhenNotDelivered,
    /// Nothing is sent to the receivers.
    SendsNothing,
    /// Everything is sent to them twice.
    SendsTwice,
    /// It ignores the shutdown.
    NeverStops,
    /// A task continues after its end.
    LeavesATask,
    /// A task is spawned before it runs.
    SpawnsWhenBuilt,
    /// A resource that it needs to run exists only once.
    RunsOnce,
}

/// A request, and the channel for its answer.
type Question = oneshot::Sender<bool>;
/// Gives the client access to the running instance.
type Door = Arc<Mutex<Option<mpsc::Sender<Question>>>>;

struct Line {
    flaw: Flaw,
    questions: mpsc::Receiver<Question>,
    /// Whether this host has run an instance before.
    ran: bool,
}

#[async_trait]
impl CustomHandler for Line {
    async fn run(&mut self, cx: HandlerContext) -> Result<(), PluginError> {
        if self.flaw == Flaw::RunsOnce && self.ran {
            return Err(PluginError::new("its resource is gone"));
        }
        if self.flaw == Flaw::LeavesATask {
            tokio::spawn(std::future::pending::<()>());
        }
        loop {
            let question = tokio::select! {
                () = cx.shutdown().cancelled(), if self.flaw != Flaw::NeverStops => return Ok(()),
                question = self.questions.recv() => question.unwrap(),
            };
            self.answer(question, &cx).await;
        }
    }

    fn endpoints(&self) -> Vec<String> {
        vec!["memory".to_owned()]
    }
}

/// The outcome of a message.
type Sent = Result<Result<(), ReceiptError>, Refused>;

impl Line {
    async fn answer(&self, question: Question, cx: &HandlerContext) {
        if self.flaw == Flaw::AnswersEarly {
            question.send(true).ok();
            send(cx).await.ok();
            return;
        }
        let sent = match self.flaw {
            Flaw::SendsNothing => Ok(Ok(())),
            Flaw::SendsTwice => {
                send(cx).await.ok();
                send(cx).await
            }
            Flaw::YesWhenStopped => tokio::select! {
                sent = send(cx) => sent,
                () = cx.shutdown().cancelled() => Ok(Ok(())),
            },
            _ => send(cx).await,
        };
        let yes = match (self.flaw, &sent) {
            (Flaw::AlwaysNo, _) => false,
            (Flaw::AlwaysYes, Ok(_)) => true,
            (Flaw::YesWhenRefused, Err(_)) => true,
            (Flaw::SilentWhenNotDelivered, Ok(Err(_))) => std::future::pending().await,
            _ => matches!(sent, Ok(Ok(()))),
        };
        question.send(yes).ok();
    }
}

async fn send(cx: &HandlerContext) -> Sent {
    let data_type = cx.data_types().get("system_metrics").unwrap().clone();
    let payload = Payload::new(Format::Json, "{}".to_owned().into());
    let draft = Draft::new(AgentId::new("pump-7").unwrap(), data_type, payload);
    Ok(cx.send_to_receivers(draft)?.await)
}

/// A factory of handlers with this flaw, and the door through which they are spoken to.
fn line(flaw: Flaw) -> (Door, HandlerFactory) {
    let door = Door::default();
    let (of_handler, hosts) = (door.clone(), Mutex::new(HashSet::new()));
    let factory: HandlerFactory = Arc::new(move |cx| {
        if flaw == Flaw::SpawnsWhenBuilt {
            tokio::spawn(std::future::pending::<()>());
        }
        let ran = !hosts.lock().unwrap().insert(cx.data_dir().to_owned());
        // Like one that binds a port: clients can connect before it runs.
        let (door, questions) = mpsc::channel(1);
        *of_handler.lock().unwrap() = Some(door);
        let handler = Line { flaw, questions, ran };
        Box::pin(async move { Ok(Box::new(handler) as Box<dyn CustomHandler>) })
    });
    (door, factory)
}

fn verdict_on(flaw: Flaw) -> Option<String> {
    let (door, factory) = line(flaw);
    verdict(handler_contract(factory, async |_| ask(&door).await.unwrap_or(false)))
}

/// The client only knows whether it has sent something.
fn verdict_one_way(flaw: Flaw) -> Option<String> {
    let (door, factory) = line(flaw);
    let client = async |_: &[String]| ask(&door).await.is_some();
    verdict(async { HandlerContract::new(factory, client).one_way().check().await })
}

/// `None` when no answer arrives.
async fn ask(door: &Door) -> Option<bool> {
    let handler = door.lock().unwrap().clone()?;
    let (question, answer) = oneshot::channel();
    handler.send(question).await.ok()?;
    answer.await.ok()
}

#[track_caller]
fn assert_found(flaw: Flaw, wanted: &str) {
    let text = verdict_on(flaw).unwrap_or_else(|| panic!("{flaw:?} was not found"));
    assert!(text.contains(wanted), "{flaw:?}: `{wanted}` is not in\n{text}");
}

#[test]
fn a_handler_without_a_flaw_honours_the_contract() {
    assert_eq!(verdict_on(Flaw::None), None);
}

#[test]
fn handlers_with_wrong_positive_answers() {
    let early = "a message that no receiver can deliver: the answer is positive all the same; it has to wait for the receipt";
    assert_found(Flaw::AnswersEarly, early);
    assert_found(Flaw::AlwaysYes, early);
    assert_found(
        Flaw::YesWhenRefused,
        "a message that the host refuses, because a backlog is full: the answer is positive all the same",
    );
    assert_found(
        Flaw::YesWhenStopped,
        "a stop before it is known whether the message is delivered: the answer is positive",
    );
    assert_found(
        Flaw::SendsNothing,
        "a message that is delivered: 1 positive answers, 0 messages delivered",
    );
}

#[test]
fn handlers_that_send_too_much() {
    assert_found(
        Flaw::SendsTwice,
        "a message that is delivered: 1 positive answers, 2 messages delivered",
    );
}

#[test]
fn handlers_without_positive_or_any_answers() {
    assert_found(Flaw::AlwaysNo, "a stop: the answer is not positive before it");
    assert_found(
        Flaw::SilentWhenNotDelivered,
        "a message that no receiver can deliver: the client got no answer within 30s",
    );
}

#[test]
fn handlers_that_do_not_end() {
    assert_found(Flaw::NeverStops, "a stop: the handler did not stop when it was told to");
    assert_found(Flaw::LeavesATask, "a stop: 1 tasks are left 30s later");
    assert_found(Flaw::SpawnsWhenBuilt, "built twice, and never run: 2 tasks are left 30s later");
}

#[test]
fn handlers_that_do_not_restart() {
    assert_found(Flaw::RunsOnce, "Dropped after 1 polls: it does not serve again within 30s");
}

#[test]
fn a_handler_without_answers_is_judged_by_what_arrives() {
    assert_eq!(verdict_one_way(Flaw::None), None);
    // Whatever it answers, the client cannot hear it.
    assert_eq!(verdict_one_way(Flaw::AlwaysNo), None);
    let lost = verdict_one_way(Flaw::SendsNothing).unwrap();
    assert!(lost.contains("a stop: the message does not arrive before it"), "{lost}");
    let doubled = verdict_one_way(Flaw::SendsTwice).unwrap();
    assert!(doubled.contains("1 positive answers, 2 messages delivered"), "{doubled}");
}
