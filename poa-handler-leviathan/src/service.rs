//! One request from its head to its answer.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Method, Request};
use poa_core::HandlerContext;
use poa_http::websocket::{Options, upgrade};
use poa_http::{Body, Received};
use poa_leviathan::docker::Docker;
use poa_leviathan::document::{self, CenDocument, CinDocument};
use poa_leviathan::executor::Recorder;
use poa_leviathan::render::Style;
use poa_leviathan::{CenId, ContainerId, Error, Leviathan, view};
use serde_json::{Value, json};

use crate::access::{Access, chosen_protocol};
use crate::answer::{self, Answer, Outcome, Refusal};
use crate::conversation::hold;
use crate::events::Told;
use crate::monitor::{self, Watching};
use crate::page::{self, Page, Shown};
use crate::route::{Action, Network, Route};

/// The state that all requests share.
pub(crate) struct Service {
    pub(crate) cx: HandlerContext,
    pub(crate) leviathan: Leviathan,
    pub(crate) access: Access,
    /// The host in memory, when nothing is changed.
    pub(crate) recorder: Option<Recorder>,
    /// When changes are messages: how far they were told.
    pub(crate) told: Option<Told>,
    pub(crate) docker: Option<Arc<Docker>>,
    pub(crate) page: Page,
}

/// The largest frame that a monitor takes.
const MAX_FRAME: usize = 64 << 10;

