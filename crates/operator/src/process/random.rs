//! Random bytes.

/// Random bytes could not be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("cannot get random bytes from the system: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Fills `bytes` with what nobody can guess.
pub fn random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}
