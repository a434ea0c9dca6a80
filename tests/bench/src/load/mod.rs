//! What is sent: the same bytes to every receiver, made before anything is measured.
//!
//! Generated loads are like scrapes: series of a target next to each other, one sample a series and request. The recorded one is what a real
//! Prometheus sent of a whole cluster.

mod generated;
mod recorded;

use std::fmt;

use bytes::Bytes;
use clap::ValueEnum;
use promarchive_model::Protocol;
use serde::Serialize;

use crate::Result;

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// 50,000 series, 40 scrapes.
    #[value(name = "50k")]
    #[serde(rename = "50k")]
    Fifty,
    /// 200,000 series, 40 scrapes.
    #[value(name = "200k")]
    #[serde(rename = "200k")]
    TwoHundred,
    /// 10,000 series, 480 scrapes: two hours.
    #[value(name = "2h")]
    #[serde(rename = "2h")]
    TwoHours,
    /// Recorded from a real Prometheus: 330 s of a cluster's own components, 42,000 series.
    Real,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifty => "50k",
            Self::TwoHundred => "200k",
            Self::TwoHours => "2h",
            Self::Real => "real",
        })
    }
}

/// Requests, ready to be sent.
#[derive(Debug)]
pub struct Load {
    /// Which.
    pub name: Name,
    /// In which protocol.
    pub protocol: Protocol,
    /// Bodies by connection, in the order in which they are sent, so that the samples of a series stay in order.
    pub connections: Vec<Vec<Request>>,
    /// Different series.
    pub series: usize,
    /// How many times five minutes it spans.
    pub five_minutes: usize,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Compressed.
    pub body: Bytes,
    /// Samples in it, native histograms too.
    pub samples: u64,
}

impl Request {
    fn of(message: &impl prost::Message, samples: u64) -> Result<Self> {
        let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec())?;
        Ok(Self { body: body.into(), samples })
    }
}

impl Load {
    /// Makes a load.
    pub fn new(name: Name, protocol: Protocol) -> Result<Self> {
        match name {
            Name::Fifty => generated::load(name, protocol, 50_000, 40),
            Name::TwoHundred => generated::load(name, protocol, 200_000, 40),
            Name::TwoHours => generated::load(name, protocol, 10_000, 480),
            Name::Real => recorded::load(protocol),
        }
    }

    /// The requests of one of so many equal parts, by connection.
    pub fn part(&self, part: usize, parts: usize) -> Vec<&[Request]> {
        let of = |requests: &'_ Vec<Request>| part * requests.len() / parts..(part + 1) * requests.len() / parts;
        self.connections.iter().map(|requests| requests.get(of(requests)).unwrap_or_default()).collect()
    }

    /// All samples.
    pub fn samples(&self) -> u64 {
        self.connections.iter().flatten().map(|request| request.samples).sum()
    }
}
