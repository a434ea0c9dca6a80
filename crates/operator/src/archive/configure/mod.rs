//! The entries in the Prometheus objects: what each one needs (pure), and the patch (IO).

mod leaving;
mod situation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
pub(crate) use leaving::{carried, is_retired, kept, leaving};
use promarchive_api::metrics_archive::{Mode, PrometheusState, Reason};
use tracing::warn;

use crate::archive::chosen::Sender;
use crate::archive::context::Context;
use crate::archive::dereference::Found;
use crate::archive::status::PrometheusFinding;
use crate::archive::validate::Archive;
use crate::kubernetes::cache::Source;
use crate::names::{EntryName, PrometheusName};
use crate::process::failpoint::FailPoint;
use crate::senders::delivery;
use crate::senders::entry::{self, Capabilities, Entry, Plan};
use crate::senders::patch::Outcome;
use crate::senders::prometheus::Prometheus;

/// Shards of one queue, which fill a request in 5 s at most, are not further apart.
const SHARDS_APART: Duration = Duration::from_secs(10);

/// What a sender's object is to have of this archive.
enum Wish {
    Entry(Box<Entry>),
    /// None; what is there goes when nothing can be lost.
    Nothing,
    /// As it is: not ours to change.
    Leave(PrometheusState, String),
    /// As it is, for the settings are refused. Only what this Prometheus surely does not load goes.
    Refused(String),
}

pub(crate) fn name_of(sender: &Sender<'_>) -> PrometheusName {
    sender.prometheus.full_name()
}

/// What a Prometheus and the definition of its kind understand.
fn capabilities(context: &Context, prometheus: &Prometheus) -> Capabilities {
    let definition = context.caches.definition(Source::Prometheus(prometheus.kind));
    let definition = definition.as_ref().map(|definition| &definition.data);
    Capabilities::of(prometheus.kind, prometheus.spec(), definition)
}

/// The entry that `archive` wants in a Prometheus.
fn entry_for(context: &Context, archive: &Archive, sender: &Sender<'_>) -> Option<Result<Entry, String>> {
    let selection = sender.selection?;
    let capabilities = capabilities(context, &sender.prometheus);
    let entry = Entry::new(&archive.id, archive.receiver.tls, &selection.remote_write, &name_of(sender), &capabilities);
    Some(entry.map_err(|refused| format!("spec.prometheuses[{}].{refused}", selection.id)))
}

fn wish(context: &Context, archive: &Archive, sender: &Sender<'_>) -> Wish {
    let Some(entry) = entry_for(context, archive, sender) else { return Wish::Nothing };
    let patches = sender.selection.is_none_or(|selection| selection.mode == Mode::Patch);
    if patches && sender.prometheus.belongs_to_openshift() {
        let message = "OpenShift's cluster monitoring owns this object and reverts every change: set mode Manual and add the \
             entry in the ConfigMap cluster-monitoring-config";
        return Wish::Leave(PrometheusState::OwnedByOpenShift, message.to_owned());
    }
    match (entry, sender.selection.map(|selection| selection.mode)) {
        (Err(fault), Some(Mode::Manual)) => Wish::Leave(PrometheusState::PatchDenied, fault),
        (Err(fault), _) => Wish::Refused(fault),
        (Ok(_), Some(Mode::Manual)) => {
            let message = format!("add the entry from the ConfigMap {} to spec.remoteWrite", archive.id.snippet());
            Wish::Leave(PrometheusState::NotPasted, message)
        }
        (Ok(entry), _) => Wish::Entry(Box::new(entry)),
    }
}

/// What became of the archive's own objects, before any Prometheus is patched.
pub(crate) struct Prepared {
    /// Whether the receiver will be there soon, as far as can be told: all its objects are applied, and its claim is bound or new.
    pub is_receiver_coming: bool,
    /// Namespaces whose Secret could not be written.
    pub without_secret: BTreeSet<String>,
}

/// What is so of each Prometheus after its patch.
pub(crate) struct Configured {
    /// Each of them.
    pub prometheuses: Vec<PrometheusFinding>,
    /// Whether a patch did not get through.
    pub again: bool,
}

