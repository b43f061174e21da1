//! Nodes, their services and their slots.

use std::sync::Arc;

use http::{Request, StatusCode};
use poa_gilmour::Kind;
use poa_http::Body;
use serde_json::{Value, json};

use super::{Answer, Api, Refusal, access, done, json_answer, ok};
use crate::definition::{self, Definition, canonical, plural};
use crate::node::Node;

impl Api {
    pub(super) async fn register(&self, request: Request<Body>) -> Result<Answer, Refusal> {
        self.access.check(request.headers())?;
        let body = self.json(request).await?;
        let definition = Definition::read(&body, self.gateway.rules)?;
        let node = self.gateway.register(definition).await?;
        let status = node.status().name();
        Ok(json_answer(StatusCode::CREATED, &json!({"id": node.id, "status": status})))
    }

    pub(super) fn list(&self, request: &Request<Body>) -> Result<Answer, Refusal> {
        self.access.check(request.headers())?;
        let up = self.gateway.engine_is_up();
        let nodes: Vec<_> = self.gateway.all().iter().map(|node| node.summary(up)).collect();
        Ok(ok(&json!({"nodes": nodes})))
    }

    pub(super) fn details(&self, id: &str) -> Result<Answer, Refusal> {
        let node = self.gateway.find(id)?;
        Ok(ok(&node.details(self.gateway.engine_is_up())))
    }

    pub(super) async fn activate(&self, id: &str) -> Result<Answer, Refusal> {
        let node = self.gateway.find(id)?;
        self.gateway.activate(&node).await?;
        Ok(done())
    }

    pub(super) async fn delete(&self, node: Arc<Node>) -> Result<Answer, Refusal> {
        self.gateway.delete(&node).await?;
        Ok(done())
    }

    pub(super) fn entries(&self, node: &Node, kind: Kind) -> Answer {
        ok(&json!({plural(kind): node.definition().entries(kind)}))
    }

    pub(super) async fn add(
        &self,
        node: &Node,
        kind: Kind,
        request: Request<Body>,
    ) -> Result<Answer, Refusal> {
        let body = self.json(request).await?;
        let entries = definition::entries(kind, Some(&body))?;
        if entries.is_empty() {
            return Err(Refusal::bad(&format!(
                "the body names none of the {} to add",
                plural(kind)
            )));
        }
        let gateway = &self.gateway;
        let definition = node.add(&*gateway.engine, kind, &entries, gateway.rules).await?;
        gateway.keep(node, &definition).await?;
        Ok(done())
    }

    pub(super) async fn remove(
        &self,
        node: &Node,
        kind: Kind,
        request: &Request<Body>,
    ) -> Result<Answer, Refusal> {
        let query = request.uri().query().unwrap_or_default();
        let value = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            let found = pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
            found.filter(|value| !value.is_empty())
        };
        let topic = value("topic").ok_or_else(|| {
            Refusal::bad("`topic` is missing; write `?topic=…`, and `&path=…` for one path alone")
        })?;
        let path = value("path").map(|path| canonical("path", &path)).transpose()?;
        let definition = node.remove(kind, &topic, path.as_deref()).await?;
        self.gateway.keep(node, &definition).await?;
        Ok(done())
    }

    /// The node that an old client names in the header.
    pub(super) fn named_by_header(&self, request: &Request<Body>) -> Result<Arc<Node>, Refusal> {
        self.gateway.find(access::node_id(request.headers())?)
    }

    async fn json(&self, request: Request<Body>) -> Result<Value, Refusal> {
        let body = self.read(request).await?;
        serde_json::from_slice(&body).map_err(|error| not_json(&error))
    }
}

pub(super) fn not_json(error: &serde_json::Error) -> Refusal {
    Refusal::bad(&format!("the body is not the JSON that is expected here: {error}"))
}
