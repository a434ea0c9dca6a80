//! What the tests of the whole program share: the program itself, what writes to it, and what reads its tables.

pub mod program;
pub mod protobuf;
pub mod readers;
pub mod request;
pub mod tables;
