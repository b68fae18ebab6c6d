//! The table of tasks: what a row of an evaluation's file asks, and which answer is right.
//!
//! In → `tasks.toml`, and a person's own files of such tables; out → [`TaskSpec`]s by name, checked
//! as [`Composer`]s, which turn a row into an [`Item`]. The head of `tasks.toml` explains each key.
//! The reference is lm-evaluation-harness: a request is (context, delimiter + choice), and for
//! partial scoring (context with the choice, delimiter + rest).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::{Template, trim};
use super::{Choice, Item};
use crate::base::config;
use crate::base::error::{Error, Result};

/// The tasks that every build knows.
const KNOWN: &str = include_str!("tasks.toml");

/// One task as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    pub files: Vec<String>,
    #[serde(default)]
    pub examples: Vec<String>,
    #[serde(default)]
    pub labels_file: Vec<String>,
    #[serde(default)]
    description: String,
    clean: Option<String>,
    context: Option<String>,
    contexts: Option<Vec<String>>,
    continuation: Option<String>,
    choices: Option<Several>,
    #[serde(default = "space")]
    delimiter: String,
    labels: Option<Several>,
    gold: String,
    pub metric: Metric,
}

/// A field that holds a list, or one template for each entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Several {
    Field(String),
    Each(Vec<String>),
}

fn space() -> String {
    " ".to_owned()
}

/// The figure that names a task's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Acc,
    AccNorm,
    Perplexity,
}

/// The tasks of every build, by name.
pub fn known() -> BTreeMap<String, TaskSpec> {
    toml::from_str(KNOWN).expect("a test reads the project's own table")
}

/// The tasks of a person's file.
///
/// # Errors
/// Config: no TOML, an unknown or missing key, named with its task.
pub fn read(path: &Path) -> Result<BTreeMap<String, TaskSpec>> {
    let tables = config::read(path)?.into_iter().map(|(name, value)| {
        let what = format!("task `{name}` of `{}`", path.display());
        let toml::Value::Table(table) = value else {
            return Err(Error::config(format!("{what} is no table"))
                .with_hint(format!("write its keys below `[{name}]`")));
        };
        Ok((name, config::parse(table, &what)?))
    });
    tables.collect()
}

/// JSON Lines of `context`, `choices` and `gold`.
pub fn plain() -> TaskSpec {
    let text = "files = []\ncontext = '{context}'\nchoices = '{choices}'\ngold = '{gold}'\n\
                metric = 'acc_norm'";
    toml::from_str(text).expect("it has every key")
}

/// A task that can be applied to rows.
pub struct Composer {
    description: Template,
    asks: Asks,
    delimiter: String,
    labels: Option<Labels>,
    gold: Template,
}

/// What differs between the choices.
enum Asks {
    /// Several texts, each of which may follow one context.
    Choices(Template, Labels),
    /// Several contexts, each of which may precede one continuation.
    Contexts(Vec<Template>, Template),
}

enum Labels {
    Field(Template),
    Each(Vec<Template>),
}

impl Labels {
    fn parse(several: &Several, template: &dyn Fn(&str) -> Result<Template>) -> Result<Labels> {
        Ok(match several {
            Several::Field(field) => Labels::Field(template(field)?),
            Several::Each(each) => {
                Labels::Each(each.iter().map(|one| template(one)).collect::<Result<_>>()?)
            }
        })
    }

    fn of(&self, row: &Value) -> Result<Vec<String>> {
        match self {
            Labels::Field(field) => field.list(row),
            Labels::Each(each) => each.iter().map(|template| template.text(row)).collect(),
        }
    }
}

