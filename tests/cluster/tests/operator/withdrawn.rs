//! Consent that is taken back while the archive is not in order: entries and tokens go at once all the same.

use serde_json::{Value, json};

use crate::Case;
use crate::consent::{configured, nothing_is_left, senders};
use crate::place::{Place, foreign};
use crate::suite::{Suite, always};

pub(crate) const CASES: &[Case] = &[
    ("withdrawn::while_paused", while_paused),
    ("withdrawn::while_invalid", while_invalid),
    ("withdrawn::while_it_drains", while_it_drains),
];

/// An archive that has the samples of `main` of its own namespace and of another, which consents.
fn pair<'a>(suite: &'a Suite, name: &str, drain: &str) -> (Place<'a>, Place<'a>, Value) {
    let (home, theirs) = (Place::new(suite, name), Place::new(suite, &format!("{name}-theirs")));
    theirs.prometheus("main", Some(json!([foreign("a")])));
    theirs.consent(Some(&format!("{name}/lab")));
    home.prometheus("main", None);
    let items = json!([{"id": "main", "name": "main", "namespaces": [name, theirs.namespace], "drainTimeout": drain}]);
    home.archive("lab", items.clone());
    configured(&theirs);
    home.entry("main", "lab");
    home.condition("lab", "ReceiverAvailable", "True", "Available");
    (home, theirs, items)
}

/// What was given by others than the one who took it back stays.
#[track_caller]
fn the_rest_stays(home: &Place) {
    let sender = format!("Prometheus/{}/main", home.namespace);
    always("the archive's own namespace is as it was", 1, || {
        match (home.entries("main", "lab").len(), senders(home, "lab"), home.secret_keys().len()) {
            (1, senders, keys) if senders == [sender.clone()] && keys > 5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn while_paused(suite: &Suite) {
    let (home, theirs, items) = pair(suite, "withdrawn-paused", "5s");
    home.archive_with("lab", json!({"prometheuses": items, "paused": true}));
    home.condition("lab", "Ready", "Unknown", "Paused");
    theirs.consent(None);
    nothing_is_left(&home, &theirs);
    home.condition("lab", "Ready", "Unknown", "Paused");
    the_rest_stays(&home);
    // It is paused all the same: what is given again comes with its end.
    theirs.consent(Some("withdrawn-paused/lab"));
    always("nothing is given while it is paused", 2, || match theirs.list("main") {
        list if list == [foreign("a")] => Ok(()),
        list => Err(format!("{list:?}")),
    });
    home.archive_with("lab", json!({"prometheuses": items, "paused": false}));
    configured(&theirs);
}

fn while_invalid(suite: &Suite) {
    let (home, theirs, items) = pair(suite, "withdrawn-invalid", "5s");
    // Nothing in the definition says so.
    let receiver = json!({"resources": {"limits": {"memory": "64Mi"}}});
    home.archive_with("lab", json!({"prometheuses": items, "receiver": receiver}));
    home.condition("lab", "Ready", "False", "InvalidSpec");
    theirs.consent(None);
    nothing_is_left(&home, &theirs);
    home.condition("lab", "Ready", "False", "InvalidSpec");
    the_rest_stays(&home);
}

fn while_it_drains(suite: &Suite) {
    let (home, theirs, _) = pair(suite, "withdrawn-end", "10m");
    // They have not sent everything, and are waited for.
    home.silent_pod("main");
    theirs.silent_pod("main");
    suite.api.delete("metricsarchives", "withdrawn-end", "lab");
    home.condition("lab", "Ready", "False", "Deleting");
    configured(&theirs);
    theirs.consent(None);
    nothing_is_left(&home, &theirs);
    home.condition("lab", "Ready", "False", "Deleting");
    the_rest_stays(&home);
}