impl Service {
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        if let Some(answer) = self.page.answer(&request) {
            return answer;
        }
        let mut answer = self.route(request).await;
        answer::share(&mut answer);
        answer
    }

    async fn route(&self, request: Request<Body>) -> Answer {
        let Some(route) = Route::of(request.uri().path()) else {
            return answer::negative(&Refusal::NotFound);
        };
        // A page asks before it may send its token.
        if request.method() == Method::OPTIONS {
            return answer::options(route.allow(), self.access.needs_token());
        }
        if let Err(denied) = self.access.check(request.headers()) {
            return answer::negative(&Refusal::Denied(denied));
        }
        if route == Route::Monitor {
            return self.monitor(request);
        }
        match self.handle(route, request).await {
            Ok(outcome) => answer::positive(outcome),
            Err(refusal) => answer::negative(&refusal),
        }
    }

    async fn handle(&self, route: Route, request: Request<Body>) -> Result<Outcome, Refusal> {
        if !route.allows(request.method()) {
            // The original has no such path.
            let absent = matches!(route, Route::Cin(_)) && request.method() == Method::POST;
            return Err(if absent {
                Refusal::NotFound
            } else {
                Refusal::MethodNotAllowed(route.allow())
            });
        }
        if route.is_resource() && !accepts_json(request.headers()) {
            return Err(Refusal::NotAcceptable);
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.show(&route).map(Outcome::Document);
        }
        // What was told before is waited for as well: a client that asks again gets no positive answer for a change that is not told.
        let outcome = self.change(route, request).await?;
        if let Some(told) = &self.told {
            let last = *self.leviathan.told().borrow();
            told.wait_for(last).await.map_err(Refusal::EventsUnavailable)?;
        }
        Ok(outcome)
    }

    fn show(&self, route: &Route) -> Result<Value, Refusal> {
        let (model, missing) = (self.leviathan.model(), self.leviathan.missing());
        Ok(match route {
            Route::Cens => view::cens(&model, &missing),
            Route::Cins => view::cins(&model),
            Route::Cen(id) => view::cen(&model, &missing, id)?,
            Route::Cin(id) => view::cin(&model, id)?,
            Route::Container { host, container } => {
                self.leviathan.check_host(host)?;
                view::container(&model, host, container)?
            }
            _ => return Err(Refusal::NotFound),
        })
    }

    async fn change(&self, route: Route, request: Request<Body>) -> Result<Outcome, Refusal> {
        let deletes = request.method() == Method::DELETE;
        match route {
            Route::Action(network, action) => self.act(network, action, request).await,
            Route::Cpool => {
                let body = self.read(request).await?;
                self.leviathan.start_pools(document::pools(&body)?).await?;
                Ok(Outcome::Done)
            }
            Route::Switch => self.switch(request).await,
            Route::Cin(id) => {
                self.leviathan.delete_cin(&id).await?;
                Ok(Outcome::Done)
            }
            Route::Cen(id) if deletes => {
                self.leviathan.delete_cen(&id).await?;
                Ok(Outcome::Done)
            }
            Route::Cen(id) => {
                self.read_json(request).await?;
                self.leviathan.put_cen(CenId::new(id)?).await?;
                Ok(Outcome::Document(json!(true)))
            }
            Route::Container { host, container } => {
                self.container(&host, &container, request).await
            }
            Route::Member { host, container, cen } => {
                self.leviathan.check_host(&host)?;
                self.member(&container, &cen, request).await
            }
            _ => Err(Refusal::NotFound),
        }
    }

    async fn switch(&self, request: Request<Body>) -> Result<Outcome, Refusal> {
        let body = self.read(request).await?;
        let switches = document::switches(&body)?;
        let Some(docker) = self.docker.clone() else {
            let why = "switches are containers of Docker; set `resolver = \"docker\"`";
            return Err(Refusal::NotImplemented(why));
        };
        // On a task of its own: a client that leaves must not leave containers behind.
        let starting = tokio::spawn(async move { docker.start_switches(&switches).await });
        let started = starting.await;
        let ids = started.map_err(|error| Error::internal(format!("a task ended: {error}")))??;
        Ok(Outcome::Document(json!(ids)))
    }

    async fn member(
        &self,
        container: &str,
        cen: &str,
        request: Request<Body>,
    ) -> Result<Outcome, Refusal> {
        if request.method() == Method::DELETE {
            self.leviathan.delete_member(cen, container).await?;
            return Ok(Outcome::Done);
        }
        self.read_json(request).await?;
        let container = ContainerId::new(container)?;
        self.leviathan.put_member(CenId::new(cen)?, container).await?;
        Ok(Outcome::Document(json!(true)))
    }

    async fn container(
        &self,
        host: &str,
        container: &str,
        request: Request<Body>,
    ) -> Result<Outcome, Refusal> {
        self.leviathan.check_host(host)?;
        if request.method() == Method::DELETE {
            self.leviathan.delete_container(container).await?;
            return Ok(Outcome::Done);
        }
        let body = self.read_json(request).await?;
        let tag = document::tag(&body)?;
        self.leviathan.put_container(ContainerId::new(container)?, tag).await?;
        Ok(Outcome::Document(json!(true)))
    }

    async fn act(
        &self,
        network: Network,
        action: Action,
        request: Request<Body>,
    ) -> Result<Outcome, Refusal> {
        let waits = waits(request.uri().query());
        let body = self.read(request).await?;
        let leviathan = &self.leviathan;
        let ids = || document::id_list(&body);
        let job = match (network, action) {
            (Network::Cen, Action::Import) => {
                leviathan.import_cens(CenDocument::parse(&body)?).await?;
                return Ok(Outcome::Done);
            }
            (Network::Cin, Action::Import) => {
                leviathan.import_cins(CinDocument::parse(&body)?).await?;
                return Ok(Outcome::Done);
            }
            (Network::Cen, Action::Make) => leviathan.make_cens(&ids()?).await?,
            (Network::Cen, Action::Destroy) => leviathan.destroy_cens(&ids()?).await?,
            (Network::Cin, Action::Make) => leviathan.make_cins(&ids()?).await?,
            (Network::Cin, Action::Destroy) => leviathan.destroy_cins(&ids()?).await?,
        };
        if !waits {
            return Ok(Outcome::Done);
        }
        let mut report = job.wait().await.to_json();
        if let (Some(recorder), Some(report)) = (&self.recorder, report.as_object_mut()) {
            report.insert("commands".to_owned(), json!(commands(recorder)));
        }
        Ok(Outcome::Document(report))
    }

    fn monitor(&self, mut request: Request<Body>) -> Answer {
        let options = Options::default().max_message(MAX_FRAME).memory(self.cx.memory().clone());
        let protocol = chosen_protocol(request.headers());
        let (leviathan, shutdown) = (self.leviathan.clone(), self.cx.shutdown().clone());
        let is_page = page::is_asked_for(request.headers());
        let session = move |socket| async move {
            if is_page {
                hold(socket, Shown::new(leviathan.clone()), leviathan, shutdown).await;
            } else {
                hold(socket, Watching::new(leviathan.clone()), leviathan, shutdown).await;
            }
        };
        match upgrade(&mut request, &options, session) {
            Ok(switching) => {
                let mut answer = switching.map(|()| http_body_util::Full::default());
                if let Some(protocol) = protocol {
                    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
                }
                answer
            }
            Err(refused) => monitor::refused(refused),
        }
    }

    async fn read(&self, request: Request<Body>) -> Result<Received, Refusal> {
        Ok(request.into_body().read(self.cx.memory()).await?)
    }

    /// A body that may be absent, and is JSON otherwise.
    async fn read_json(&self, request: Request<Body>) -> Result<Received, Refusal> {
        let is_json = request.headers().get(CONTENT_TYPE).is_some_and(is_json);
        let body = self.read(request).await?;
        if body.is_empty() || is_json { Ok(body) } else { Err(Refusal::UnsupportedMediaType) }
    }
}

fn commands(recorder: &Recorder) -> Vec<String> {
    let style = Style::original("");
    recorder.take().iter().flat_map(|operation| style.commands(operation)).collect()
}

fn waits(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair == "wait=true")
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether `Accept` lets JSON through (RFC 9110, section 12.5.1).
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers
        .get_all(ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    ranges.peek().is_none() || ranges.any(lets_json_through)
}

fn lets_json_through(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let refused = parts.any(|part| {
        part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
    });
    !refused
        && ["application/json", "application/*", "*/*"].iter().any(|k| kind.eq_ignore_ascii_case(k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_counts() {
        let accepts = |value: &'static str| {
            accepts_json(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]))
        };
        assert!(accepts_json(&HeaderMap::new()));
        for good in ["*/*", "application/json", "text/html, application/*;q=0.5", ""] {
            assert!(accepts(good), "{good}");
        }
        for bad in ["text/html", "application/json;q=0", "application/jsonp"] {
            assert!(!accepts(bad), "{bad}");
        }
    }
}