impl Composer {
    /// Parses every template.
    ///
    /// # Errors
    /// Config: a template that is none, keys that do not go together.
    pub fn new(spec: &TaskSpec) -> Result<Composer> {
        let cleaned = |text: &str| match &spec.clean {
            Some(filter) => Template::parse(text)?.cleaned(filter),
            None => Template::parse(text),
        };
        let asks = match (&spec.context, &spec.contexts, &spec.choices, &spec.continuation) {
            (Some(context), None, Some(choices), None) => {
                Asks::Choices(cleaned(context)?, Labels::parse(choices, &cleaned)?)
            }
            (None, Some(contexts), None, Some(continuation)) => {
                let contexts = contexts.iter().map(|context| cleaned(context));
                Asks::Contexts(contexts.collect::<Result<_>>()?, cleaned(continuation)?)
            }
            _ => {
                return Err(Error::config("which of its texts differ between the choices?")
                    .with_hint("give `context` and `choices`, or `contexts` and `continuation`"));
            }
        };
        let labels = spec.labels.as_ref().map(|labels| Labels::parse(labels, &Template::parse));
        Ok(Composer {
            description: Template::parse(&spec.description)?,
            asks,
            delimiter: spec.delimiter.clone(),
            labels: labels.transpose()?,
            gold: Template::parse(&spec.gold)?,
        })
    }

