//! How large the program becomes that Prometheus makes of an expression, and how much it does with a text.
//!
//! Go goes through a text once, and looks at each position at the instructions at which the expression may be. Most expressions are at few
//! of them: each instruction of `up|go_goroutines` is looked at once, however long the text is. After a `.*` it may be everywhere.

use super::super::Fault;

/// Most copies of one part, as in Go.
pub(super) const MOST_REPETITIONS: u32 = 1_000;
const MOST_INSTRUCTIONS: u32 = 10_000;
/// Most positions where a part may end that are counted one by one. With more of them, what follows may be everywhere.
const MOST_ENDS: u32 = 16;
const ANYWHERE: u32 = u32::MAX;
/// As many groups double what a step costs: Go copies where they begin and end.
const GROUPS_FOR_A_STEP: u32 = 16;

/// An expression that is taken.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Expression {
    cost: Cost,
    /// Groups that can be referred to,
    groups: u32,
    /// and how many of them are in each other.
    nested: u32,
}

impl Expression {
    pub(super) const fn new(cost: Cost, groups: u32, nested: u32) -> Self {
        Self { cost, groups, nested }
    }

    /// What Prometheus does to match a text of so many characters, at most. It takes notes of the groups at every step.
    pub(in super::super) fn steps(&self, characters: u64) -> u64 {
        let notes = u64::from(self.groups / GROUPS_FOR_A_STEP).saturating_add(1);
        self.cost.steps(characters).saturating_mul(notes)
    }

    /// How often a character of a text may be in the texts of its groups together, if no group is taken twice.
    pub(in super::super) fn nested(&self) -> u32 {
        self.nested
    }
}

/// What a part of an expression becomes in a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Instructions, at most.
    instructions: u32,
    /// How often its innermost part is repeated by `{n,m}`.
    repeated: u32,
    /// What is looked at if the part begins at one position: instructions that are looked at once,
    once: u32,
    /// and those that are looked at in every position of the text.
    everywhere: u32,
    /// Positions where it may end if it begins at one position.
    ends: u32,
}

impl Cost {
    pub(super) const fn of(instructions: u32) -> Self {
        Self { instructions, repeated: 1, once: instructions, everywhere: 0, ends: 1 }
    }

    /// Instructions that are looked at, at most, with a text of so many characters.
    pub(super) fn steps(self, characters: u64) -> u64 {
        u64::from(self.everywhere).saturating_mul(characters.saturating_add(1)).saturating_add(u64::from(self.once))
    }

    /// This part, and then the other one.
    pub(super) fn and(self, other: Self) -> Result<Self, Fault> {
        let both = if self.ends > MOST_ENDS {
            Self {
                once: self.once,
                everywhere: self.everywhere.saturating_add(other.instructions),
                ends: ANYWHERE,
                ..self
            }
        } else {
            Self {
                once: self.once.saturating_add(other.once.saturating_mul(self.ends)),
                everywhere: self.everywhere.saturating_add(other.everywhere),
                ends: self.ends.saturating_mul(other.ends),
                ..self
            }
        };
        both.with_size_of(other)
    }

    /// This part, or the other one.
    pub(super) fn or(self, other: Self) -> Result<Self, Fault> {
        let either = Self {
            once: self.once.saturating_add(other.once),
            everywhere: self.everywhere.saturating_add(other.everywhere),
            ends: self.ends.saturating_add(other.ends),
            ..self
        };
        either.with_size_of(other)
    }

    fn with_size_of(self, other: Self) -> Result<Self, Fault> {
        let instructions = self.instructions.saturating_add(other.instructions);
        if instructions > MOST_INSTRUCTIONS {
            return Err(Fault::refused(
                "the expression is too large with its repetitions: use smaller repetition counts, or * or +",
            ));
        }
        Ok(Self { instructions, repeated: self.repeated.max(other.repeated), ..self })
    }

    pub(super) fn times(self, repetition: Repetition) -> Result<Self, Fault> {
        let (least, most) = match repetition {
            Repetition::Simple => return Ok(self.and(Self::of(2))?.everywhere()),
            Repetition::Optional => (0, Some(1)),
            Repetition::Counted { least, most } => (least, most),
        };
        let copies = most.unwrap_or(least).max(1);
        // Go does not look into what is never there.
        let repeated = if most == Some(0) { 1 } else { self.repeated.saturating_mul(copies) };
        if repeated > MOST_REPETITIONS {
            let problem = format!(
                "Prometheus supports at most {MOST_REPETITIONS} repetitions; nested repetitions are multiplied"
            );
            return Err(Fault::broken(problem));
        }
        // One more for each copy that may be left out.
        let instructions = self.instructions.saturating_add(1).saturating_mul(copies);
        let all = Self { instructions: 1, repeated, ..Self::of(1) }.and(Self::of(instructions))?;
        Ok(match most {
            Some(most) if self.ends == 1 => {
                let once = self.once.saturating_add(1).saturating_mul(copies).saturating_add(1);
                Self { once, ends: most.saturating_sub(least).saturating_add(1), ..all }
            }
            Some(_) if copies == 1 => Self {
                once: self.once.saturating_add(2),
                everywhere: self.everywhere,
                ends: self.ends.saturating_add(1),
                ..all
            },
            _ => all.everywhere(),
        })
    }

    /// The same, wherever its instructions may be.
    fn everywhere(self) -> Self {
        Self { once: 0, everywhere: self.instructions, ends: ANYWHERE, ..self }
    }
}

/// An operator after a part.
#[derive(Clone, Copy)]
pub(super) enum Repetition {
    /// `*` or `+`.
    Simple,
    /// `?`.
    Optional,
    /// `{least}`, `{least,}` or `{least,most}`.
    Counted { least: u32, most: Option<u32> },
}
