//! Who may do what over HTTP, by the bearer token, before anything of a body is read.
//!
//! | request | whose token |
//! |---|---|
//! | GET `/-/healthy`, `/-/ready` | nobody's |
//! | GET `/metrics` | nobody's; with what names senders, as for deliveries |
//! | remote write | one of the role `write` |
//! | `/-/flush`, `/api/v1/deliveries` | one of the role `operate` |
//! | anything else | any |
//!
//! A write with an unknown token is answered as [`UnknownTokens`] says: a receiver whose tokens file comes after its senders
//! must not answer 401, for they would drop their samples.
//!
//! Without a tokens file everybody may do everything, but for web pages ([`web_page`]). And on a connection that has only a
//! slot for a probe, nothing but a probe is answered.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use promarchive_api::tokens_file::{Holder, Role, Roles};
use promarchive_api::{ENTRY_HEADER, UnknownTokens};

use super::connection::Progress;
use super::deliveries::{self, Source};
use super::http::{App, RETRY_AFTER_S, WriteTarget, answer_early, is_write, later, line};
use super::metrics::SenderLabel;
use super::slots::Purpose;
use super::web_page;

/// Of a refused request without a token, so much is read and thrown away, so that its sender sees the answer.
const DISCARD_UNKNOWN_BYTES: u64 = 1 << 20;

/// The connection that a request came on; with every request.
#[derive(Clone)]
pub(super) struct Peer {
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// What it may be used for.
    pub(super) purpose: Purpose,
    /// How far it has come.
    pub(super) progress: Progress,
}

/// Lets a request through, with its [`Source`], or answers it.
pub(super) async fn authorize<T: WriteTarget>(
    State(app): State<Arc<App<T>>>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_probe(&request) {
        return next.run(request).await;
    }
    if request.extensions().get::<Peer>().is_some_and(|peer| peer.purpose == Purpose::Probe) {
        return answer_early(request, DISCARD_UNKNOWN_BYTES, later(ALL_IN_USE, RETRY_AFTER_S));
    }
    let Some(tokens) = &app.tokens else {
        if let Some(fault) = web_page::fault(request.uri(), request.headers(), app.address) {
            return answer_early(request, DISCARD_UNKNOWN_BYTES, line(StatusCode::FORBIDDEN, &fault));
        }
        let_in(&mut request, Holder::anybody());
        return next.run(request).await;
    };
    let tokens = tokens.current();
    let holder = bearer(request.headers()).and_then(|token| tokens.holder(token));
    if is_metrics(&request) {
        if let Some(holder) = holder.filter(|holder| holder.roles.contains(Role::Operate)) {
            let_in(&mut request, holder.clone());
        }
        return next.run(request).await;
    }
    let Some(holder) = holder else {
        app.metrics.unknown_token_requests.inc();
        let answer = unknown(&request, app.settings.unknown_tokens);
        return answer_early(request, DISCARD_UNKNOWN_BYTES, answer);
    };
    let response = match needed(request.uri().path()) {
        Some(role) if !holder.roles.contains(role) => {
            answer_early(request, DISCARD_UNKNOWN_BYTES, lacks(role, holder.roles))
        }
        _ => {
            let_in(&mut request, holder.clone());
            next.run(request).await
        }
    };
    let label = SenderLabel { sender: holder.name.to_string(), code: response.status().as_u16() };
    app.metrics.sender_requests.get_or_create(&label).inc();
    response
}

const ALL_IN_USE: &str = "too many connections from this address, or too many connections in total; more connections are only accepted for \
     probes";

/// Notes whose request it is, and that its connection is no stranger's any more.
fn let_in(request: &mut Request, holder: Holder) {
    let source = source(request, holder);
    if let Some(peer) = request.extensions().get::<Peer>() {
        peer.progress.set_known();
    }
    request.extensions_mut().insert(source);
}

/// Whether it only asks how things are.
fn is_probe(request: &Request) -> bool {
    is_read(request) && matches!(request.uri().path(), "/-/healthy" | "/-/ready")
}

fn is_metrics(request: &Request) -> bool {
    is_read(request) && request.uri().path() == "/metrics"
}

fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The role that a path is for.
fn needed(path: &str) -> Option<Role> {
    match path {
        path if is_write(path) => Some(Role::Write),
        "/-/flush" | "/api/v1/deliveries" => Some(Role::Operate),
        _ => None,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn unknown(request: &Request, policy: UnknownTokens) -> Response {
    if policy == UnknownTokens::Retry && request.method() == Method::POST && is_write(request.uri().path()) {
        let reason = "the bearer token of this request is unknown: add its SHA-256 to the receiver's tokens file, which is \
             read every 2 s";
        return later(reason, RETRY_AFTER_S);
    }
    let response = line(StatusCode::UNAUTHORIZED, "the request needs a valid bearer token");
    ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], response).into_response()
}

fn lacks(role: Role, has: Roles) -> Response {
    let message = format!(
        "this request needs a token with the role {role}, but the token has {has}: use a token with the role {role}, \
         or change the token's line in the receiver's tokens file to \"NAME SHA256 {}\"",
        has.with(role)
    );
    line(StatusCode::FORBIDDEN, &message)
}

fn source(request: &Request, holder: Holder) -> Source {
    let entry = request.headers().get(ENTRY_HEADER).map(|value| deliveries::entry(value.as_bytes()));
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address);
    Source { holder, entry: entry.unwrap_or_default(), address: peer }
}
