use kube::api::DynamicObject;
use promarchive_api::metrics_archive::PrometheusKind;
use serde_json::{Value, json};

use super::*;
use crate::archive::receiver_client::ReceiverError;
use crate::archive::validate::validate;
use crate::names::ArchiveName;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn prometheus(name: &str, state: PrometheusState) -> PrometheusFinding {
    PrometheusFinding {
        kind: PrometheusKind::Prometheus,
        namespace: "monitoring".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        entry: None,
        state,
        message: "do something".to_owned(),
    }
}

fn answer() -> promarchive_api::Deliveries {
    crate::senders::delivery::of_marks(0, 0, vec![])
}

fn findings(prometheuses: Vec<PrometheusFinding>) -> Findings {
    Findings {
        generation: Some(3),
        blocked: None,
        storage: Finding::good(Reason::Reachable, ""),
        receiver: Finding::good(Reason::Available, ""),
        configured: configured(&prometheuses, &[], &[]),
        receiving: receiving(&prometheuses, Some(Ok(&answer()))),
        store: Some("pvc/lab-archive".to_owned()),
        prometheuses,
    }
}

fn of(status: &MetricsArchiveStatus, type_: ConditionType) -> Option<(ConditionStatus, Reason)> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| (condition.status, condition.reason))
}

#[test]
fn all_is_well_and_nothing_moves() {
    let found = findings(vec![prometheus("a", PrometheusState::Receiving)]);
    let first = status(&MetricsArchiveStatus::default(), &found, at(100));
    assert_eq!(of(&first, ConditionType::Ready), Some((ConditionStatus::True, Reason::AllWell)));
    assert_eq!(of(&first, ConditionType::Reconciling), None);
    assert_eq!(first.summary.as_deref(), Some("1/1"));
    assert_eq!(status(&first, &found, at(200)), first);
}

#[test]
fn times_change_with_the_status_and_not_with_the_message() {
    let first = status(
        &MetricsArchiveStatus::default(),
        &findings(vec![prometheus("a", PrometheusState::WaitingForSamples)]),
        at(100),
    );
    assert_eq!(of(&first, ConditionType::Receiving), Some((ConditionStatus::False, Reason::WaitingForSamples)));
    assert_eq!(of(&first, ConditionType::Reconciling), Some((ConditionStatus::True, Reason::WaitingForSamples)));
    let second = status(&first, &findings(vec![prometheus("a", PrometheusState::Overdue)]), at(200));
    assert_eq!(of(&second, ConditionType::Receiving), Some((ConditionStatus::False, Reason::SamplesOverdue)));
    let time = |status: &MetricsArchiveStatus, type_| {
        status.conditions.iter().find(|one| one.type_ == type_).unwrap().last_transition_time.0
    };
    assert_eq!(time(&second, ConditionType::Receiving), at(100));
    assert_eq!(second.prometheuses[0].since.0, at(200));
    let third = status(&second, &findings(vec![prometheus("a", PrometheusState::Receiving)]), at(300));
    assert_eq!(time(&third, ConditionType::Receiving), at(300));
    assert_eq!(time(&third, ConditionType::StorageReachable), at(100));
}

fn object(status: Value) -> DynamicObject {
    DynamicObject { types: None, metadata: Default::default(), data: json!({ "status": status }) }
}

/// The pod's readiness is that of all its containers.
#[test]
fn the_receiver_is_available_by_its_own_answer_and_not_by_its_pod() {
    let id = ArchiveName::new("monitoring", "lab");
    let volume = Volume { claim: None, refusal: None, is_mounted: true };
    let says = |reason: &str| promarchive_api::Deliveries {
        ready: reason.is_empty(),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        ..answer()
    };
    let silent = ReceiverError::Unreachable { host: "lab".to_owned(), reason: "connection refused".to_owned() };
    let (ready, starting, broken) =
        (says(""), says("the receiver is starting"), says("cannot start yet: no such directory"));
    for (available, answer, wanted) in [
        (1, Some(Ok(&ready)), Reason::Available),
        (0, Some(Ok(&ready)), Reason::Available),
        (1, Some(Ok(&starting)), Reason::PodNotReady),
        (0, Some(Ok(&broken)), Reason::PodNotReady),
        (1, Some(Err(&silent)), Reason::ReceiverNotAnswering),
        (0, Some(Err(&silent)), Reason::PodNotReady),
        (1, None, Reason::Progressing),
        (0, None, Reason::PodNotReady),
    ] {
        let deployment = object(json!({"updatedReplicas": 1, "availableReplicas": available}));
        assert!(has_pod(&deployment));
        let storage = Finding::good(Reason::Reachable, "");
        let found = receiver(&id, Some(&deployment), volume, &storage, &Faults::default(), answer);
        assert_eq!(found.reason, wanted, "{available} {answer:?}");
        let is_available = found.status == ConditionStatus::True;
        assert_eq!(is_available, wanted == Reason::Available, "{found:?}");
        // Nothing else may be concluded from what a receiver says that takes no samples.
        let sends = [prometheus("a", PrometheusState::Receiving)];
        assert_eq!(receiving(&sends, answer).status == ConditionStatus::True, is_available, "{answer:?}");
    }
    assert!(!has_pod(&object(json!({"updatedReplicas": 0, "replicas": 1}))));
}

