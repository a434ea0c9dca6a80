//! `promarchive receive`.

use std::sync::Arc;

use promarchive_api::receiver_settings::Settings;
use promarchive_archive::Location;
use promarchive_model::environment::{SystemClock, SystemEntropy};
use promarchive_pipeline::core::Environment;
use promarchive_pipeline::receiver;
use tracing::info;

use crate::arguments::ReceiveArguments;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::origins::Origins;
use crate::{new_files, signals};

/// Receives until a signal to stop comes.
pub(crate) async fn run(arguments: ReceiveArguments, origins: &Origins) -> Result<(), Failure> {
    let settings = resolve(arguments, origins)?;
    new_files::limit(settings.archive_access);
    let stop = signals::stop().map_err(|error| Failure::work("cannot catch signals", error))?;
    info!(archive = %settings.archive, wal = %settings.wal.display(), "starting");
    let environment = Environment { clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) };
    receiver::run(settings, environment, stop).await?;
    Ok(())
}

/// Flags and environment over the file over the defaults.
fn resolve(arguments: ReceiveArguments, origins: &Origins) -> Result<Settings, Failure> {
    let file = arguments.config.clone();
    let layers = Layers::new("receive", file.as_deref(), &arguments.configuration(), origins)?;
    let settings =
        Settings::resolve(layers.configuration()?).map_err(|error| layers.fault(&error, error.settings()))?;
    Location::resolve(&settings.archive).map_err(|error| layers.fault(error, &["archive"]))?;
    Ok(settings)
}
