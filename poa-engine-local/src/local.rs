//! The common part of both local engines: the state, and the log behind it if there is one.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use poa_core::engine::{
    Acks, BusSettings, Drafts, MessageIds, Receipt, Refused, SendError, SubscriptionRequest,
    TypeSet, Unrouted,
};
use poa_core::{Ack, Activity, Backlog, BuildContext, Draft, MessageId, Timestamp};
use tokio::sync::Notify;

use crate::cursors::Cursor;
use crate::disk::LogReaders;
use crate::handle::Handle;
use crate::keys::Seen;
use crate::pending::Pending;
use crate::promise::{Repeated, Taken};
use crate::records::{Records, Unfinished};
use crate::shed::Shed;
use crate::state::{Past, Stage, State};
use crate::subscriber::Terms;

/// The bus from handlers to receivers on one machine.
pub(crate) struct Local {
    pub(crate) state: Mutex<State>,
    /// Notified when the writer of the log has something to do.
    pub(crate) work: Condvar,
    pub(crate) log: Option<LogReaders>,
    settings: BusSettings,
    /// Notified when something was confirmed, so that there may be room.
    room: Notify,
}

impl Local {
    /// An engine in memory only.
    pub(crate) fn in_memory(cx: &BuildContext) -> Arc<Self> {
        let past = Past::none(cx.bus().keys);
        let state = State::new(cx.data_types().clone(), 0, None, past);
        Self::of(state, None, cx)
    }

    /// An engine on a log that ends here. It accepts nothing before [`open`](Self::open).
    pub(crate) fn on_log(cx: &BuildContext, log: LogReaders, end: u64, past: Past) -> Arc<Self> {
        let pending = Some(Pending::default());
        Self::of(State::new(cx.data_types().clone(), end, pending, past), Some(log), cx)
    }

    fn of(state: State, log: Option<LogReaders>, cx: &BuildContext) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            log,
            settings: cx.bus().clone(),
            room: Notify::new(),
        })
    }

    /// Adds a subscriber, or changes the one of the same name.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        request: &SubscriptionRequest,
        backlog: Backlog,
        left: Option<Cursor>,
    ) -> Handle {
        let shed = Shed::new(backlog.when_full, request.counts.skipped.clone());
        let mut state = self.state.lock();
        let lanes = state.tail.lanes(request.types);
        let (place, generation) = state.subscribe(Terms::new(request, backlog, lanes), shed, left);
        drop(state);
        Handle::new(self.clone(), place, generation, request.counts.clone())
    }

    /// Accepts messages from now on.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        state.stage = state.stage.max(Stage::Open);
    }

    /// Accepts all of these messages, or none of them.
    pub(crate) fn publish(&self, messages: Drafts) -> Result<Receipt, SendError> {
        let now = Timestamp::now();
        let mut records = match &self.log {
            Some(_) => Records::of(messages.as_slice()),
            None => Records::default(),
        };
        let mut state = self.state.lock();
        state.accept_changes();
        if let Err(reason) = self.admit(&state, messages.as_slice(), now) {
            drop(state);
            return Err(SendError::new(reason, messages));
        }
        let mark = state.mark();
        let mut taken = Taken::default();
        let ids = self.take_all(&mut state, messages, &mut records, now, &mut taken);
        let receipt = state.promise(&taken, ids, mark);
        let garbage = self.after_accept(&mut state);
        drop(state);
        drop(garbage);
        Ok(match taken.ack {
            Ack::Delivered => receipt.within(self.acks().delivered_within()),
            _ => receipt,
        })
    }

    /// Whether these messages may be accepted.
    fn admit(&self, state: &State, drafts: &[Draft], now: Timestamp) -> Result<(), Refused> {
        self.check_routes(state, drafts)?;
        state.admit(drafts, now)
    }

    fn acks(&self) -> &Acks {
        &self.settings.acks
    }

    /// Refuses messages that no receiver subscribes to, unless that is allowed.
    fn check_routes(&self, state: &State, drafts: &[Draft]) -> Result<(), Refused> {
        if self.settings.unrouted == Unrouted::Allow {
            return Ok(());
        }
        match drafts.iter().find(|draft| !state.is_subscribed(draft.data_type())) {
            Some(draft) => Err(Refused::NobodySubscribed(draft.data_type().name().into())),
            None => Ok(()),
        }
    }

    fn take_all(
        &self,
        state: &mut State,
        messages: Drafts,
        records: &mut Records,
        now: Timestamp,
        taken: &mut Taken,
    ) -> MessageIds {
        if messages.as_slice().len() == 1 {
            let mut id = None;
            messages.for_each(|draft| id = self.take(state, draft, records.next(), now, taken));
            return id.into();
        }
        let mut ids = Vec::with_capacity(messages.as_slice().len());
        messages.for_each(|draft| ids.push(self.take(state, draft, records.next(), now, taken)));
        ids.into()
    }

    /// Accepts a message, unless no receiver subscribes to it or it is a duplicate. Returns its id.
    fn take(
        &self,
        state: &mut State,
        draft: Draft,
        record: Option<Unfinished<'_>>,
        now: Timestamp,
        taken: &mut Taken,
    ) -> Option<MessageId> {
        if !state.is_subscribed(draft.data_type()) {
            self.settings.counts.unrouted.inc();
            return None;
        }
        taken.ack = taken.ack.max(self.acks().of(draft.data_type()));
        match draft.idempotency_key() {
            Some(key) if state.keys.seen(key) != Seen::Never => {
                self.settings.counts.repeated.inc();
                let types: TypeSet = std::iter::once(draft.data_type()).collect();
                taken.repeated.push(Repeated { key, types });
                state.keys.id_of(key)
            }
            _ => {
                taken.routed.insert(draft.data_type());
                Some(state.accept_message(draft, now, record))
            }
        }
    }

    /// Tells every subscriber that an agent changed its state.
    pub(crate) fn publish_activity(&self, change: Activity) {
        let mut state = self.state.lock();
        state.accept_change(change);
        let garbage = self.after_accept(&mut state);
        drop(state);
        drop(garbage);
    }

    fn after_accept(&self, state: &mut State) -> crate::state::Garbage {
        if self.log.is_none() {
            return state.wake_subscribers();
        }
        if state.is_writer_wanted() {
            self.work.notify_one();
        }
        Vec::new()
    }

    /// Accepts nothing more. Subscribers get the rest, then the end.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.accept_changes();
        state.stage = state.stage.max(Stage::Closing);
        if self.log.is_some() {
            self.work.notify_one();
        } else {
            state.close();
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// All subscribers have ended: nothing more will be confirmed.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.stage = Stage::Finished;
        self.work.notify_one();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().stage == Stage::Open
    }

    pub(crate) fn has_room(&self) {
        self.room.notify_waiters();
    }

    /// Returns when something was confirmed.
    pub(crate) async fn room(&self) {
        // A confirmation between the refusal and this call is noticed soon.
        let soon = std::time::Duration::from_millis(50);
        let _ = tokio::time::timeout(soon, self.room.notified()).await;
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("log", &self.log.is_some()).finish_non_exhaustive()
    }
}
