use std::borrow::Cow;
use std::net::IpAddr;

use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use poa_core::auth::Authenticator as _;
use poa_core::config::Secret;
use poa_core::{AgentId, MemoryBudget, Timestamp};
use poa_http::{Body, Encoding, Received};
use poa_protocol::{
    Field, FieldValue, Format, Limits, Refusal, decode_fields, decode_known_fields,
};
use serde::Serialize;

use super::answer::{Answer, Refused, no_content, ok, success};
use super::credentials::Basic;
use super::route::{Route, Task};
use crate::{Auth, NewUser, Role, User, audit};

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

#[derive(Serialize)]
struct ListedToken<'a> {
    id: &'a str,
    user: &'a str,
    created_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

impl<'a> From<&'a crate::Token> for ListedToken<'a> {
    fn from(token: &'a crate::Token) -> Self {
        let crate::Token { id, user, issued_at, expires_at, address } = token;
        Self { id, user, created_at: *issued_at, expires_at: *expires_at, address: *address }
    }
}

/// The admin who asks for something, and where from.
struct Admin {
    name: String,
    from: IpAddr,
}

impl Admin {
    /// Logs a change that this admin made.
    fn did(&self, change: &str, user: &str) {
        audit::by_admin(&self.name, self.from, change, user);
    }
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
                let role =
                    self.auth.authenticate_admin(basic.user(), basic.password(), from).await?;
                if role == Role::Read && !task.only_reads() {
                    return Err(read_only(basic.user()));
                }
                let admin = Admin { name: basic.user().to_owned(), from };
                self.administer(request, task, &admin).await
            }
        }
    }

    async fn administer(
        &self,
        request: Request<Body>,
        task: Task,
        admin: &Admin,
    ) -> Result<Answer, Refused> {
        match task {
            Task::AddUser => self.add_user(request, admin).await,
            Task::ListUsers => self.list_users().await,
            Task::DeleteUser(name) => self.delete_user(name, admin).await,
            Task::ChangeUser(name) => self.change_user(request, name, admin).await,
            Task::BanUser => self.ban_user(request, admin).await,
            Task::BanToken => self.ban_token(request, admin).await,
            Task::ListTokens(of) => self.list_tokens(of).await,
            Task::RevokeTokens(name) => self.revoke_tokens(name, admin).await,
            Task::RevokeToken(id) => self.revoke_token(&id, admin).await,
        }
    }

    /// The fields that agents send about themselves are not used here; they only have to be
    /// well-formed.
    async fn session(&self, request: Request<Body>, token: String) -> Result<Answer, Refused> {
        self.fields(request, [], |[]| Ok(())).await?;
        Ok(ok(&Token { token }))
    }

    async fn add_user(&self, request: Request<Body>, admin: &Admin) -> Result<Answer, Refused> {
        let names = ["user-name", "password", "agent-id"];
        let user = self.fields(request, names, new_user).await?;
        let made = self.auth.add_user(user).await?;
        admin.did("user added", &made.user);
        Ok(ok(&Added { user_name: &made.user, password: made.password.expose() }))
    }

    async fn list_users(&self) -> Result<Answer, Refused> {
        let users = self.auth.users().await?;
        Ok(ok(&users.iter().map(Listed::from).collect::<Vec<_>>()))
    }

    async fn delete_user(&self, name: Option<String>, admin: &Admin) -> Result<Answer, Refused> {
        let name = existing(name)?;
        self.auth.delete_user(&name).await?;
        admin.did("user removed", &name);
        Ok(no_content())
    }

    async fn change_user(
        &self,
        request: Request<Body>,
        name: Option<String>,
        admin: &Admin,
    ) -> Result<Answer, Refused> {
        let (format, body) = self.body(request).await?;
        let names = ["active", "password"];
        let fields = decode_known_fields(format, &body, &Limits::default(), names)?;
        let Changes { active, password } = Changes::read(fields)?;
        let name = existing(name)?;
        if let Some(password) = password {
            self.auth.set_password(&name, &password).await?;
            admin.did("password changed", &name);
        }
        if let Some(active) = active {
            self.auth.set_active(&name, active).await?;
            admin.did(if active { "user unbanned" } else { "user banned" }, &name);
        }
        Ok(no_content())
    }

    async fn ban_user(&self, request: Request<Body>, admin: &Admin) -> Result<Answer, Refused> {
        let name = self.fields(request, ["user"], text).await?;
        self.auth.set_active(&name, false).await?;
        admin.did("user banned", &name);
        Ok(success())
    }

    async fn ban_token(&self, request: Request<Body>, admin: &Admin) -> Result<Answer, Refused> {
        let token = self.fields(request, ["token"], text).await?;
        let user = self.auth.ban_token(&token).await?;
        admin.did("token revoked", &user);
        Ok(success())
    }

    async fn list_tokens(&self, of: Option<Option<String>>) -> Result<Answer, Refused> {
        let user = of.map(existing).transpose()?;
        let tokens = self.auth.tokens(user.as_deref()).await?;
        Ok(ok(&tokens.iter().map(ListedToken::from).collect::<Vec<_>>()))
    }

    async fn revoke_tokens(&self, name: Option<String>, admin: &Admin) -> Result<Answer, Refused> {
        let name = existing(name)?;
        self.auth.revoke_tokens(&name).await?;
        admin.did("all tokens revoked", &name);
        Ok(no_content())
    }

    async fn revoke_token(&self, id: &str, admin: &Admin) -> Result<Answer, Refused> {
        let user = self.auth.revoke_token(id).await?;
        admin.did("token revoked", &user);
        Ok(no_content())
    }

    /// Reads the body, and these of its fields.
    async fn fields<const N: usize, T>(
        &self,
        request: Request<Body>,
        names: [&'static str; N],
        read: impl FnOnce([Field<'_>; N]) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let (format, body) = self.body(request).await?;
        read(decode_fields(format, &body, &Limits::default(), names)?)
    }

    async fn body(&self, request: Request<Body>) -> Result<(Format, Received), Refused> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        let format = Format::from_content_type(content_type)?;
        let encoding = Encoding::of(request.headers())
            .map_err(|unsupported| Refusal::unsupported_encoding(&unsupported.0))?;
        Ok((format, request.into_body().read_as(encoding, &self.memory).await?))
    }
}

/// The changes that a PATCH asks for: at least one.
struct Changes {
    active: Option<bool>,
    password: Option<Secret>,
}

impl Changes {
    fn read([active, password]: [Field<'_>; 2]) -> Result<Self, Refusal> {
        let password = password.optional_text()?.map(Secret::new);
        let active = match (&active.value, &password) {
            (FieldValue::Missing, Some(_)) => None,
            _ => Some(active.flag()?),
        };
        Ok(Self { active, password })
    }
}

fn read_only(admin: &str) -> Refused {
    let message = format!("admin `{admin}` has the role `read` and may not change anything");
    Refused::Other { status: StatusCode::FORBIDDEN, code: "read_only", message }
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
