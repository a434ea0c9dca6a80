//! `promarchive verify`.

use crate::arguments::{Output, ReadArguments};
use crate::failure::Failure;

/// Not built yet: says so.
pub(crate) async fn run(arguments: ReadArguments) -> Result<(), Failure> {
    let archive = arguments.archive().map(|archive| archive.display().to_string()).unwrap_or_default();
    // SEAM: the pipeline's verify stands here; its answer is printed as `arguments.output` says.
    match arguments.output {
        Output::Table | Output::Json => Err(Failure::work("verify", format!("\"{archive}\": not built yet"))),
    }
}
