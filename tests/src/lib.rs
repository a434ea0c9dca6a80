//! What the tests of the whole program share: the program itself, what writes to it, and what reads its tables.

pub mod chunk;
pub mod exporter;
pub mod faults;
pub mod ledger;
pub mod program;
pub mod prometheus;
pub mod racing_store;
pub mod readers;
pub mod remote_read;
pub mod request;
pub mod s3_server;
pub mod store_suite;
pub mod tables;

pub use promarchive_testkit::protobuf;
