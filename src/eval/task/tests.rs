//! Tasks against the harness's own requests, on a slice in the repository and on whole sets.

use super::*;
use crate::base::beside::beside;

/// Request files and the tasks that must give them.
const SETS: [(&str, &str); 8] = [
    ("arc_challenge", "arc_challenge"),
    ("arc_challenge_validation", "arc_challenge_validation"),
    ("arc_easy", "arc_easy"),
    ("arc_easy_validation", "arc_easy_validation"),
    ("hellaswag", "hellaswag"),
    ("lambada_openai", "lambada_openai"),
    ("piqa", "piqa"),
    ("winogrande", "winogrande"),
];

/// Compares every item of every set below `evals` with its request file; returns how many were
/// compared.
fn compare(evals: &Path) -> usize {
    let mut compared = 0;
    for (file, task) in SETS {
        let requests = evals.join("lm-eval-requests").join(format!("{file}.jsonl.gz"));
        let names = [requests.display().to_string(), task.to_owned()];
        let [expected, found] =
            [&names[..1], &names[1..]].map(|names| open(names, Some(evals)).unwrap().remove(0));
        let items = |task: &Task| task.items(None, Shots::default()).unwrap();
        let (expected, found) = (items(&expected), items(&found));
        assert_eq!(found.len(), expected.len(), "{task}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{task}");
        }
        compared += found.len();
    }
    compared
}

#[test]
fn a_slice_of_each_set_asks_what_the_harness_asks() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evals");
    assert_eq!(compare(&fixtures), 8 * 12);
}

#[test]
fn every_item_of_every_set_asks_what_the_harness_asks() {
    let Some(evals) = beside("data/evals") else { return };
    assert_eq!(compare(&evals), 1172 + 299 + 2376 + 570 + 10042 + 5153 + 1838 + 1267);
}

fn fixture(name: &str) -> Task {
    let evals = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evals");
    open(&[name.to_owned()], Some(&evals)).unwrap().remove(0)
}

#[test]
fn examples_are_the_same_whatever_else_is_asked() {
    let task = fixture("winogrande");
    let shots = Shots { count: 3, seed: 7 };
    let whole = task.items(None, shots).unwrap();
    assert_eq!(task.items(Some(5), shots).unwrap(), whole[..5]);
    let plain = task.items(None, Shots::default()).unwrap();
    for (item, bare) in whole.iter().zip(&plain) {
        let before = item.choices[0].context.strip_suffix(&bare.choices[0].context).unwrap();
        let examples: Vec<&str> = before.split_terminator(BETWEEN_EXAMPLES).collect();
        let right = |other: &Item| {
            let Choice { context, continuation, .. } = &other.choices[other.gold];
            format!("{context}{continuation}")
        };
        assert_eq!(examples.len(), 3);
        for example in examples {
            let drawn = plain.iter().filter(|other| right(other) == example);
            let drawn: Vec<usize> = drawn.map(|other| other.number).collect();
            assert!(!drawn.is_empty() && !drawn.contains(&item.number), "{example}");
        }
    }
    assert_ne!(task.items(None, Shots { seed: 8, ..shots }).unwrap(), whole);
    let error = task.items(None, Shots { count: 12, seed: 0 }).unwrap_err();
    assert!(error.to_string().contains("has 11 examples, not 12"), "{error}");
}

#[test]
fn items_and_tasks_of_ones_own_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let row = r#"{"context": "A", "choices": ["x", "yz"], "gold": 1}"#;
    io::write(Path::new(&path("mine.jsonl")), row.as_bytes()).unwrap();
    let table = "[a]\nfiles = ['mine.jsonl']\ncontext = '{context}:'\ndelimiter = ''\n\
                 choices = '{choices}'\ngold = '{gold}'\nmetric = 'acc'\n";
    io::write(Path::new(&path("tasks.toml")), table.as_bytes()).unwrap();
    let tasks = open(&[path("mine.jsonl"), path("tasks.toml")], None).unwrap();
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["mine", "a"]);
    let item = |task: &Task| task.items(None, Shots::default()).unwrap().remove(0);
    let (mine, own) = (item(&tasks[0]), item(&tasks[1]));
    assert_eq!((mine.choices[1].continuation.as_str(), mine.gold), (" yz", 1));
    assert_eq!((own.choices[1].continuation.as_str(), own.choices[1].text.as_str()), ("yz", "yz"));
    assert_eq!(own.choices[1].context, "A:");
}

#[test]
fn what_is_not_there_is_named() {
    let error = |name: &str| match open(&[name.to_owned()], None) {
        Ok(_) => panic!("it was opened"),
        Err(error) => format!("{error}; {}", error.hint().unwrap_or_default()),
    };
    assert!(error("hellaswg").contains("did you mean `hellaswag`?"));
    assert!(error("hellaswag").contains("--evals DIR"));
    let evals = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/evals");
    let twice = open(&["piqa".to_owned(), "piqa".to_owned()], Some(&evals));
    assert!(twice.is_err_and(|error| error.to_string().contains("two tasks")));
    let labels = evals.join("piqa/valid-labels.lst").display().to_string();
    assert!(error(&labels).contains("neither items nor requests"));
    assert!(fixture("piqa").items(None, Shots { count: 99, seed: 0 }).is_err());
}
