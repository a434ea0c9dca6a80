//! The objects of the receiver: the component that takes samples.

mod component;
mod config;
mod deployment;
mod network;

use component::COMPONENT;
pub use network::leads_to_receiver;
use serde_json::json;

use super::inputs::Inputs;
use super::object::{Desired, Part, desired};
use crate::archive::validate::Archive;
use crate::kubernetes::kind::Kind;

/// All objects of the receiver, as far as they may be made.
pub(super) fn objects(archive: &Archive, inputs: &Inputs<'_>) -> Vec<Desired> {
    let config = config::text(archive, inputs);
    let mut objects = vec![service_account(archive), network::service(archive)];
    objects.extend(network::policy(archive, inputs));
    objects.push(config::config_map(archive, inputs, &config));
    if inputs.may_mount {
        objects.push(deployment::deployment(archive, inputs, &config));
    }
    if inputs.pod_monitors {
        objects.push(network::pod_monitor(archive));
    }
    objects
}

fn service_account(archive: &Archive) -> Desired {
    let body = json!({"automountServiceAccountToken": false});
    desired(archive, Part::of(COMPONENT), Kind::ServiceAccount, archive.id.receiver(), body)
}
