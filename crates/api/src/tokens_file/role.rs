//! What a token may be used for.

use std::fmt;
use std::str::FromStr;

/// One kind of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Remote write.
    Write,
    /// Pushed metrics.
    Push,
    /// Queries.
    Read,
    /// Records of runs.
    Runs,
    /// Flushes, and who delivers what.
    Operate,
}

impl Role {
    /// All roles, in the order in which they are written.
    pub const ALL: [Self; 5] = [Self::Write, Self::Push, Self::Read, Self::Runs, Self::Operate];

    /// As the tokens file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Push => "push",
            Self::Read => "read",
            Self::Runs => "runs",
            Self::Operate => "operate",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One role or more. Written as their names with commas between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Roles(u8);

impl Roles {
    /// Every role.
    pub fn all() -> Self {
        Role::ALL.into_iter().fold(Self(0), Self::with)
    }

    /// These, and `role`.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }

    /// Whether `role` is among them.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(role.bit())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let its = Role::ALL.into_iter().filter(|role| self.contains(*role));
        f.write_str(&its.map(Role::as_str).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

/// Why a text is no list of roles. Does not hold the text, which might be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    /// Something else than a role.
    #[error(
        "unknown role; valid roles are write, push, read, runs and operate, separated by commas without spaces, for \
         example write,operate"
    )]
    Unknown,
    /// The same one again.
    #[error("the role {0} is given twice: remove one of them")]
    Twice(Role),
}

impl FromStr for Roles {
    type Err = RolesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut roles = Self(0);
        for name in text.split(',') {
            let role = Role::ALL.into_iter().find(|role| role.as_str() == name).ok_or(RolesError::Unknown)?;
            if roles.contains(role) {
                return Err(RolesError::Twice(role));
            }
            roles = roles.with(role);
        }
        Ok(roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_roles_is_read_again_from_what_is_written() {
        for bits in 1_u8..32 {
            let roles = Roles(bits);
            assert_eq!(roles.to_string().parse(), Ok(roles));
            let has = Role::ALL.into_iter().filter(|role| roles.contains(*role)).count();
            assert_eq!(has, bits.count_ones() as usize, "{roles}");
        }
        assert_eq!(Roles::all().to_string(), "write,push,read,runs,operate");
        assert_eq!("operate,write".parse(), Ok(Roles::from(Role::Write).with(Role::Operate)), "in any order");
    }

    #[test]
    fn what_is_no_role_is_refused_and_not_told() {
        for text in ["", "Write", "all", "write,", ",write", "write, read", "write;read", "my-plain-secret"] {
            let error = text.parse::<Roles>().unwrap_err();
            assert_eq!(error, RolesError::Unknown, "{text}");
            assert!(!error.to_string().contains("my-plain-secret"));
        }
        let error = "read,write,read".parse::<Roles>().unwrap_err();
        assert_eq!(error.to_string(), "the role read is given twice: remove one of them");
        assert!(Role::ALL.into_iter().all(|role| RolesError::Unknown.to_string().contains(role.as_str())));
    }
}
