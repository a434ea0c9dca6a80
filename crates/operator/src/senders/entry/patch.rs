//! A plan as a JSON Patch (RFC 6902).
//!
//! It begins with the resource version that was read. A list that has changed since is a 409, upon which one reads and plans anew;
//! but a list that has become shorter is a 422, as an admission denial is, which the resource version alone tells apart.

use serde_json::{Value, json};

use super::{Operation, Plan};

/// The operations of the patch; none if there is nothing to do. `is_absent`: the object has no `spec.remoteWrite` at all.
pub fn json_patch(plan: &Plan, resource_version: &str, is_absent: bool) -> Vec<Value> {
    if plan.operations.is_empty() {
        return Vec::new();
    }
    let mut patch = vec![json!({"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version})];
    if is_absent {
        patch.push(json!({"op": "add", "path": "/spec/remoteWrite", "value": []}));
    }
    // From the back, so that the positions before are still those that were found; then what is added.
    let (added, others): (Vec<_>, Vec<_>) =
        plan.operations.iter().partition(|operation| matches!(operation, Operation::Add(_)));
    patch.extend(others.into_iter().rev().chain(added).map(|operation| match operation {
        Operation::Add(value) => json!({"op": "add", "path": "/spec/remoteWrite/-", "value": value}),
        Operation::Replace(at, value) => {
            json!({"op": "replace", "path": format!("/spec/remoteWrite/{at}"), "value": value})
        }
        Operation::Remove(at) => json!({"op": "remove", "path": format!("/spec/remoteWrite/{at}")}),
    }));
    patch
}