#[test]
fn a_receiver_that_starts_does_not_say_that_its_storage_is_unusable() {
    let claim = object(json!({"phase": "Bound"}));
    let volume = Volume { claim: Some(&claim), refusal: None, is_mounted: true };
    let archive = json!({
        "apiVersion": "promarchive.dev/v1alpha1", "kind": "MetricsArchive",
        "metadata": {"name": "lab", "namespace": "team", "uid": "u"},
        "spec": {"storage": {"persistentVolume": {"size": "10Gi"}}},
    });
    let archive = validate(&serde_json::from_value(archive).unwrap()).unwrap();
    for (reason, wanted) in [
        ("the receiver is starting", Reason::Progressing),
        ("the receiver is stopping", Reason::Progressing),
        ("cannot start yet: no such directory", Reason::ArchiveUnusable),
    ] {
        let said = promarchive_api::Deliveries { ready: false, reason: Some(reason.to_owned()), ..answer() };
        assert_eq!(storage(&archive, volume, Some(Ok(&said))).reason, wanted, "{reason}");
    }
}

#[test]
fn an_archive_without_a_prometheus_is_ready_and_says_so() {
    let status = status(&MetricsArchiveStatus::default(), &findings(vec![]), at(1));
    assert_eq!(of(&status, ConditionType::Ready), Some((ConditionStatus::True, Reason::NoPrometheusSelected)));
    assert_eq!(of(&status, ConditionType::Receiving), Some((ConditionStatus::Unknown, Reason::NoPrometheusSelected)));
    assert_eq!(status.summary.as_deref(), Some("0/0"));
}

#[test]
fn what_only_a_person_can_mend_is_stalled() {
    let found =
        findings(vec![prometheus("a", PrometheusState::Receiving), prometheus("b", PrometheusState::PatchDenied)]);
    let status = status(&MetricsArchiveStatus::default(), &found, at(1));
    assert_eq!(of(&status, ConditionType::Ready), Some((ConditionStatus::False, Reason::NotConfigured)));
    assert_eq!(of(&status, ConditionType::Stalled), Some((ConditionStatus::True, Reason::NotConfigured)));
    assert_eq!(of(&status, ConditionType::Reconciling), None);
    assert_eq!(status.prometheuses[0].name, "b", "those with a fault come first");
    assert_eq!(status.summary.as_deref(), Some("1/2"));
}

#[test]
fn a_wrong_spec_is_stalled_and_nothing_else_is_claimed() {
    let found = Findings::only(Some(4), Finding::bad(Reason::InvalidSpec, "x".repeat(5000)));
    let status = status(&MetricsArchiveStatus::default(), &found, at(1));
    assert_eq!(of(&status, ConditionType::Stalled), Some((ConditionStatus::True, Reason::InvalidSpec)));
    assert_eq!(of(&status, ConditionType::Receiving).map(|(status, _)| status), Some(ConditionStatus::Unknown));
    assert!(status.conditions.iter().all(|condition| condition.message.len() <= 1024));
}

#[test]
fn the_status_is_bounded() {
    let many = (0..500).map(|n| {
        prometheus(
            &format!("p{n:03}"),
            if n == 499 { PrometheusState::PatchDenied } else { PrometheusState::Receiving },
        )
    });
    let status = status(&MetricsArchiveStatus::default(), &findings(many.collect()), at(1));
    assert_eq!(status.prometheuses.len(), 100);
    assert_eq!(status.prometheuses[0].name, "p499");
    assert_eq!(status.matched, Some(500));
}
