//! What a command ends with when it cannot do its work: what, where, what to do, and the exit code.

use std::fmt;

use holdfast_core::event::StopCause;
use holdfast_core::verdict::Outcome;

/// Of no outcome: nothing was begun.
const BAD_INPUT: u8 = 2;

/// An error for people, with its documented exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process exit code; see `holdfast --help`.
    pub(crate) code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The input cannot be used (exit code 2).
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(BAD_INPUT, message)
    }

    /// The work could not be carried out (exit code 3).
    pub(crate) fn carrying_out(message: impl Into<String>) -> Self {
        Self::new(Outcome::Inconclusive.exit_code(), message)
    }

    /// The command was interrupted (exit code 130) or terminated (143).
    pub(crate) fn interrupted(cause: &StopCause) -> Self {
        Self::new(
            interruption(cause).exit_code(),
            "interrupted; nothing is left running",
        )
    }

    /// Everything is halted (exit code 4).
    pub(crate) fn halted(message: impl Into<String>) -> Self {
        Self::new(Outcome::Aborted.exit_code(), message)
    }

    /// Something could not be put back (exit code 5).
    pub(crate) fn not_put_back(left: &[String]) -> Self {
        let message = format!("not put back: {}", left.join("; "));
        Self::new(Outcome::NotReverted.exit_code(), message).hint(
            "when the cause is gone: holdfast recover; what else is named there: kubectl delete",
        )
    }

    /// What could not be put back is graver than whatever went wrong before.
    pub(crate) fn but_left(self, left: &[String]) -> Self {
        if left.is_empty() {
            return self;
        }
        let graver = Self::not_put_back(left);
        Self {
            message: format!("{}\n{}", self.message, graver.message),
            ..graver
        }
    }

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Without the exit code and the word that it is an error: for a status.
    pub(crate) fn words(&self) -> &str {
        &self.message
    }

    /// Says where it is.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What a command that was interrupted comes to.
pub(crate) fn interruption(cause: &StopCause) -> Outcome {
    if *cause == StopCause::Terminated {
        Outcome::Terminated
    } else {
        Outcome::Interrupted
    }
}

/// An error and its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors repeat their source's words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
