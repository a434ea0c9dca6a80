//! What is sent: the same bytes to every receiver, made before anything is measured.
//!
//! Generated loads are like scrapes: series of a target next to each other, one sample a series and request. The recorded one is what a real
//! Prometheus sent of a whole cluster.

pub mod generated;
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

/// What is sent over one connection, one after the other.
pub type Stream<'a> = Box<dyn Iterator<Item = Result<Request>> + Send + 'a>;

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
    pub fn part(&self, part: usize, parts: usize) -> Vec<Stream<'_>> {
        let of = |requests: &'_ Vec<Request>| part * requests.len() / parts..(part + 1) * requests.len() / parts;
        let requests = self.connections.iter().map(|requests| requests.get(of(requests)).unwrap_or_default());
        requests.map(|requests| Box::new(requests.iter().cloned().map(Ok)) as Stream<'_>).collect()
    }

    /// The same requests over no more than so many connections, those of each in the order of before.
    pub fn over(&self, connections: usize) -> Self {
        let mut merged = vec![Vec::new(); connections.clamp(1, self.connections.len().max(1))];
        let count = merged.len();
        let longest = self.connections.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..longest {
            for (connection, request) in self.connections.iter().map(|requests| requests.get(at)).enumerate() {
                if let (Some(to), Some(request)) = (merged.get_mut(connection % count), request) {
                    to.push(request.clone());
                }
            }
        }
        Self { connections: merged, ..*self }
    }

    /// All samples.
    pub fn samples(&self) -> u64 {
        self.connections.iter().flatten().map(|request| request.samples).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(samples: u64) -> Request {
        Request { body: Bytes::new(), samples }
    }

    #[test]
    fn requests_keep_their_order_on_fewer_connections() {
        let connections = (0..4).map(|connection| (0..3).map(|at| request(at * 10 + connection)).collect()).collect();
        let load = Load { name: Name::Fifty, protocol: Protocol::V1, connections, series: 0, five_minutes: 1 };
        let over = |connections| -> Vec<Vec<u64>> {
            let load = load.over(connections);
            load.connections.iter().map(|requests| requests.iter().map(|request| request.samples).collect()).collect()
        };
        assert_eq!(over(1), [[0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]]);
        assert_eq!(over(2), [[0, 2, 10, 12, 20, 22], [1, 3, 11, 13, 21, 23]]);
        assert_eq!(over(8), over(4), "not more than it has");
    }
}
