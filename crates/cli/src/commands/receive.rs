//! `promarchive receive`.

use std::sync::Arc;

use promarchive_api::receiver_settings::Settings;
use promarchive_api::{ConfigFileError, ReceiverConfig};
use promarchive_archive::Location;
use promarchive_model::environment::{SystemClock, SystemEntropy};
use promarchive_pipeline::core::Environment;
use promarchive_pipeline::receiver;
use tracing::info;

use crate::arguments::ReceiveArguments;
use crate::failure::Failure;
use crate::{new_files, signals};

/// Receives until a signal to stop comes.
pub(crate) async fn run(arguments: ReceiveArguments) -> Result<(), Failure> {
    let settings = resolve(arguments)?;
    new_files::limit(settings.archive_access);
    let stop = signals::stop().map_err(|error| Failure::work("cannot catch signals", error))?;
    info!(archive = %settings.archive, wal = %settings.wal.display(), "starting");
    let environment = Environment { clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) };
    receiver::run(settings, environment, stop).await?;
    Ok(())
}

/// Flags and environment over the file over the defaults.
fn resolve(arguments: ReceiveArguments) -> Result<Settings, Failure> {
    let file = match &arguments.config {
        None => ReceiverConfig::default(),
        Some(path) => ReceiverConfig::from_file(path).map_err(|error: ConfigFileError| Failure::usage(error))?,
    };
    let settings = Settings::resolve(ReceiverConfig::from(arguments).or(file)).map_err(Failure::usage)?;
    Location::resolve(&settings.archive).map_err(Failure::usage)?;
    Ok(settings)
}
