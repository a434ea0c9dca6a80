//! Whose samples the archive keeps.

use std::collections::HashSet;

use promarchive_api::bounds::in_pods::DRAIN_TIMEOUT;
use promarchive_api::metrics_archive::{MetricsArchiveSpec, PrometheusSelection};

use super::archive::{Selection, Target};
use super::invalid::{Invalid, invalid, timespan, within};

/// What is stored may be longer; a message need not be.
const LONGEST_ID: usize = 63;

pub(super) fn selections(spec: &MetricsArchiveSpec, own: &str) -> Result<Vec<Selection>, Invalid> {
    let mut ids = HashSet::new();
    let items = spec.prometheuses.iter().map(|item| {
        if !ids.insert(item.id.as_str()) {
            return Err(invalid(
                "spec.prometheuses",
                format!("two items have the id \"{}\"", item.id.chars().take(LONGEST_ID).collect::<String>()),
            ));
        }
        selection(item, own)
    });
    items.collect()
}

fn selection(item: &PrometheusSelection, own: &str) -> Result<Selection, Invalid> {
    let id: String = item.id.chars().take(LONGEST_ID).collect();
    let field = format!("spec.prometheuses[{id}]");
    let target = match (&item.name, &item.selector) {
        (Some(name), None) => Target::Name(name.clone()),
        (None, Some(selector)) => Target::Labels(
            selector.clone().try_into().map_err(|e| invalid(format!("{field}.selector"), format!("{e}")))?,
        ),
        _ => return Err(invalid(field, "set exactly one of name and selector")),
    };
    let drain = format!("{field}.drainTimeout");
    let drain_timeout = item.drain_timeout.as_deref().map(|text| timespan(&drain, text)).transpose()?;
    let drain_timeout = within(&drain, &DRAIN_TIMEOUT, DRAIN_TIMEOUT.or_default(drain_timeout))?;
    let namespaces = if item.namespaces.is_empty() { vec![own.to_owned()] } else { item.namespaces.clone() };
    Ok(Selection {
        id: item.id.clone(),
        kind: item.kind,
        target,
        namespaces,
        mode: item.mode,
        drain_timeout,
        remote_write: item.remote_write.clone(),
    })
}
