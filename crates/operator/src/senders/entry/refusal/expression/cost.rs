//! How large the program becomes that Prometheus makes of an expression.

use super::super::Fault;

/// Most copies of one part, as in Go.
pub(super) const MOST_REPETITIONS: u32 = 1_000;
const MOST_INSTRUCTIONS: u32 = 10_000;

/// What a part of an expression becomes in a program.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// Instructions, at most.
    instructions: u32,
    /// How often its innermost part is repeated by `{n,m}`.
    repeated: u32,
}

impl Cost {
    pub(super) const fn of(instructions: u32) -> Self {
        Self { instructions, repeated: 1 }
    }

    pub(super) fn and(self, other: Self) -> Result<Self, Fault> {
        let instructions = self.instructions.saturating_add(other.instructions);
        if instructions > MOST_INSTRUCTIONS {
            return Err(Fault::refused("with its repetitions the expression is too large: repeat less, or use * or +"));
        }
        Ok(Self { instructions, repeated: self.repeated.max(other.repeated) })
    }

    pub(super) fn times(self, repetition: Repetition) -> Result<Self, Fault> {
        let Repetition::Counted { least, most } = repetition else {
            return self.and(Self::of(2));
        };
        let copies = most.unwrap_or(least).max(1);
        // Go does not look into what is never there.
        let repeated = if most == Some(0) { 1 } else { self.repeated.saturating_mul(copies) };
        if repeated > MOST_REPETITIONS {
            let problem = format!("Prometheus knows at most {MOST_REPETITIONS} repetitions, nested ones multiplied");
            return Err(Fault::broken(problem));
        }
        // One more for each copy that may be left out.
        let instructions = self.instructions.saturating_add(1).saturating_mul(copies);
        Self { instructions: 1, repeated }.and(Self::of(instructions))
    }
}

/// An operator after a part.
#[derive(Clone, Copy)]
pub(super) enum Repetition {
    /// `*`, `+` or `?`.
    Simple,
    /// `{least}`, `{least,}` or `{least,most}`.
    Counted { least: u32, most: Option<u32> },
}
