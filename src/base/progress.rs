//! How far the work is, said in one of four ways: a bar, plain lines, JSON lines, nothing.
//!
//! In → `begin`, `advance`, `message` from any thread; out → text on stderr. Rates and times are
//! for the eye only and reach no file of an output. Hidden without a terminal, unless asked for.

#![expect(clippy::disallowed_methods, reason = "progress is drawn on stderr")]
#![expect(clippy::disallowed_types, reason = "progress shows a rate")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    Bar,
    Plain,
    Json,
    None,
}

/// How often plain and JSON lines appear.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// One task's progress.
pub struct Progress {
    style: Style,
    bar: ProgressBar,
    done: AtomicU64,
    state: Mutex<State>,
}

struct State {
    task: String,
    total: u64,
    bytes: bool,
    /// What was done before the task began; rates and times leave it out.
    before: u64,
    started: Instant,
    line_at: Instant,
    note: String,
}

impl Progress {
    /// Progress in `style`; nothing is shown before [`Progress::begin`].
    pub fn new(style: Style) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let now = Instant::now();
        let state = State {
            task: String::new(),
            total: 0,
            bytes: false,
            before: 0,
            started: now,
            line_at: now,
            note: String::new(),
        };
        Progress { style, bar, done: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Starts a task of `total` bytes of text.
    pub fn begin(&self, task: &str, total: u64) {
        self.start(task, total, 0, true);
    }

    /// Starts a task of `total` steps.
    pub fn begin_steps(&self, task: &str, total: u64) {
        self.start(task, total, 0, false);
    }

    /// The same where `before` of the steps were done by an earlier process.
    pub fn begin_steps_at(&self, task: &str, total: u64, before: u64) {
        self.start(task, total, before, false);
    }

    fn start(&self, task: &str, total: u64, before: u64, bytes: bool) {
        let now = Instant::now();
        let mut state = self.state();
        *state = State {
            task: task.to_owned(),
            total,
            bytes,
            before,
            started: now,
            line_at: now,
            note: String::new(),
        };
        self.done.store(before, Relaxed);
        if self.style != Style::Bar {
            return;
        }
        let counts = match bytes {
            true => "{bytes}/{total_bytes} {binary_bytes_per_sec}",
            false => "{pos}/{len} {per_sec}",
        };
        let template = format!("{{prefix:18}} {{bar:30}} {counts} {{eta}} {{msg}}");
        let style = ProgressStyle::with_template(&template).expect("the template is constant");
        self.bar.reset();
        self.bar.set_style(style);
        self.bar.set_prefix(task.to_owned());
        self.bar.set_message("");
        self.bar.set_length(total);
        self.bar.set_position(before);
        self.bar.reset_eta();
        self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    }

    /// `amount` more is done.
    pub fn advance(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Relaxed) + amount;
        match self.style {
            Style::Bar => self.bar.set_position(done),
            Style::Plain | Style::Json => self.line(done),
            Style::None => {}
        }
    }

    /// A short figure beside the bar: the loss, the number of merges.
    pub fn note(&self, text: String) {
        match self.style {
            Style::Bar => self.bar.set_message(text),
            Style::Plain | Style::Json => self.state().note = text,
            Style::None => {}
        }
    }

    /// Ends the task and takes the bar away.
    pub fn end(&self) {
        if self.style == Style::Bar {
            self.bar.finish_and_clear();
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn line(&self, done: u64) {
        let mut state = self.state();
        let now = Instant::now();
        if now < state.line_at + LINE_EVERY {
            return;
        }
        state.line_at = now;
        let line = state.render(self.style, done, now);
        use std::io::Write;
        // Progress that nobody can see any more is no reason to stop the work.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

impl State {
    fn render(&self, style: Style, done: u64, now: Instant) -> String {
        let seconds = (now - self.started).as_secs_f64();
        let rate = done.saturating_sub(self.before) as f64 / seconds.max(1e-9);
        let left = self.total.saturating_sub(done) as f64 / rate;
        let left = left.is_finite().then_some(left.ceil() as u64);
        if style == Style::Json {
            return serde_json::json!({
                "type": "progress", "task": self.task, "done": done, "total": self.total,
                "before": self.before,
                "seconds": (seconds * 10.0).round() / 10.0, "per_second": rate.round(),
                "seconds_left": left, "note": self.note,
            })
            .to_string();
        }
        let percent = 100.0 * done as f64 / self.total.max(1) as f64;
        let rate = match self.bytes {
            true => format!("{:.1} MB/s", rate / 1e6),
            false => format!("{rate:.1}/s"),
        };
        let left = left.map(|left| format!(", {left} s left")).unwrap_or_default();
        format!("{}: {:.0}% {rate}{left} {}", self.task, percent.min(100.0), self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_leaves_out_what_was_done_before() {
        let progress = Progress::new(Style::None);
        progress.begin_steps_at("train", 1000, 400);
        progress.advance(50);
        assert_eq!(progress.done.load(Relaxed), 450);
        let state = progress.state();
        let line = state.render(Style::Plain, 450, state.started + Duration::from_secs(10));
        assert_eq!(line, "train: 45% 5.0/s, 110 s left ");
    }

    #[test]
    fn a_json_line_is_json_with_done_and_total() {
        let progress = Progress::new(Style::None);
        progress.begin("filter", 200);
        let line = progress.state().render(Style::Json, 50, Instant::now());
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((line["done"].as_u64(), line["total"].as_u64()), (Some(50), Some(200)));
    }
}