    /// The question that `row` asks.
    ///
    /// # Errors
    /// Failed: a field is missing, or its gold is none of the choices.
    pub fn item(&self, number: usize, row: &Value) -> Result<Item> {
        let choice = |context: String, text: String| Choice {
            context,
            continuation: format!("{}{text}", self.delimiter),
            text,
        };
        let choices: Vec<Choice> = match &self.asks {
            Asks::Choices(context, choices) => {
                let context = context.text(row)?;
                let texts = choices.of(row)?.into_iter();
                texts.map(|text| choice(context.clone(), text)).collect()
            }
            Asks::Contexts(contexts, continuation) => {
                let rest = continuation.text(row)?;
                let contexts = contexts.iter().map(|context| context.text(row));
                contexts.map(|context| Ok(choice(context?, rest.clone()))).collect::<Result<_>>()?
            }
        };
        let gold = self.gold.text(row)?;
        let place = match &self.labels {
            Some(labels) => labels.of(row)?.iter().position(|label| *label == gold),
            None => trim(&gold).parse().ok(),
        };
        let gold = place.filter(|place| *place < choices.len()).ok_or_else(|| {
            Error::failed(format!("its gold is `{gold}`, none of its {} choices", choices.len()))
                .with_hint("the place of the right choice, from 0")
        })?;
        if choices[gold].text.is_empty() {
            return Err(Error::failed(
                "its right choice is an empty text: there is nothing to ask",
            ));
        }
        Ok(Item { number, description: self.description.text(row)?, choices, gold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(task: &str, row: Value) -> Item {
        Composer::new(&known()[task]).unwrap().item(0, &row).unwrap()
    }

    fn requests(task: &str, row: Value) -> (Vec<(String, String)>, usize) {
        let item = item(task, row);
        let pairs = item.choices.iter().map(|choice| {
            (format!("{}{}", item.description, choice.context), choice.continuation.clone())
        });
        (pairs.collect(), item.gold)
    }

    #[test]
    fn every_known_task_can_be_composed() {
        for (name, spec) in known() {
            assert!(Composer::new(&spec).is_ok(), "{name}");
            assert!(!spec.files.is_empty(), "{name}");
        }
    }

    /// Requests by the rules of lm-evaluation-harness 0.4.13 (`lm_eval/tasks`), worked out by hand:
    /// for the tasks of which no request file is at hand.
    #[test]
    fn tasks_ask_what_the_harness_asks() {
        let pair = |context: &str, continuation: &str| (context.into(), continuation.into());
        let openbook = json!({"id": "8-343", "question_stem": "A person wants to start saving",
            "choices": {"text": ["make more phone calls", "quit eating lunch out"],
                "label": ["A", "B"]}, "answerKey": " B"});
        let expected = vec![
            pair("A person wants to start saving", " make more phone calls"),
            pair("A person wants to start saving", " quit eating lunch out"),
        ];
        assert_eq!(requests("openbookqa", openbook), (expected, 1));
        let sciq = json!({"question": "Oxidants and …?", "distractor3": "residues",
            "distractor1": "antioxidants", "distractor2": "Oxygen", "correct_answer": "compounds",
            "support": "\n Oxidants"});
        let (pairs, gold) = requests("sciq", sciq);
        assert_eq!(pairs[3], pair("Oxidants\nQuestion: Oxidants and …?\nAnswer:", " compounds"));
        assert_eq!((pairs.len(), gold), (4, 3));
        let boolq = json!({"question": "is it", "passage": "It is.", "answer": true});
        let expected = ["no", "yes"]
            .map(|word| pair("It is.\nQuestion: is it?\nAnswer:", &format!(" {word}")));
        assert_eq!(requests("boolq", boolq), (expected.to_vec(), 1));
        let copa = json!({"premise": "The man broke his toe. ", "question": "cause", "label": 1,
            "choice1": "He got a hole in his sock.", "choice2": "He dropped a hammer."});
        let expected = vec![
            pair("The man broke his toe because", "  he got a hole in his sock."),
            pair("The man broke his toe because", "  he dropped a hammer."),
        ];
        assert_eq!(requests("copa", copa), (expected, 1));
    }

    #[test]
    fn letters_and_answers_of_mmlu_and_commonsense_qa() {
        let row = json!({"0": " Find it. ", "1": "a", "2": "b", "3": "c", "4": "d", "5": "C",
            "file_stem": "abstract_algebra_test"});
        let (pairs, gold) = requests("mmlu", row.clone());
        let context = "The following are multiple choice questions (with answers) about abstract \
                       algebra.\n\nFind it.\nA. a\nB. b\nC. c\nD. d\nAnswer:";
        assert_eq!((pairs[2].0.as_str(), pairs[2].1.as_str(), gold), (context, " C", 2));
        let (pairs, gold) = requests("mmlu_cloze", row);
        let context = "The following are questions (with answers) about abstract algebra.\n\n\
                       Question: Find it.\nAnswer:";
        assert_eq!((pairs[2].0.as_str(), pairs[2].1.as_str(), gold), (context, " c", 2));
        let choices: Vec<Value> = ["A", "B", "C", "D", "E"]
            .iter()
            .map(|label| json!({"label": label, "text": format!("to {label}")}))
            .collect();
        let row = json!({"answerKey": "E", "question": {"stem": "Why? ", "choices": choices}});
        let (pairs, gold) = requests("commonsense_qa", row);
        let context =
            "Question: Why?\nA. to A\nB. to B\nC. to C\nD. to D\nE. to E\nAnswer:".to_owned();
        assert_eq!((&pairs[4], gold), (&(context, " E".to_owned()), 4));
    }

    #[test]
    fn the_original_form_of_arc_asks_the_same() {
        let hub = json!({"question": "Which?", "choices": {"text": ["x", "y"],
            "label": ["1", "2"]}, "answerKey": "2"});
        let original = json!({"question": {"stem": "Which?", "choices": [
            {"text": "x", "label": "1"}, {"text": "y", "label": "2"}]}, "answerKey": "2"});
        assert_eq!(item("arc_easy", hub), item("arc_easy", original));
    }

    #[test]
    fn a_task_of_ones_own_is_refused_by_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        let error = |text: &str| {
            crate::base::io::write(&path, text.as_bytes()).unwrap();
            let spec = read(&path).map(|tasks| Composer::new(&tasks["mine"]).map(drop));
            spec.and_then(|composed| composed).unwrap_err().to_string()
        };
        let keys = "files = ['a.jsonl']\ngold = '{g}'\nmetric = 'acc'\n";
        assert!(error("mine = 3").contains("is no table"));
        assert!(error(&format!("[mine]\n{keys}choises = '{{c}}'")).contains("`choises`"));
        assert!(error(&format!("[mine]\n{keys}context = 'x'")).contains("which of its texts"));
        let both = "context = '{c'\nchoices = '{d}'";
        assert!(error(&format!("[mine]\n{keys}{both}")).contains("a brace stands alone"));
    }

    #[test]
    fn a_gold_that_is_no_choice_fails() {
        let composer = Composer::new(&plain()).unwrap();
        let row = |gold: Value| json!({"context": "c", "choices": ["x", "y"], "gold": gold});
        assert_eq!(composer.item(4, &row(json!(1))).unwrap().gold, 1);
        for gold in [json!(2), json!(-1), json!("y")] {
            let error = composer.item(4, &row(gold)).unwrap_err().to_string();
            assert!(error.contains("none of its 2 choices"), "{error}");
        }
        // A choice without bytes would have no bits per byte.
        let row = json!({"context": "c", "choices": ["", "y"], "gold": 0});
        let error = composer.item(4, &row).unwrap_err().to_string();
        assert!(error.contains("an empty text"), "{error}");
    }
}
