//! How the program ends when it cannot do what it was told to.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use promarchive_model::quote::visible;

/// Why it ends; told in one line, with causes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for is wrong: flags, environment, configuration.
    Usage(Box<dyn Error>),
    /// It could not be done.
    Work {
        /// What was being done, if the error does not say it.
        what: Option<&'static str>,
        error: Box<dyn Error>,
    },
    /// Nobody reads the answer any more, as behind `| head`.
    NoReader,
}

/// What a shell says of a program that SIGPIPE has ended: 128 and the signal's number.
const NO_READER: u8 = 141;

impl Failure {
    pub(crate) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::Usage(error.into())
    }

    pub(crate) fn work(what: &'static str, error: impl Into<Box<dyn Error>>) -> Self {
        Self::Work { what: Some(what), error: error.into() }
    }

    /// The line without "error: ".
    fn line(&self) -> String {
        let (what, error) = match self {
            Self::NoReader => return "the output was closed before everything was written".to_owned(),
            Self::Usage(error) => (None, error),
            Self::Work { what, error } => (*what, error),
        };
        let mut line = what.map_or(String::new(), |what| format!("{what}: "));
        line += &error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            // Many messages end with that of their cause.
            let text = error.to_string();
            if !line.contains(&text) {
                line += &format!(": {text}");
            }
            cause = error.source();
        }
        visible(&line.replace('\n', " ")).into_owned()
    }

    /// Prints the line to stderr; the exit code is 2 for a wrong usage, 1 for the rest. Without a reader it says nothing.
    pub(crate) fn report(&self) -> ExitCode {
        let code = match self {
            Self::Usage(_) => 2,
            Self::Work { .. } => 1,
            Self::NoReader => return ExitCode::from(NO_READER),
        };
        // Nothing can be done when that has no reader either.
        let _ = writeln!(std::io::stderr(), "error: {}", self.line());
        ExitCode::from(code)
    }
}

/// What fails at work says itself what it was about.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Work { what: None, error: Box::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn one_line_with_causes_each_said_once() {
        let cause = io::Error::other("disk\nfull");
        assert_eq!(Failure::work("cannot write", cause).line(), "cannot write: disk full");
        let wrapped = io::Error::other(io::Error::other("inner"));
        assert_eq!(Failure::from(wrapped).line(), "inner");
    }
}