/// Patches what needs it, and says of each Prometheus what is so.
pub(crate) async fn configure(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
    prepared: &Prepared,
) -> Configured {
    let mut configured = Configured { prometheuses: Vec::new(), again: false };
    for sender in &found.senders {
        let (outcome, again) = configure_one(context, archive, object, found, prepared, sender).await;
        let (state, message, entry) = outcome;
        configured.again |= again;
        let Prometheus { kind, namespace, name, .. } = &sender.prometheus;
        configured.prometheuses.push(PrometheusFinding {
            kind: *kind,
            namespace: namespace.clone(),
            name: name.clone(),
            uid: sender.prometheus.uid(),
            entry: entry.map(|entry| entry.to_string()),
            state,
            message,
        });
    }
    configured
}

type Said = (PrometheusState, String, Option<EntryName>);

async fn configure_one(
    context: &Context,
    archive: &Archive,
    object: &DynamicObject,
    found: &Found<'_>,
    prepared: &Prepared,
    sender: &Sender<'_>,
) -> (Said, bool) {
    let prometheus = &sender.prometheus;
    let present =
        entry::names(prometheus.remote_write().unwrap_or_default()).find(|name| name.archive() == &archive.id);
    if prometheus.is_deleting() {
        let message = "the object is being deleted; it sends until its pods have ended".to_owned();
        return ((PrometheusState::Deleting, message, present), false);
    }
    let wish = wish(context, archive, sender);
    let planned = plan(context, archive, found, sender, &wish, prometheus);
    if let Some((state, message)) = obstacle(found, prepared, sender, &wish, &planned, present.is_some()) {
        return ((state, message, present), false);
    }
    if matches!(&wish, Wish::Nothing) && !planned.operations.is_empty() {
        let since = before(context.draining.begin((archive.id.clone(), name_of(sender))));
        drain_event(context, object, found, sender, present.as_ref(), since).await;
    }
    let points = [FailPoint::BeforePatch, FailPoint::AfterPatch];
    let replan = |now: &Prometheus| plan(context, archive, found, sender, &wish, now);
    match context.patcher.patch(&archive.id, prometheus, points, replan).await {
        Outcome::Refused(message) => ((PrometheusState::PatchDenied, message, present), false),
        Outcome::Again => {
            ((PrometheusState::WaitingForSamples, "the entry is being changed".to_owned(), present), true)
        }
        Outcome::Done => (situation::describe(archive, found, sender, &wish, planned, present), false),
    }
}

/// Why nothing is changed now, though something is to be.
fn obstacle(
    found: &Found<'_>,
    prepared: &Prepared,
    sender: &Sender<'_>,
    wish: &Wish,
    plan: &Plan,
    has_another: bool,
) -> Option<(PrometheusState, String)> {
    let Wish::Entry(_) = wish else { return None };
    if let Some(name) = plan.duplicate_names.first() {
        let message = format!(
            "two entries in spec.remoteWrite have the name \"{name}\", so Prometheus does not load its configuration: \
             rename one of them"
        );
        return Some((PrometheusState::DuplicateNames, message));
    }
    if plan.operations.is_empty() {
        return None;
    }
    if prepared.without_secret.contains(&sender.prometheus.namespace) {
        let message = "cannot write the Secret promarchive-remote-write in the namespace of this object: delete the Secret if \
             it is immutable or was not created by the operator";
        return Some((PrometheusState::PatchDenied, message.to_owned()));
    }
    if !may_begin(found, prepared, has_another) {
        return Some((
            PrometheusState::WaitingForReceiver,
            "the entry is added when the receiver is available".to_owned(),
        ));
    }
    None
}

/// Says what may be missing when an entry goes out before everything came by it.
pub(crate) async fn drain_event(
    context: &Context,
    object: &DynamicObject,
    found: &Found<'_>,
    sender: &Sender<'_>,
    entry: Option<&EntryName>,
    since: i64,
) {
    let Some(entry) = entry else { return };
    if is_drained(found, sender, entry, since) {
        return;
    }
    let name = name_of(sender);
    let marks = found.deliveries().into_iter().flat_map(|deliveries| &deliveries.deliveries);
    let newest =
        marks.filter(|mark| mark.sender == name.sender() && mark.entry == entry.header()).map(|mark| mark.newest).min();
    let newest = newest.and_then(|newest| Timestamp::from_millisecond(newest).ok());
    let from = newest.map_or("from an unknown time".to_owned(), |newest| format!("from {newest:.0}"));
    let note = format!("{name} had not sent all samples when its entry was removed: samples {from} on may be missing");
    warn!(note);
    context.events.write(object, true, Reason::DrainIncomplete.as_str(), "Remove", note).await;
}

