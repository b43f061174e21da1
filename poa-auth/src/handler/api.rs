use std::borrow::Cow;

use http::Request;
use http::header::CONTENT_TYPE;
use poa_core::auth::Authenticator as _;
use poa_core::config::Secret;
use poa_core::{AgentId, MemoryBudget, Timestamp};
use poa_http::{Body, Encoding};
use poa_protocol::{Field, Format, Limits, Refusal, decode_fields};
use serde::Serialize;

use super::answer::{Answer, Refused, no_content, ok, success};
use super::credentials::Basic;
use super::route::{Route, Task};
use crate::{Auth, NewUser, User};

/// Answers requests.
#[derive(Clone)]
pub(super) struct Api {
    auth: Auth,
    memory: MemoryBudget,
}

#[derive(Serialize)]
struct Token {
    token: String,
}

#[derive(Serialize)]
struct Added<'a> {
    #[serde(rename = "user-name")]
    user_name: &'a str,
    password: &'a str,
}

#[derive(Serialize)]
struct Listed<'a> {
    user: &'a str,
    created_at: Timestamp,
    active: bool,
}

impl<'a> From<&'a User> for Listed<'a> {
    fn from(user: &'a User) -> Self {
        Self { user: &user.name, created_at: user.created_at, active: user.active }
    }
}

impl Api {
    pub(super) fn new(auth: Auth, memory: MemoryBudget) -> Self {
        Self { auth, memory }
    }

    pub(super) async fn answer(&self, request: Request<Body>) -> Answer {
        self.call(request).await.unwrap_or_else(Refused::into_answer)
    }

    /// Checks path, method and credentials, in this order, before the body is read.
    async fn call(&self, request: Request<Body>) -> Result<Answer, Refused> {
        let route = Route::find(request.method(), request.uri().path())?;
        let basic = Basic::read(request.headers()).ok_or(Refusal::Unauthorized)?;
        let from = request.body().peer().ip();
        match route {
            Route::Session => {
                let token =
                    self.auth.login_from(basic.user(), basic.password(), Some(from)).await?;
                self.session(request, token).await
            }
            Route::Admin(task) => {
                self.auth.authenticate_admin(basic.user(), basic.password(), from).await?;
                self.administer(request, task).await
            }
        }
    }

    async fn administer(&self, request: Request<Body>, task: Task) -> Result<Answer, Refused> {
        match task {
            Task::AddUser => self.add_user(request).await,
            Task::ListUsers => self.list_users().await,
            Task::DeleteUser(name) => self.delete_user(name).await,
            Task::ChangeUser(name) => self.change_user(request, name).await,
            Task::BanUser => self.ban_user(request).await,
            Task::BanToken => self.ban_token(request).await,
        }
    }

    /// The fields that agents send about themselves are not used here; they only have to be
    /// well-formed.
    async fn session(&self, request: Request<Body>, token: String) -> Result<Answer, Refused> {
        self.fields(request, [], |[]| Ok(())).await?;
        Ok(ok(&Token { token }))
    }

    async fn add_user(&self, request: Request<Body>) -> Result<Answer, Refused> {
        let names = ["user-name", "password", "agent-id"];
        let user = self.fields(request, names, new_user).await?;
        let made = self.auth.add_user(user).await?;
        Ok(ok(&Added { user_name: &made.user, password: made.password.expose() }))
    }

    async fn list_users(&self) -> Result<Answer, Refused> {
        let users = self.auth.users().await?;
        Ok(ok(&users.iter().map(Listed::from).collect::<Vec<_>>()))
    }

    async fn delete_user(&self, name: Option<String>) -> Result<Answer, Refused> {
        self.auth.delete_user(&existing(name)?).await?;
        Ok(no_content())
    }

    async fn change_user(
        &self,
        request: Request<Body>,
        name: Option<String>,
    ) -> Result<Answer, Refused> {
        let active = self.fields(request, ["active"], |[active]| Ok(active.flag()?)).await?;
        self.auth.set_active(&existing(name)?, active).await?;
        Ok(no_content())
    }

    async fn ban_user(&self, request: Request<Body>) -> Result<Answer, Refused> {
        let name = self.fields(request, ["user"], text).await?;
        self.auth.set_active(&name, false).await?;
        Ok(success())
    }

    async fn ban_token(&self, request: Request<Body>) -> Result<Answer, Refused> {
        let token = self.fields(request, ["token"], text).await?;
        self.auth.ban_token(&token).await?;
        Ok(success())
    }

    /// Reads the body, and these of its fields.
    async fn fields<const N: usize, T>(
        &self,
        request: Request<Body>,
        names: [&'static str; N],
        read: impl FnOnce([Field<'_>; N]) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        let format = Format::from_content_type(content_type)?;
        let encoding = Encoding::of(request.headers())
            .map_err(|unsupported| Refusal::unsupported_encoding(&unsupported.0))?;
        let body = request.into_body().read_as(encoding, &self.memory).await?;
        read(decode_fields(format, &body, &Limits::default(), names)?)
    }
}

fn existing(name: Option<String>) -> Result<String, Refusal> {
    name.ok_or(Refusal::NotFound { what: "user" })
}

fn text([field]: [Field<'_>; 1]) -> Result<String, Refused> {
    Ok(field.text()?.into_owned())
}

fn new_user([name, password, agent]: [Field<'_>; 3]) -> Result<NewUser, Refused> {
    let agent = agent.optional_text()?.map(Cow::into_owned);
    Ok(NewUser {
        name: name.optional_text()?.map(Cow::into_owned),
        password: password.optional_text()?.map(Secret::new),
        agent: agent.map(AgentId::new).transpose()?,
    })
}
