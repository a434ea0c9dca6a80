//! The ledger test's parts: senders that note what was acknowledged, a receiver that gets killed, and a check of its tables.
//!
//! The mental model is a bookkeeper beside the program. Every sample, histogram and exemplar that is ever sent is one [`Row`], unique, with all
//! its content computed from its number. [`Senders`] write rows over real HTTP and note in a [`Book`] which they have sent and which
//! were acknowledged. A [`Receiver`] is the real program, killed and started again on the same directories. A [`Reader`] is another
//! tool that reads the tables. [`Book::check`] compares: what was acknowledged is there, nothing is there twice, nothing is there
//! that was not sent, and every bit is as it was sent.

mod book;
mod drive;
mod http;
mod random;
mod reader;
mod receiver;
mod rows;
mod senders;

pub use book::{Book, Checked, Notes, Violations};
pub use drive::{FLUSH_EVERY, drive};
pub use http::{Connection, Response};
pub use random::Random;
pub use reader::{Tables, Tool, read_tables, read_tables_with};
pub use receiver::{Home, Receiver, Start, verify};
pub use rows::{Body, ROWS_PER_BLOCK, Row, encode};
pub use senders::{Manners, Senders, Tally};
