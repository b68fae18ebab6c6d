//! The only writer to the terminal: what goes to stdout, what to stderr, and in which colour.
//!
//! Results go to stdout (text, or JSON Lines with `--json`); everything else to stderr. `-q` hides
//! results, `-qq` leaves errors only: what a person must not miss shows under `-q`. Every message
//! reads without colour. A reader that went away (`| head`) is no error.

#![expect(clippy::disallowed_methods, reason = "the printer owns stdout and stderr")]

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::args::{Color, ProgressStyle, Shared};
use crate::base::{error::Error, progress};

/// All decisions about output, made once.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    quiet: u8,
    verbose: bool,
    json: bool,
    colored: bool,
    progress: progress::Style,
}

impl Printer {
    /// Decides from the flags, the terminal and `NO_COLOR`.
    pub fn new(shared: &Shared) -> Printer {
        let terminal = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colored = match shared.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        let progress = match shared.progress.unwrap_or(ProgressStyle::Auto) {
            _ if shared.quiet > 0 => progress::Style::None,
            ProgressStyle::Auto if terminal => progress::Style::Bar,
            ProgressStyle::Auto | ProgressStyle::None => progress::Style::None,
            ProgressStyle::Plain => progress::Style::Plain,
            ProgressStyle::Json => progress::Style::Json,
        };
        let (quiet, verbose, json) = (shared.quiet, shared.verbose, shared.json);
        Printer { quiet, verbose, json, colored, progress }
    }

    /// How progress is shown.
    pub fn progress_style(&self) -> progress::Style {
        self.progress
    }

    /// Whether `-v` asked for more.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// A result: text on stdout; nothing with `--json` or `-q`.
    pub fn result(&self, text: &str) {
        if !self.json && self.quiet == 0 {
            write_result(text);
        }
    }

    /// What was asked for itself (generated text, an inspection), as it comes and whatever `-q`;
    /// nothing with `--json`, whose records say the same.
    pub fn raw(&self, text: &str) {
        if self.json {
            return;
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        end_if_unwritten(written);
    }

    /// A token of a text: every other one on a coloured ground, or all between bars.
    pub fn token(&self, index: usize, text: &str) {
        match (self.colored, index % 2) {
            (false, _) => self.raw(&format!("{}{text}", if index > 0 { "|" } else { "" })),
            (true, 0) => self.raw(text),
            (true, _) => self.raw(&format!("\x1b[30;46m{text}\x1b[0m")),
        }
    }

    /// A part of a text on a ground that is the redder the larger `share` is (0 to 1); without
    /// colour, with `note` behind it.
    pub fn shaded(&self, text: &str, share: f64, note: &str) {
        /// Grounds of xterm's 256 colours, from none over yellow to red.
        const GROUNDS: [u8; 5] = [230, 222, 215, 209, 203];
        let place = (share * (GROUNDS.len() + 1) as f64) as usize;
        match (self.colored, place.checked_sub(1)) {
            (false, _) => self.raw(&format!("{text}{note}")),
            (true, None) => self.raw(text),
            (true, Some(place)) => {
                let ground = GROUNDS[place.min(GROUNDS.len() - 1)];
                self.raw(&format!("\x1b[30;48;5;{ground}m{text}\x1b[0m"));
            }
        }
    }

    /// A JSON record on stdout, with `--json`.
    pub fn record(&self, value: &Value) {
        if self.json {
            write_result(&value.to_string());
        }
    }

    /// A fact worth a line, on stderr.
    pub fn notice(&self, text: &str) {
        if self.quiet < 2 {
            tell(&mut std::io::stderr().lock(), text);
        }
    }

    /// A detail, on stderr, with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.notice(text);
        }
    }

    /// Something that must not be missed, on stderr.
    pub fn warning(&self, text: &str) {
        if self.quiet < 2 {
            let label = self.paint("33;1", "warning:");
            tell(&mut std::io::stderr().lock(), &format!("{label} {text}"));
        }
    }

    /// An error with its hint, on stderr.
    pub fn error(&self, error: &Error) {
        let mut stderr = std::io::stderr().lock();
        tell(&mut stderr, &format!("{} {error}", self.paint("31;1", "error:")));
        if let Some(hint) = error.hint() {
            tell(&mut stderr, &format!("{} {hint}", self.paint("36;1", "hint:")));
        }
    }

    /// Bold, for the heads of a screen.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colored {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A line on stdout.
fn write_result(text: &str) {
    let mut stdout = std::io::stdout().lock();
    end_if_unwritten(writeln!(stdout, "{}", text.trim_end_matches('\n')));
}

/// Writes a line to stderr; a stderr that is closed is no error.
fn tell(stderr: &mut impl Write, text: &str) {
    let _ = writeln!(stderr, "{}", text.trim_end_matches('\n'));
}

/// Ends the process where a result cannot be written: as a failure, or quietly where the reader
/// went away.
fn end_if_unwritten(written: std::io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            tell(&mut std::io::stderr().lock(), &format!("error: cannot write to stdout: {error}"));
            std::process::exit(1);
        }
    }
}
