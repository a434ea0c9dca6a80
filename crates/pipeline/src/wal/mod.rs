//! (stub, replaced on merge)
use std::fmt;
/// Identity
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WriterId(u128);
impl WriterId { 
    /// x
    pub fn from_u128(v: u128) -> Self { Self(v) } }
impl fmt::Display for WriterId { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:032x}", self.0) } }
impl std::str::FromStr for WriterId { type Err = std::num::ParseIntError; fn from_str(t: &str) -> Result<Self, Self::Err> { u128::from_str_radix(t, 16).map(Self) } }
