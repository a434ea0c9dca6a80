//! HTTP and life cycle around the rooms of the write path.
//!
//! [`run`] is the whole: [`Server`] answers HTTP and writes through [`Ingest`]; a thread commits groups to the WAL, a task
//! flushes; both work on [`core::Core`], which [`recovery`] opens.

mod access;
mod admission;
mod archive_note;
mod archive_size;
mod body;
mod committer;
mod connection;
mod control;
mod deliveries;
mod fair;
mod flusher;
mod foreign_files;
mod growth;
mod health;
mod held_slot;
mod horizon_record;
mod http;
mod ingest;
mod metrics;
mod odd_times;
mod run;
mod server;
mod slots;
mod start_log;
mod supervisor;
mod tls;
mod tokens;
mod tryout;
mod watched_file;
mod web_page;

pub use control::{CONTROL_SOCKET, ask_for_flush};
pub use fair::Sender;
pub use http::WriteTarget;
pub use ingest::{FlushError, FlushReport, Ingest, WriteError, Written};
pub use metrics::{
    BuildLabel, FileLabel, HttpLabels, Metrics, OperationLabel, PathLabel, PositionLabel, ProtocolLabel, ReasonLabel,
    ResultLabel, SenderLabel, StoreLabels, TableLabel, View,
};
pub use run::{ReceiverError, run};
pub use server::{ServeError, Server, serve};
pub use supervisor::TASKS;
pub use tls::TlsError;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod http_tests;
