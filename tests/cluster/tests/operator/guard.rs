//! An operator whose admission policies are not in force changes nothing, and says so.

use serde_json::json;

use crate::Case;
use crate::place::{PATIENCE, Place, foreign, named};
use crate::process::Operator;
use crate::suite::{ROOT, Suite, always, eventually};

/// They change policies, which all operators share.
pub(crate) const ALONE: &[Case] =
    &[("guard::nothing_is_changed_while_a_policy_is_not_in_force", nothing_is_changed_while_a_policy_is_not_in_force)];

fn nothing_is_changed_while_a_policy_is_not_in_force(suite: &Suite) {
    let place = Place::new(suite, "guard");
    place.prometheus("main", Some(json!([foreign("a")])));
    // As a kustomize overlay with another namespace left it: the policy is about a ServiceAccount that is not there.
    let elsewhere = "request.userInfo.username == 'system:serviceaccount:elsewhere:promarchive-operator'";
    let patch = json!([{"op": "replace", "path": "/spec/matchConditions/0/expression", "value": elsewhere}]);
    let policy = ["patch", "validatingadmissionpolicy", "promarchive-operator-own-objects", "--type=json", "--patch"];
    suite.cluster.kubectl(policy.into_iter().chain([patch.to_string().as_str()])).unwrap();
    let operator = Operator::run(suite, "guarded", &["--admission-check-interval=1s"], None);
    // The API server takes a changed policy up some time after it was written.
    is_not_ready(suite, &operator, "own-objects");
    place.archive("lab", json!([named("main")]));
    eventually("an Event on the archive", PATIENCE, || {
        let events = suite.api.list("events", "guard", "");
        let is_it = |event: &serde_json::Value| {
            event["reason"] == "AdmissionPolicyMissing" && event["regarding"]["name"] == "lab"
        };
        events.iter().find(|event| is_it(event)).map(drop).ok_or_else(|| format!("{events:?}"))
    });
    always("nothing is made", 2, || match suite.api.get("metricsarchives", "guard", "lab").unwrap() {
        found if found["metadata"]["finalizers"].is_null() && found["status"].is_null() => Ok(()),
        found => Err(found.to_string()),
    });
    assert!(suite.api.get("deployments", "guard", "lab-receiver").is_none());
    restore(suite, &operator);
    let entry = place.entry("main", "lab");

    // One that goes while the operator runs.
    let binding = ["delete", "validatingadmissionpolicybinding", "promarchive-operator-prometheuses"];
    suite.cluster.kubectl(binding).unwrap();
    is_not_ready(suite, &operator, "prometheuses");
    place.set_list("main", json!([foreign("a")]));
    always("nothing is patched", 2, || match place.list("main") {
        list if list == [foreign("a")] => Ok(()),
        list => Err(format!("{list:?}")),
    });
    restore(suite, &operator);
    assert_eq!(place.entry("main", "lab"), entry);
    counts_archives(suite, &operator);
    drop(operator);
    suite.end_operator();
}

fn is_not_ready(suite: &Suite, operator: &Operator, policy: &str) {
    eventually(&format!("not ready without {policy}"), PATIENCE, || {
        let (ready, metrics) = (operator.get(suite, "/-/ready"), operator.get(suite, "/metrics"));
        let line = format!("promarchive_operator_admission_policy_in_force{{policy=\"{policy}\"}} 0");
        let is_said = ready.starts_with("HTTP/1.1 503") && ready.contains(&format!("({policy})"));
        if is_said && metrics.contains(&line) { Ok(()) } else { Err(format!("{ready}\n{metrics}")) }
    });
}

/// By whether they are Ready, as their conditions say.
fn counts_archives(suite: &Suite, operator: &Operator) {
    let status = "jsonpath={range .items[*]}{.status.conditions[?(@.type=='Ready')].status}{'\\n'}{end}";
    eventually("the metric counts what is Ready, and what is not", PATIENCE, || {
        let all = suite.cluster.kubectl(["get", "metricsarchives", "--all-namespaces", "--output", status]).unwrap();
        let ready = all.lines().filter(|status| *status == "True").count();
        let metrics = operator.get(suite, "/metrics");
        let is_counted = |ready: bool, count: usize| {
            metrics.contains(&format!("promarchive_operator_archives{{ready=\"{ready}\"}} {count}\n"))
        };
        match is_counted(true, ready) && is_counted(false, all.lines().count() - ready) {
            true => Ok(()),
            false => Err(format!("{all}\n{metrics}")),
        }
    });
}

fn restore(suite: &Suite, operator: &Operator) {
    let policies = format!("{ROOT}/config/policy");
    suite.cluster.kubectl(["apply", "--server-side", "--force-conflicts", "--kustomize", &policies]).unwrap();
    eventually("ready again", PATIENCE, || match operator.get(suite, "/-/ready") {
        ready if ready.starts_with("HTTP/1.1 200") => Ok(()),
        ready => Err(ready),
    });
}
