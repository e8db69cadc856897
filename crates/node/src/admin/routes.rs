//! From a request to its handler: path, role, body.

use super::api::{
    ApiError, Approve, DigestReply, Done, ErrorKind, Extension, JoinRequest, NewMaintenance, NewSwitchover, NewToken, NewVolume,
    Reason,
};
use super::api::{ApproveChange, FenceWish, NewProposal, PassedDrill, SetHold, SetVolume};
use super::{change, fence, http, join, losses, membership, policy, quarantine, scrape, switchover, verify, view};
use crate::pki::{Identity, Role};
use crate::shell::App;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use mainstay_cluster::Actor;
use mainstay_protocol::Position;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

type Answer = Result<Reply, ApiError>;

enum Reply {
    Json(Vec<u8>),
    Text(StatusCode, String),
    Binary(Vec<u8>),
}

/// A request taken apart.
struct Ask<'a> {
    app: &'a Arc<App>,
    who: Option<&'a Identity>,
    query: Vec<(String, String)>,
    body: Bytes,
}

pub async fn answer(app: &Arc<App>, who: Option<&Identity>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let what = format!("{} {}", request.method(), request.uri().path());
    let (status, kind, body) = match route(app, who, request).await {
        Ok(Reply::Json(body)) => (StatusCode::OK, "application/json", body),
        Ok(Reply::Binary(body)) => (StatusCode::OK, "application/octet-stream", body),
        Ok(Reply::Text(status, text)) => (status, "text/plain; version=0.0.4", text.into_bytes()),
        Err(error) => {
            let by = who.map_or("nobody", Identity::name);
            tracing::info!(request = what, by, kind = ?error.error, message = error.message, "refused an admin request");
            (status_of(error.error), "application/json", serde_json::to_vec(&error).unwrap_or_default())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}

fn status_of(error: ErrorKind) -> StatusCode {
    match error {
        ErrorKind::Refused => StatusCode::CONFLICT,
        ErrorKind::Input => StatusCode::BAD_REQUEST,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Elsewhere => StatusCode::MISDIRECTED_REQUEST,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unknown => StatusCode::GATEWAY_TIMEOUT,
    }
}

async fn route(app: &Arc<App>, who: Option<&Identity>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let segments: Vec<String> = head.uri.path().split('/').filter(|part| !part.is_empty()).map(unescape).collect();
    let query = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (unescape(name), unescape(value))).collect();
    let body = Limited::new(body, http::REQUEST_BYTES_MAX).collect().await;
    let body = body.map_err(|error| ApiError::input(format!("the request's body: {error}")))?.to_bytes();
    let ask = Ask { app, who, query, body };
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match head.method {
        Method::GET => ask.get(&path).await,
        Method::POST => ask.post(&path).await,
        _ => Err(ApiError::not_found("only GET and POST are answered here")),
    }
}

impl Ask<'_> {
    async fn get(&self, path: &[&str]) -> Answer {
        match path {
            ["healthz"] => return Ok(health(self.app)),
            ["metrics"] => return Ok(Reply::Text(StatusCode::OK, scrape::text(self.app).await)),
            _ => {}
        }
        self.need(Role::Viewer)?;
        let state = self.app.state();
        match path {
            ["v1", "status"] => json(&view::cluster_status(self.app).await),
            ["v1", "local"] => json(&view::local_status(self.app).await),
            ["v1", "volumes"] => json(&view::volumes(&state)),
            ["v1", "volumes", name] => json(&view::volume(&state, name)?),
            ["v1", "volumes", name, "digest"] => json(&self.digest(name)?),
            ["v1", "volumes", name, "held"] => json(&losses::held(self.app, name, Position(number(self.text("after")?)?)).await?),
            ["v1", "proposals"] => json(&view::proposals(&state)),
            ["v1", "proposals", id] => json(&view::proposal(&state, number(id)?)?),
            ["v1", "explain", "promote"] => json(&view::explain(self.app, self.text("node")?, self.text("volume")?).await?),
            ["v1", "explain", "resync"] => json(&view::explain_resync(self.app, self.text("node")?, self.text("volume")?).await?),
            ["v1", "explain", "demote"] => json(&view::explain_demote(&state, self.text("node")?, self.text("volume")?)?),
            ["v1", "explain", "maintenance"] => json(&view::explain_maintenance(&state, self.text("node")?)?),
            ["v1", "maintenance"] => json(&view::maintenance(&state)),
            ["v1", "changes"] => json(&policy::changes(&state)),
            ["v1", "people", "revoked"] => json(&view::revoked(&state)),
            ["v1", "events"] => {
                let wait = Duration::from_millis(number(self.text("wait_ms").unwrap_or("0"))?).min(super::EVENTS_WAIT_MAX);
                json(&view::events(self.app, number(self.text("after").unwrap_or("0"))?, wait).await)
            }
            ["v1", "quarantine"] => json(&quarantine::list(self.app).await?),
            ["v1", "quarantine", id, "records"] => {
                json(&quarantine::records(self.app, id, number(self.text("from").unwrap_or("0"))?).await?)
            }
            ["v1", "quarantine", id, "record"] => {
                // What is in the files, not only which there are.
                self.need(Role::Operator)?;
                Ok(Reply::Binary(quarantine::record(self.app, id, number(self.text("at")?)?).await?))
            }
            _ => Err(ApiError::not_found("there is nothing here; see `mainstay help`")),
        }
    }

    async fn post(&self, path: &[&str]) -> Answer {
        match path {
            ["v1", "join"] => json(&join::admit(self.app, &self.parse::<JoinRequest>()?).await?),
            ["v1", "tokens"] => json(&join::mint(self.app, self.person(Role::Admin)?, &self.parse::<NewToken>()?).await?),
            ["v1", "volumes"] => {
                json(&change::create_volume(self.app, self.person(Role::Admin)?, &self.parse::<NewVolume>()?).await?)
            }
            ["v1", "volumes", name, "reset-breaker"] => {
                change::reset_breaker(self.app, self.person(Role::Operator)?, name, &self.parse::<Reason>()?).await?;
                json(&Done {})
            }
            ["v1", "volumes", name, "verify"] => {
                // Another node may hand on a person's request to the primary.
                let handed_on = matches!(self.who, Some(Identity::Node { .. }));
                if !handed_on {
                    self.need(Role::Operator)?;
                }
                json(&verify::verify(self.app, name, handed_on).await?)
            }
            ["v1", "proposals", id, "approve"] => {
                let who = self.person(Role::Approver)?;
                json(&change::approve(self.app, who, number(id)?, &self.parse::<Approve>()?).await?)
            }
            ["v1", "proposals", id, "deny"] => {
                let who = self.person(Role::Approver)?;
                json(&change::deny(self.app, who, number(id)?, &self.parse::<Reason>()?).await?)
            }
            ["v1", "maintenance"] => {
                let who = self.person(Role::Operator)?;
                json(&change::begin_maintenance(self.app, who, &self.parse::<NewMaintenance>()?).await?)
            }
            ["v1", "maintenance", id, "extend"] => {
                let who = self.person(Role::Operator)?;
                change::extend_maintenance(self.app, who, number(id)?, self.parse::<Extension>()?).await?;
                json(&Done {})
            }
            ["v1", "volumes", name, "switchover"] => {
                // It makes a primary, so who asks must be one who may approve that.
                let who = self.person(Role::Approver)?;
                json(&switchover::begin(self.app, who, name, &self.parse::<NewSwitchover>()?).await?)
            }
            ["v1", "maintenance", id, "end"] => {
                change::end_maintenance(self.app, self.person(Role::Operator)?, number(id)?).await?;
                json(&Done {})
            }
            ["v1", "quarantine", id, "drop"] => {
                quarantine::remove(self.app, self.person(Role::Admin)?, id, &self.parse::<Reason>()?.reason).await?;
                json(&Done {})
            }
            ["v1", "volumes", name, "paths"] => {
                self.need(Role::Viewer)?;
                json(&quarantine::paths(self.app, name, &self.parse()?).await?)
            }
            ["v1", "volumes", name, "look"] => {
                self.need(Role::Operator)?;
                json(&quarantine::look(self.app, name, &self.parse()?).await?)
            }
            _ => self.post_policy(path).await,
        }
    }

    async fn post_policy(&self, path: &[&str]) -> Answer {
        let app = self.app;
        match path {
            ["v1", "volumes", name, "settings"] => {
                json(&policy::set_volume(app, self.person(Role::Operator)?, name, &self.parse::<SetVolume>()?).await?)
            }
            ["v1", "volumes", name, "propose"] => {
                let new = self.parse::<NewProposal>()?;
                // Who names a loss is the first of the two people who approve it.
                let role = if new.give_up.is_some() { Role::Approver } else { Role::Operator };
                json(&losses::propose(app, self.person(role)?, name, &new).await?)
            }
            ["v1", "volumes", name, "set-aside"] => {
                losses::set_aside(app, self.person(Role::Approver)?, name, &self.parse::<Reason>()?.reason).await?;
                json(&Done {})
            }
            ["v1", "volumes", name, "drill"] => {
                policy::record_drill(app, self.person(Role::Operator)?, name, &self.parse::<PassedDrill>()?).await?;
                json(&Done {})
            }
            ["v1", "hold"] => json(&policy::set_hold(app, self.person(Role::Operator)?, &self.parse::<SetHold>()?).await?),
            ["v1", "changes", id, "approve"] => {
                let who = self.person(Role::Approver)?;
                json(&policy::approve_change(app, who, number(id)?, &self.parse::<ApproveChange>()?).await?)
            }
            // Whoever may approve a promotion, which takes a primary away as well.
            ["v1", "nodes", name, "fence"] => {
                json(&fence::fence(app, self.person(Role::Approver)?, name, &self.parse::<FenceWish>()?).await?)
            }
            ["v1", "changes", id, "deny"] => {
                let who = self.person(Role::Approver)?;
                json(&policy::deny_change(app, who, number(id)?, &self.parse::<Reason>()?).await?)
            }
            _ => self.post_members(path).await,
        }
    }

    async fn post_members(&self, path: &[&str]) -> Answer {
        let app = self.app;
        match path {
            ["v1", "volumes", name, "replicas"] => {
                json(&membership::add_replica(app, self.person(Role::Admin)?, name, &self.parse()?).await?)
            }
            ["v1", "volumes", name, "replicas", node, "remove"] => {
                json(&membership::remove_replica(app, self.person(Role::Admin)?, name, node, &self.parse()?).await?)
            }
            ["v1", "nodes", name, "remove"] => {
                membership::remove_node(app, self.person(Role::Admin)?, name, &self.parse::<Reason>()?.reason).await?;
                json(&Done {})
            }
            ["v1", "people", name, "revoke"] => {
                change::revoke(self.app, self.person(Role::Admin)?, name, &self.parse::<Reason>()?).await?;
                json(&Done {})
            }
            _ => Err(ApiError::not_found("there is nothing here; see `mainstay help`")),
        }
    }

    fn digest(&self, name: &str) -> Result<DigestReply, ApiError> {
        let position = Position(number(self.text("position")?)?);
        let (volume, _) = view::find_volume(&self.app.state(), name)?;
        Ok(DigestReply { digest: self.app.hosts.get(volume).and_then(|host| host.digest(position)) })
    }

    /// Every decision asks for the name once more ([`ClusterState::not_revoked`]): this node may not know of it yet.
    fn need(&self, role: Role) -> Result<&Identity, ApiError> {
        let refuse = |message: String| Err(ApiError::new(ErrorKind::Forbidden, message));
        if let Some(Identity::Person { name, .. }) = self.who
            && let Err(revoked) = self.app.state().not_revoked(&Actor::Person(name.clone()))
        {
            return refuse(format!("{revoked}. {}", revoked.clears()));
        }
        match self.who {
            Some(who) if who.may(role) => Ok(who),
            Some(who) => refuse(format!("{} has not the role {role}, which this needs", who.name())),
            None => refuse("this needs a certificate of the cluster; give --config with the admin credentials".into()),
        }
    }

    fn person(&self, role: Role) -> Result<&str, ApiError> {
        match self.need(role)? {
            Identity::Person { name, .. } => Ok(name),
            Identity::Node { name, .. } => Err(ApiError::new(ErrorKind::Forbidden, format!("{name} is a node; a person must ask"))),
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| ApiError::input(format!("the request's body: {error}")))
    }

    fn text(&self, name: &str) -> Result<&str, ApiError> {
        let found = self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| ApiError::input(format!("the query lacks {name}")))
    }
}

fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::input(format!("{text:?} is not a number")))
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value).map(Reply::Json).map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))
}

/// Healthy means that this process can do its part, not that it is a primary.
fn health(app: &App) -> Reply {
    match app.raft.health().failed {
        None => Reply::Text(StatusCode::OK, "ok\n".into()),
        Some(reason) => Reply::Text(StatusCode::SERVICE_UNAVAILABLE, format!("coordination failed: {reason}\n")),
    }
}

/// Undoes percent-encoding; what is not valid stays as it is and matches nothing.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded = (*first == b'%').then(|| crate::hex::decode(std::str::from_utf8(tail.get(..2)?).ok()?)?.first().copied());
        match decoded.flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_encoding() {
        for text in ["files", "a/b c", "ü%", "%4", "%zz"] {
            assert_eq!(unescape(&super::super::client::escape(text)), text);
        }
        assert_eq!(unescape("%4"), "%4");
    }
}
