//! Text for people on standard error, results on standard output. A reader that has gone away
//! (a closed pipe) is no reason to fail.

use std::io::{IsTerminal, Write};

/// One or more lines for people.
pub(crate) fn say(text: &str) {
    // Nobody reads: nobody to tell.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Text for people, as it is: whoever writes it ends its lines.
pub(crate) fn show(text: &str) {
    let mut err = std::io::stderr();
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}

/// The result of a command, alone on standard output.
pub(crate) fn result(text: &str) {
    let mut out = std::io::stdout();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Whether a person watches standard error.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    is_watched() && std::io::stdin().is_terminal()
}

/// Whether colours are wanted where a person watches (`NO_COLOR` is honoured).
pub(crate) fn wants_colour() -> bool {
    is_watched() && allows_colour()
}

/// The same for standard output.
pub(crate) fn result_wants_colour() -> bool {
    std::io::stdout().is_terminal() && allows_colour()
}

fn allows_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
