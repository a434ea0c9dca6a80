//! What a contest says about a store: a pure function of what the writers were told and of what is read afterwards.

use std::fmt;

/// How writers come to put the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Each when the one before was answered.
    InTurn,
    /// All at once.
    AtOnce,
}

/// What a writer was told of its put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It has succeeded.
    Won,
    /// There is an object of this name.
    Lost,
    /// The store does not know such puts.
    Unsupported(String),
    /// Nothing is known: the put may have landed.
    Failed(String),
}

/// What is read afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no object of this name.
    Nothing,
    /// What this writer put.
    Of(usize),
    /// What nobody put.
    Foreign,
}

/// One name, and all who put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contest {
    pub(super) order: Order,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) found: Found,
}

/// How a conditional put does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// The condition is ignored.
    Ignored,
    /// It is looked at, and then written, and not in one step.
    Raced {
        /// Writers who were told that they had won.
        winners: usize,
        /// All of them.
        contenders: usize,
    },
    /// The winner's object is another one's.
    Replaced,
    /// The winner's object is not there.
    Missing,
    /// The object is nobody's.
    Foreign,
    /// There is no such put.
    Unsupported(String),
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored => f.write_str(
                "it ignores the condition of a put: an object was put in the place of another, although it was to be put only if there was none",
            ),
            Self::Raced { winners, contenders } => write!(
                f,
                "{winners} of {contenders} writers that put one name at the same time were told that they had succeeded, and only one can have"
            ),
            Self::Replaced => {
                f.write_str("a writer was told that its put had succeeded, and what is read was put by another one")
            }
            Self::Missing => f.write_str("a writer was told that its put had succeeded, and there is nothing to read"),
            Self::Foreign => f.write_str("what is read was put by nobody"),
            Self::Unsupported(text) => {
                write!(f, "it has no put that succeeds only if there is no object of the name ({text})")
            }
        }
    }
}

/// What a contest shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One writer has won, and its object is there.
    Holds,
    /// The conditional put does not hold.
    Fails(Weakness),
    /// Nobody has won, or too few were told how their put ended. Why the last of those failed who were told nothing, if there is one.
    Open(Option<String>),
}

pub(super) fn judge(contest: &Contest) -> Verdict {
    let Contest { order, outcomes, found } = contest;
    let won = outcomes.iter().enumerate().filter(|(_, outcome)| **outcome == Outcome::Won);
    let winners: Vec<usize> = won.map(|(at, _)| at).collect();
    match (winners.as_slice(), *found) {
        ([_, ..], Found::Nothing) => Verdict::Fails(Weakness::Missing),
        ([_, _, ..], _) => Verdict::Fails(match order {
            Order::InTurn => Weakness::Ignored,
            Order::AtOnce => Weakness::Raced { winners: winners.len(), contenders: outcomes.len() },
        }),
        (_, Found::Foreign) => Verdict::Fails(Weakness::Foreign),
        ([winner], Found::Of(writer)) if *winner != writer => Verdict::Fails(Weakness::Replaced),
        // Without a winner it is one who was told otherwise, or nothing.
        ([_] | [], Found::Of(_)) if contest.has_answers() => Verdict::Holds,
        _ => outcomes.iter().rev().fold(Verdict::Open(None), |verdict, outcome| match outcome {
            Outcome::Unsupported(text) => Verdict::Fails(Weakness::Unsupported(text.clone())),
            Outcome::Failed(cause) if verdict == Verdict::Open(None) => Verdict::Open(Some(cause.clone())),
            _ => verdict,
        }),
    }
}

impl Contest {
    /// Whether enough writers were told how their put ended: a put that never came to the store has met no other.
    fn has_answers(&self) -> bool {
        let answered = self.outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Failed(_))).count();
        match self.order {
            Order::InTurn => answered == self.outcomes.len(),
            Order::AtOnce => answered * 2 >= self.outcomes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_wins_and_its_object_is_read() {
        use Found::{Foreign, Nothing, Of};
        use Order::{AtOnce, InTurn};
        use Outcome::{Lost, Won};
        let failed = || Outcome::Failed("cut".to_owned());
        let unsupported = || Outcome::Unsupported("501".to_owned());
        let raced = |winners, contenders| Verdict::Fails(Weakness::Raced { winners, contenders });
        for (order, outcomes, found, wants) in [
            (InTurn, vec![Won, Lost], Of(0), Verdict::Holds),
            (AtOnce, vec![Lost, Won, Lost], Of(1), Verdict::Holds),
            // Some may have been told nothing.
            (AtOnce, vec![failed(), Won, Lost], Of(1), Verdict::Holds),
            // Its own put landed, and the answer said so in another way, or did not come.
            (AtOnce, vec![Lost, Lost], Of(1), Verdict::Holds),
            (AtOnce, vec![failed(), Lost], Of(0), Verdict::Holds),
            // But not too many of them: a put that never arrived has met no other.
            (AtOnce, vec![failed(), failed(), Won], Of(2), Verdict::Open(Some("cut".to_owned()))),
            (InTurn, vec![failed(), Won], Of(1), Verdict::Open(Some("cut".to_owned()))),
            (InTurn, vec![Won, Won], Of(1), Verdict::Fails(Weakness::Ignored)),
            (AtOnce, vec![Won, Won, Lost], Of(1), raced(2, 3)),
            (AtOnce, vec![Won, Won], Nothing, Verdict::Fails(Weakness::Missing)),
            (AtOnce, vec![Won, Lost], Of(1), Verdict::Fails(Weakness::Replaced)),
            (AtOnce, vec![Won, failed()], Of(1), Verdict::Fails(Weakness::Replaced)),
            (AtOnce, vec![Won, Lost], Nothing, Verdict::Fails(Weakness::Missing)),
            (AtOnce, vec![Won, Lost], Foreign, Verdict::Fails(Weakness::Foreign)),
            (AtOnce, vec![Lost, Lost], Foreign, Verdict::Fails(Weakness::Foreign)),
            (AtOnce, vec![Lost, Lost], Nothing, Verdict::Open(None)),
            (AtOnce, vec![Lost, failed()], Nothing, Verdict::Open(Some("cut".to_owned()))),
            (InTurn, vec![unsupported(), failed()], Nothing, Verdict::Fails(Weakness::Unsupported("501".to_owned()))),
        ] {
            let contest = Contest { order, outcomes, found };
            assert_eq!(judge(&contest), wants, "{contest:?}");
        }
    }
}