/// Whether an entry may be added. A first one need not wait for a receiver that is on its way: a Prometheus that starts at the same
/// time has it in the first configuration that it loads, and sends again until somebody answers. One that comes a moment later may be
/// overlooked for three minutes (the configuration reloader of Prometheus Operator 0.93 begins to watch after its first reload).
fn may_begin(found: &Found<'_>, prepared: &Prepared, has_another: bool) -> bool {
    found.is_receiver_ready() || (!has_another && prepared.is_receiver_coming)
}

fn plan(
    context: &Context,
    archive: &Archive,
    found: &Found<'_>,
    sender: &Sender<'_>,
    wish: &Wish,
    prometheus: &Prometheus,
) -> Plan {
    let list = prometheus.remote_write().unwrap_or_default();
    let name = name_of(sender);
    let key = (archive.id.clone(), name.clone());
    let make = |wanted: Option<&Entry>, may_retire: &dyn Fn(&EntryName) -> bool| {
        entry::plan(list, &archive.id, &prometheus.namespace, wanted, may_retire)
    };
    if !matches!(wish, Wish::Nothing) {
        context.draining.end(&key);
    }
    // What a Prometheus does not load delivers nothing, and nothing beside it: to wait for it would be to wait for ever.
    let broken = || entry::broken(list, &archive.id, &capabilities(context, prometheus));
    match wish {
        Wish::Entry(entry) => {
            let written = prometheus.written();
            let interval = delivery::scrape_interval(prometheus.scrape_interval());
            let delivered = found.delivered(&name, &name.sender());
            let broken = broken();
            make(Some(entry), &|old| {
                if broken.contains(old) {
                    return true;
                }
                delivered.as_ref().is_some_and(|sender| {
                    delivery::may_retire(old, entry.name(), written, sender, context.overlap, interval).is_yes()
                })
            })
        }
        Wish::Nothing => {
            let waited = context.draining.begin(key);
            let is_over = waited > drain_timeout(archive);
            let since = before(waited);
            make(None, &|old| is_over || is_drained(found, sender, old, since))
        }
        Wish::Refused(_) => {
            let broken = broken();
            make(None, &|old| broken.contains(old))
        }
        Wish::Leave(..) => Plan { operations: Vec::new(), ..make(None, &|_| false) },
    }
}

/// The time that long ago, ms since 1970.
fn before(elapsed: Duration) -> i64 {
    let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    Timestamp::now().as_millisecond().saturating_sub(elapsed)
}

/// The longest of the archive's items: the item that chose a sender may be gone.
pub(crate) fn drain_timeout(archive: &Archive) -> Duration {
    let longest = archive.selections.iter().map(|selection| selection.drain_timeout).max();
    longest.map_or(Duration::from_secs(120), |timeout| timeout.duration())
}

/// Whether everything that `sender` had scraped at `since` (ms since 1970) is here: whether every pod has delivered what it scraped
/// some time later. What is queued when the entry goes may never be sent: the Prometheus Operator takes the authority's certificate
/// out of the pod together with the entry (seen with 0.93), and a queue without it cannot even flush.
pub(crate) fn is_drained(found: &Found<'_>, sender: &Sender<'_>, entry: &EntryName, since: i64) -> bool {
    let name = name_of(sender);
    let interval = delivery::scrape_interval(sender.prometheus.scrape_interval());
    let later = i64::try_from((interval.duration() + SHARDS_APART).as_millis()).unwrap_or(i64::MAX);
    let moment = since.saturating_add(later);
    found
        .delivered(&name, &name.sender())
        .is_some_and(|sender| delivery::delivered_past(entry, moment, &sender, interval).is_yes())
}

/// The entries to paste, by a name that a ConfigMap can have.
pub(crate) fn snippets(context: &Context, archive: &Archive, found: &Found<'_>) -> BTreeMap<String, String> {
    let manual = found
        .senders
        .iter()
        .filter(|sender| sender.is_entitled() && sender.selection.is_some_and(|one| one.mode == Mode::Manual));
    manual
        .filter_map(|sender| {
            let name = name_of(sender);
            let entry = entry_for(context, archive, sender)?.ok()?;
            let file = format!("{}.{}.{}.yaml", name.kind.as_str().to_lowercase(), name.namespace, name.name);
            Some((file, entry::snippet(&entry, &name).ok()?))
        })
        .collect()
}
