//! One text before the rules: every rule with its value and limit.
//!
//! A configuration and a text in → [`Judgement`], which prints itself as a table and as JSON: what
//! `filter --try` shows, with the parts of the text that failing rules count against it. Every
//! rule is asked, also behind one that fails. Cost: as `--annotate`, and a look at the text for
//! each rule that fails.

use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;

use super::config::FilterConfig;
use super::excerpt::excerpt;
use super::rules::{Measure, RuleSet, spans};
use super::view::Room;
use crate::base::error::Result;

/// What the rules say of a text.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The first rule that fails, in the order of the configuration; `None` keeps the text.
    pub rule: Option<&'static str>,
    pub measures: Vec<Measured>,
    /// The text as the rules leave it, where they change it.
    pub edited: Option<String>,
    /// The text as it came.
    #[serde(skip)]
    text: String,
}

/// One rule's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// `filter/rule`.
    pub rule: &'static str,
    /// `null` where there was nothing to divide by.
    pub value: Option<f64>,
    pub limit: Option<f64>,
    /// `at least` or `at most`.
    pub bound: &'static str,
    pub passes: bool,
    /// Where it fails, the parts of the text that count against it; none where all of it does.
    pub spans: Vec<Span>,
    /// The text that the spans lie in, where rules had edited it by then; else it is as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A part of a text: bytes from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// Excerpts shown of a rule that fails.
const EXCERPTS: usize = 3;

impl Measured {
    fn of(measure: Measure) -> Measured {
        let (bound, limit) = measure.limit.parts();
        Measured {
            rule: measure.rule,
            value: measure.value.is_finite().then_some(measure.value),
            limit: limit.is_finite().then_some(limit),
            bound,
            passes: measure.passes(),
            spans: Vec::new(),
            text: None,
        }
    }

    /// Finds the spans of a rule that fails.
    fn mark(&mut self, rule_sets: &[Box<dyn RuleSet>], owner: usize, room: &mut Room, text: &str) {
        let (found, view) = spans::find(rule_sets, owner, self.rule, room.view(text));
        self.text = view.edited().filter(|_| !found.is_empty()).map(str::to_owned);
        self.spans =
            found.into_iter().map(|span| Span { start: span.start, end: span.end }).collect();
    }
}

/// Judges one text; rule sets that read columns are left out, as a text has none.
///
/// # Errors
/// Whatever is wrong with the configuration.
pub fn judge(config: FilterConfig, text: &str) -> Result<Judgement> {
    let config = config.with_preset()?;
    let rule_sets = config.build()?;
    let mut room = Room::new(config.splitter());
    let mut view = room.view(text).complete();
    let (mut measures, mut owners): (Vec<Measured>, Vec<usize>) = (Vec::new(), Vec::new());
    for (owner, rule_set) in rule_sets.iter().enumerate() {
        if rule_set.columns().is_empty() {
            let _ = rule_set.measure(&mut view, &mut |measure| {
                measures.push(Measured::of(measure));
                owners.push(owner);
                ControlFlow::Continue(())
            });
        }
    }
    let edited = view.into_edited();
    for (measured, owner) in measures.iter_mut().zip(owners).filter(|(one, _)| !one.passes) {
        measured.mark(&rule_sets, owner, &mut room, text);
    }
    let rule = measures.iter().find(|measured| !measured.passes).map(|measured| measured.rule);
    Ok(Judgement { rule, measures, edited, text: text.to_owned() })
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.measures.iter().map(|measured| measured.rule.len()).max().unwrap_or(0);
        for Measured { rule, value, limit, bound, passes, .. } in &self.measures {
            let mark = if *passes { " " } else { "✗" };
            let value = value.map_or_else(|| "-".to_owned(), number);
            let limit =
                limit.map_or_else(|| "no limit".into(), |n| format!("{bound} {}", number(n)));
            writeln!(f, "{mark} {rule:width$}  {value:>12}  {limit}")?;
        }
        for Measured { rule, spans, text, .. } in &self.measures {
            let text = text.as_deref().unwrap_or(&self.text);
            for (at, span) in spans.iter().take(EXCERPTS).enumerate() {
                if at == 0 {
                    writeln!(f, "{rule}, {} in the text:", spans.len())?;
                }
                writeln!(f, "  {}", excerpt(text, &(span.start..span.end)))?;
            }
        }
        if self.edited.is_some() {
            writeln!(f, "the rules edit the text")?;
        }
        match self.rule {
            None => write!(f, "kept"),
            Some(rule) => write!(f, "dropped by {rule}"),
        }
    }
}

/// A count as it is, a share with six decimals at most.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_shown_and_the_first_that_fails_decides() {
        let judged = judge(FilterConfig::new(["gopher_quality"]), "Too few words, and no end");
        let judged = judged.unwrap();
        assert_eq!(judged.rule, Some("quality/gopher_short_doc"));
        assert!(judged.measures.len() > 8, "{judged}");
        assert!(judged.to_string().contains("✗ quality/gopher_short_doc"), "{judged}");
        let short = judged.measures.iter().find(|one| one.rule == "quality/gopher_short_doc");
        assert_eq!(short.unwrap().value, Some(6.0), "words without the comma");
        let text = judged.to_string();
        assert!(!text.contains("[["), "a text that is too short has no part at fault: {text}");
        let fineweb = FilterConfig { preset: Some("fineweb".into()), ..FilterConfig::default() };
        let judged = judge(fineweb, "One line.\nJavaScript is off.").unwrap();
        assert!(judged.measures.len() > 20, "{judged}");
    }

    #[test]
    fn a_rule_that_fails_shows_where() {
        let text = "# Many # of these #\nand # more # of them # all";
        let judged = judge(FilterConfig::new(["gopher_quality"]), text).unwrap();
        let hashes = judged.measures.iter().find(|one| one.rule.ends_with("many_hashes")).unwrap();
        assert_eq!(hashes.spans.len(), 6);
        assert_eq!(hashes.spans[1], Span { start: 7, end: 8 });
        let shown = judged.to_string();
        let expected = "quality/gopher_too_many_hashes, 6 in the text:\n  \
                        [[#]] Many # of these #\\nand # more …\n  \
                        # Many [[#]] of these #\\nand # more # of th…\n  \
                        # Many # of these [[#]]\\nand # more # of them # all\n";
        assert!(shown.contains(expected), "{shown}");
        let json = serde_json::to_value(&judged).unwrap();
        assert_eq!(json["measures"][4]["spans"][1], serde_json::json!({"start": 7, "end": 8}));
        assert_eq!(json["measures"][0]["spans"], serde_json::json!([]));
    }

    #[test]
    fn spans_lie_in_the_text_that_their_rule_saw() {
        let text = "Go to http://a.com now\n# of # the # and # to\n";
        let text = format!("The {text}");
        let judged = judge(FilterConfig::new(["dclm"]), &text).unwrap();
        let symbols = judged.measures.iter().find(|one| one.rule == "dclm/symbol_ratio_filter");
        let symbols = symbols.unwrap();
        let seen = symbols.text.as_deref().expect("the address is gone by then");
        assert!(!seen.contains("http"), "{seen}");
        assert!(symbols.spans.iter().all(|span| &seen[span.start..span.end] == "#"));
        assert_eq!(symbols.spans.len(), 4);
    }
}
