//! Goals on the way: judged, noted, kept over a resume, an end where one is asked for.

use serde_json::Value;

use super::{Bench, options, stop_after};
use crate::base::io;
use crate::train::layout::{self, State};

const MET: &str = "{ name = 'smoke', at = 4, loss = 99.0 }";
/// No model knows its text so well.
const MISSED: &str = "name = 'proof', at = '50%', bits_per_byte = 0.001";

fn goals(stop: bool) -> String {
    format!("train.goal=[{{ {MISSED}, stop = {stop} }}, {MET}]")
}

fn noted(bench: &Bench, name: &str) -> Vec<Value> {
    let text = io::read_text(&bench.path(name).join(layout::RUN)).unwrap();
    let run: Value = serde_json::from_str(&text).unwrap();
    run["goals"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_run_ends_where_a_goal_is_missed_and_goes_on_when_told_to() {
    let bench = Bench::new();
    let (leave, go_on) = (goals(true), goals(false));
    bench.train("whole", &[&go_on], &options()).unwrap();
    let summary = bench.train("run", &[&leave], &options()).unwrap();
    assert_eq!((summary.state, summary.step), (State::Stopped, 10));
    assert!(bench.checkpoints("run").contains(&"step-000010".to_owned()));
    let said = summary.to_string();
    assert!(said.contains("goal `smoke` met after step 4: "), "{said}");
    assert!(said.contains("goal `proof` missed after step 10: "), "{said}");
    assert!(said.contains("the run ends here, as its `stop = true` asks"), "{said}");
    let page = io::read_text(&bench.path("run").join(layout::REPORT)).unwrap();
    assert!(page.contains("missed; the run ended here") && page.contains(">met<"), "{page}");
    // The same command leaves it as it is.
    let again = bench.train("run", &[&leave], &options()).unwrap();
    assert_eq!((again.resumed_from, again.step), (10, 10));
    // Goals are no part of the run: it goes on, and ends as the one that never left.
    let summary = bench.train("run", &[&go_on], &options()).unwrap();
    assert_eq!((summary.resumed_from, summary.step, summary.state), (10, 20, State::Done));
    assert_eq!(bench.manifest("run"), bench.manifest("whole"));
    assert_eq!(noted(&bench, "run"), noted(&bench, "whole"));
}

#[test]
fn a_resumed_run_has_the_verdicts_of_one_that_never_stopped() {
    let bench = Bench::new();
    let goals = goals(false);
    bench.train("whole", &[&goals], &options()).unwrap();
    let whole = noted(&bench, "whole");
    assert_eq!(whole.len(), 2, "{whole:?}");
    for stop in [3, 4, 7, 10, 13] {
        let name = format!("stopped-{stop}");
        bench.train(&name, &[&goals], &stop_after(stop)).unwrap();
        let due = usize::from(stop >= 4) + usize::from(stop >= 10);
        assert_eq!(noted(&bench, &name), whole[..due]);
        bench.train(&name, &[&goals], &options()).unwrap();
        assert_eq!(noted(&bench, &name), whole);
    }
    // Given later, they are judged by what stood then.
    bench.train("late", &[], &stop_after(15)).unwrap();
    bench.train("late", &[&goals], &options()).unwrap();
    assert_eq!(noted(&bench, "late"), whole);
}

#[test]
fn a_goal_that_cannot_be_checked_is_refused_before_the_run() {
    let bench = Bench::new();
    for (goal, part) in [
        ("{ name = 'late', at = 21, loss = 1.0 }", "due after step 21, and the run has 20"),
        ("{ name = 'soon', at = 3, bits_per_byte = 1.0 }", "before the first evaluation"),
        ("{ name = 'much', at = '4k tokens', loss = 1.0 }", "due after step 32"),
        ("{ name = 'none', at = 3 }", "wants `bits_per_byte` or `loss`"),
        ("{ name = 'when', at = 'soon', loss = 1.0 }", "`at` is `soon`"),
        ("{ name = 'odd', at = 3, los = 1.0 }", "los"),
    ] {
        let set = format!("train.goal=[{goal}]");
        let error = bench.train("run", &[&set], &options()).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert_eq!(error.exit_status(), 2);
        assert!(!bench.path("run").exists());
    }
}
