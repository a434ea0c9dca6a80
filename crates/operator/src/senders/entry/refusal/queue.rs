//! How much of a Prometheus a queue may take.
//!
//! The memory, the connections and the processor time are those of the Prometheus. `QueueConfig.Validate` of Prometheus asks for positive
//! numbers only, so an archive could make it hold more than its machine has. The limits, and why they are as they are, are in
//! [`QueueLimits`]; the definition of the kind has those of the archive's own namespace, too, but an object may have been stored under an
//! older one.

use promarchive_api::metrics_archive::{Queue, QueueLimits};

use super::super::Capabilities;
use super::{Fault, RefusedSettings, quoted};

/// What Prometheus does if nothing is said.
struct Defaults {
    capacity: i32,
    max_shards: i32,
    max_samples_per_send: i32,
}

impl Defaults {
    /// `DefaultQueueConfig`. The Prometheus Operator has not brought a release before 2.45 by itself since its 0.66.
    fn of(prometheus: &Capabilities) -> Self {
        if prometheus.is_before((2, 45)) {
            Self { capacity: 2_500, max_shards: 200, max_samples_per_send: 500 }
        } else {
            Self { capacity: 10_000, max_shards: 50, max_samples_per_send: 2_000 }
        }
    }
}

pub(super) fn check(queue: &Queue, prometheus: &Capabilities, is_foreign: bool) -> Result<(), RefusedSettings> {
    let limits = if is_foreign { QueueLimits::FOREIGN } else { QueueLimits::OWN };
    let wrong = |field: &str, fault: Fault| fault.at(format!("queue.{field}"));
    for (field, given, most) in [
        ("capacity", queue.capacity, limits.capacity),
        ("minShards", queue.min_shards, limits.min_shards),
        ("maxShards", queue.max_shards, limits.max_shards),
        ("maxSamplesPerSend", queue.max_samples_per_send, limits.max_samples_per_send),
    ] {
        let Some(given) = given else { continue };
        if given < 1 {
            return Err(wrong(field, Fault::broken(format!("{given} is less than 1"))));
        }
        if given > most {
            let problem = format!("{given} is greater than {most}, the maximum for {}", whom(is_foreign));
            return Err(wrong(field, Fault::refused(problem)));
        }
    }
    check_shards(queue, &Defaults::of(prometheus)).map_err(|fault| wrong("minShards", fault))?;
    check_products(queue, &Defaults::of(prometheus), limits, is_foreign)
        .map_err(|(field, fault)| wrong(field, fault))?;
    match &queue.batch_send_deadline {
        Some(text) => check_deadline(text, limits, is_foreign).map_err(|fault| wrong("batchSendDeadline", fault)),
        None => Ok(()),
    }
}

/// Who has the limit.
fn whom(is_foreign: bool) -> &'static str {
    if is_foreign { "a Prometheus in another namespace" } else { "a Prometheus" }
}

fn check_shards(queue: &Queue, defaults: &Defaults) -> Result<(), Fault> {
    // An image may be newer than it is said to be, and have the lower default.
    let lowest = defaults.max_shards.min(50);
    match queue.min_shards {
        Some(least) if least > queue.max_shards.unwrap_or(lowest) => {
            Err(Fault::broken(format!("{least} is greater than maxShards; increase maxShards too (default: {lowest})")))
        }
        _ => Ok(()),
    }
}

/// What all shards hold, and what all their requests do.
fn check_products(
    queue: &Queue,
    defaults: &Defaults,
    limits: QueueLimits,
    is_foreign: bool,
) -> Result<(), (&'static str, Fault)> {
    let given = [queue.capacity, queue.max_shards, queue.max_samples_per_send];
    if given.iter().all(Option::is_none) {
        // What the owner of the Prometheus has chosen, or left as it is.
        return Ok(());
    }
    let shards = i64::from(queue.max_shards.unwrap_or(defaults.max_shards));
    let capacity = i64::from(queue.capacity.unwrap_or(defaults.capacity));
    let send = i64::from(queue.max_samples_per_send.unwrap_or(defaults.max_samples_per_send));
    let in_flight = shards.saturating_mul(send);
    if in_flight > limits.in_flight {
        let problem = format!(
            "{send} samples in a request of each of {shards} shards are {in_flight} samples. {} at most {}: decrease \
             maxSamplesPerSend or maxShards",
            capitalised(is_foreign),
            limits.in_flight
        );
        return Err(("maxSamplesPerSend", Fault::refused(problem)));
    }
    let held = shards.saturating_mul(capacity.saturating_add(send));
    if held > limits.held {
        let problem = format!(
            "{capacity} samples and {send} samples in a request of each of {shards} shards are {held} samples. {} at \
             most {}: decrease capacity or maxShards",
            capitalised(is_foreign),
            limits.held
        );
        return Err(("capacity", Fault::refused(problem)));
    }
    Ok(())
}

fn capitalised(is_foreign: bool) -> &'static str {
    if is_foreign { "A Prometheus in another namespace may have" } else { "A Prometheus may have" }
}

fn check_deadline(text: &str, limits: QueueLimits, is_foreign: bool) -> Result<(), Fault> {
    let Some(deadline) = milliseconds(text) else {
        let problem = format!("invalid duration {}; expected for example 5s or 1s500ms", quoted(text));
        return Err(Fault::broken(problem));
    };
    if !(limits.shortest_deadline..=limits.longest_deadline).contains(&deadline) {
        let (shortest, longest) = (limits.shortest_deadline, limits.longest_deadline);
        let problem = format!("{} must be from {shortest}ms to {longest}ms for {}", quoted(text), whom(is_foreign));
        return Err(Fault::refused(problem));
    }
    Ok(())
}

/// A time as Prometheus reads it: each unit once, the largest first. None if it is something else, or very long.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    for (unit, worth) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let (digits, after) = rest.split_at(rest.find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len()));
        let is_milliseconds = unit == "m" && after.starts_with("ms");
        if let Some(after) = after.strip_prefix(unit).filter(|_| !is_milliseconds) {
            let number = Some(digits).filter(|digits| digits.len() < 10)?;
            sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(worth)?)?;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests;
