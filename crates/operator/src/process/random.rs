//! Random bytes.

/// Random bytes could not be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Fills `bytes` with what nobody can guess.
pub fn random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).map_err(|_| NoRandomness)
}
