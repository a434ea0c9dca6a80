//! The receiver is asked who has delivered what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kube::api::DynamicObject;
use promarchive_api::MOST_DELIVERIES;
use promarchive_api::metrics_archive::TlsMode;
use serde_json::{Value, json};

use crate::archive::context::Context;
use crate::archive::credentials::{Authority, OperatorToken};
use crate::archive::receiver_client::{Answer, Endpoint, MARKS_OF_A_SHORT_ANSWER, ReceiverError};
use crate::archive::validate::Archive;
use crate::archive::{LookError, build, secrets};
use crate::kubernetes::drift::difference;
use crate::names::{ArchiveName, PrometheusName};
use crate::senders::delivery::Pod;
use crate::senders::pods;

/// How the receiver may be reached, what proves more first: while a token or the authority changes, the receiver may know the new one
/// already or not. The operator shows its token only to a Service that leads to the receiver's pods.
pub(super) async fn endpoints(
    context: &Context,
    archive: &Archive,
    service: &DynamicObject,
) -> Result<Vec<Endpoint>, LookError> {
    let spec = service.data.get("spec").unwrap_or(&Value::Null);
    if difference(&json!({"spec": build::leads_to_receiver(archive)}), &json!({ "spec": spec })).is_some() {
        return Ok(Vec::new());
    }
    let own = secrets::data(&context.caches, &archive.id.namespace).await?;
    let address = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    let (Some(address), Some(operator)) = (address, OperatorToken::read(&archive.id, &own)) else {
        return Ok(Vec::new());
    };
    let roots = match archive.receiver.tls {
        TlsMode::Disabled => vec![None],
        TlsMode::SelfSigned => {
            let authority = Authority::read(&archive.id, &own);
            authority.map(|authority| authority.roots()).unwrap_or_default().into_iter().map(Some).collect()
        }
    };
    let with = |ca: Option<String>, token: &str| Endpoint {
        archive: archive.id.clone(),
        address,
        ca,
        token: token.to_owned(),
    };
    let (Some(newest), Some(surest)) = (roots.first(), roots.last()) else {
        return Ok(Vec::new());
    };
    let mut all = vec![
        with(newest.clone(), operator.next.as_deref().unwrap_or(&operator.token)),
        with(surest.clone(), &operator.token),
    ];
    all.dedup();
    Ok(all)
}

/// What a receiver answered, and the pods of its senders, which were listed afterwards: who is in the answer is among them.
pub(super) struct Asked {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) answer: Option<Result<Answer, ReceiverError>>,
    pub(super) pods: BTreeMap<PrometheusName, Vec<Pod>>,
}

/// Asks the receiver for so many marks as the pods of `namespaces` can have. How many these are is known for sure only afterwards: then
/// it is asked again.
pub(super) async fn ask_all(
    context: &Context,
    archive: &ArchiveName,
    endpoints: &[Endpoint],
    may_answer: bool,
    namespaces: &BTreeSet<&str>,
) -> Result<Asked, LookError> {
    let mut most = context.marks.said(archive).unwrap_or(MARKS_OF_A_SHORT_ANSWER);
    loop {
        let (endpoint, answer) = ask(context, endpoints, may_answer, most).await;
        let mut pods = BTreeMap::new();
        for namespace in namespaces {
            let listed = pods::list(&context.caches, namespace, &mut pods).await;
            listed.map_err(|source| LookError::Request { what: "list the pods of a Prometheus", source })?;
        }
        let enough = marks_of(pods.values().map(Vec::len).sum());
        let is_cut = matches!(&answer, Some(Ok(answer)) if answer.deliveries.deliveries.len() >= most);
        context.marks.renew(archive.clone(), enough);
        if !is_cut || enough <= most {
            return Ok(Asked { endpoint, answer, pods });
        }
        most = enough;
    }
}

/// Two entries and two tokens while both change, and as much again of pods that have been replaced.
const MARKS_OF_A_POD: usize = 8;

/// How many marks so many pods can have.
fn marks_of(pods: usize) -> usize {
    (pods * MARKS_OF_A_POD).clamp(MARKS_OF_A_SHORT_ANSWER, MOST_DELIVERIES)
}

/// Asks the receiver, if it `may_answer`, by one of `endpoints` after the other until it answers.
async fn ask(
    context: &Context,
    endpoints: &[Endpoint],
    may_answer: bool,
    most: usize,
) -> (Option<Endpoint>, Option<Result<Answer, ReceiverError>>) {
    if !may_answer {
        return (endpoints.last().cloned(), None);
    }
    let mut asked = (None, None);
    for endpoint in endpoints {
        let answer = context.receivers.deliveries(endpoint, most).await;
        let is_good = answer.is_ok();
        asked = (Some(endpoint.clone()), Some(answer));
        if is_good {
            break;
        }
    }
    asked
}
