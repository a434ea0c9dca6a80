//! The labels of the receiver's metrics. Each has a bounded set of values.

use prometheus_client::encoding::EncodeLabelSet;

/// Of HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HttpLabels {
    /// A known path, or "other".
    pub path: &'static str,
    /// GET, HEAD, POST, or "other".
    pub method: &'static str,
    /// Status code of the answer.
    pub code: u16,
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $field:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $name {
            /// One of a fixed set of words.
            pub(crate) $field: &'static str,
        }
    };
}

label!(/// A known path, or "other".
    PathLabel, path);
label!(/// Why something was refused: the name of the refusal.
    ReasonLabel, reason);
label!(/// A table of the archive.
    TableLabel, table);
label!(/// How it ended: "ok" or "failed".
    ResultLabel, result);
label!(/// Remote-write version: "v1" or "v2".
    ProtocolLabel, protocol);
label!(/// What is asked of the archive's store.
    OperationLabel, operation);
label!(/// The version of the program.
    BuildLabel, version);
label!(/// Which kind of file: "tokens" or "tls".
    FileLabel, file);

/// Of requests to the archive's store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StoreLabels {
    /// What was asked for.
    pub operation: &'static str,
    /// How it ended.
    pub status: &'static str,
}

/// Which group a time was of: the exemplar's label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PositionLabel {
    /// Last position of the group in the WAL.
    pub position: u64,
}

/// A sender, as the tokens file names it, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SenderLabel {
    /// Name out of the tokens file.
    pub sender: String,
    /// Status code of the answer.
    pub code: u16,
}
