//! `generate`: a trained model continues prompts.
//!
//! In → arguments; out → the text as it comes, or one JSON record; of several, the texts in the
//! order of their prompts, numbered, and a record each as soon as it is over. What is computed
//! lives in [`crate::train`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::printer::Printer;
use super::{Commands, filter::read_text};
use crate::base::error::{Error, Result};
use crate::base::interrupt;
use crate::runtime::model::Sampling;
use crate::train::{self, GenerateOptions, Generated, Said};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// A run, one of its checkpoints, or a model in Hugging Face's form
    pub model: PathBuf,
    /// Text to continue; several are continued side by side [default: an empty one]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// Prompts to continue, one a line; of a `.jsonl` the field `prompt` of each object; `-`: stdin
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Tokens at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_hyphen_values = true)]
    pub temperature: f64,
    /// Draw among so many of the likeliest tokens; 0: among all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub top_k: usize,
    /// Draw among the fewest tokens that have this probability together
    #[arg(long, default_value_t = 1.0, value_name = "P", allow_hyphen_values = true)]
    pub top_p: f64,
    /// Draw among tokens of at least this share of the likeliest's probability
    #[arg(long, default_value_t = 0.0, value_name = "P", allow_hyphen_values = true)]
    pub min_p: f64,
    /// Make tokens that occurred less likely: their logits are divided by it (multiplied below 0)
    #[arg(long, default_value_t = 1.0, value_name = "X", allow_hyphen_values = true)]
    pub repetition_penalty: f64,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// Makes the draws; another seed, another text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The checkpoint of this step of a run [default: the latest]
    #[arg(long, value_name = "STEP")]
    pub step: Option<u64>,
    /// auto, cpu, or cuda
    #[arg(long, default_value = "auto")]
    pub device: String,
}

impl GenerateArgs {
    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            step: self.step,
            max_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                seed: self.seed,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
            },
            stops: self.stop.clone(),
            device: self.device.clone(),
        }
    }
}

impl Commands<'_> {
    /// `generate`
    pub(super) fn generate(&self, args: &GenerateArgs) -> Result<()> {
        let mut prompts = args.prompt.clone();
        if let Some(path) = &args.prompts {
            prompts.extend(read_prompts(path)?);
        }
        let warn = |text: &str| self.printer.warning(text);
        let generator = train::Generator::open(&args.model, &args.options(), &warn)?;
        if prompts.len() > 1 {
            return self.generate_all(&generator, &prompts);
        }
        let prompt = prompts.first().map_or("", String::as_str);
        self.printer.raw(prompt);
        let generated = generator.write(prompt, |text| {
            self.printer.raw(text);
            interrupt::check_end()
        })?;
        self.printer.raw("\n");
        let mut record = serde_json::to_value(&generated).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
        Ok(())
    }

    /// Several prompts: each numbered, with its text.
    fn generate_all(&self, generator: &train::Generator, prompts: &[String]) -> Result<()> {
        let mut page = Page::begin(self.printer, prompts);
        let mut texts: Vec<Option<Generated>> = vec![None; prompts.len()];
        generator.write_all(prompts, |at, said| {
            match said {
                Said::Text(text) => page.text(at, text),
                Said::End(generated) => {
                    page.end(at);
                    let mut record = serde_json::to_value(&generated).expect("plain data");
                    record["type"] = "text".into();
                    record["index"] = at.into();
                    self.printer.record(&record);
                    texts[at] = Some(generated);
                }
            }
            interrupt::check_end()
        })?;
        self.printer.record(&json!({ "type": "summary", "texts": texts }));
        Ok(())
    }
}

/// Texts that come side by side, shown one behind the other: the first that is not over as it
/// comes, those behind it as soon as it is their turn.
struct Page<'a> {
    printer: &'a Printer,
    prompts: &'a [String],
    /// The text that is shown as it comes.
    front: usize,
    /// What came of those behind, and whether they are over.
    behind: BTreeMap<usize, (String, bool)>,
}

impl<'a> Page<'a> {
    fn begin(printer: &'a Printer, prompts: &'a [String]) -> Page<'a> {
        let page = Page { printer, prompts, front: 0, behind: BTreeMap::new() };
        page.head();
        page
    }

    fn head(&self) {
        let between = if self.front > 0 { "\n" } else { "" };
        let label = self.printer.bold(&format!("[{}/{}]", self.front + 1, self.prompts.len()));
        self.printer.raw(&format!("{between}{label} {}", self.prompts[self.front]));
    }

    fn text(&mut self, at: usize, text: &str) {
        match at == self.front {
            true => self.printer.raw(text),
            false => self.behind.entry(at).or_default().0.push_str(text),
        }
    }

    fn end(&mut self, at: usize) {
        if at != self.front {
            self.behind.entry(at).or_default().1 = true;
            return;
        }
        let mut is_over = true;
        while is_over {
            self.printer.raw("\n");
            self.front += 1;
            if self.front == self.prompts.len() {
                return;
            }
            self.head();
            let (text, over) = self.behind.remove(&self.front).unwrap_or_default();
            self.printer.raw(&text);
            is_over = over;
        }
    }
}

/// A line of a file of prompts.
#[derive(Deserialize)]
struct PromptLine {
    prompt: String,
}

/// The prompts of a file; empty lines are none.
fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let is_json = path.extension().is_some_and(|extension| extension == "jsonl");
    let prompt = |(at, line): (usize, &str)| {
        if !is_json {
            return Ok(line.to_owned());
        }
        let line: PromptLine = serde_json::from_str(line).map_err(|error| {
            let message = format!("`{}`, line {}: {error}", path.display(), at + 1);
            Error::config(message).with_hint("each line is an object with a string `prompt`")
        })?;
        Ok(line.prompt)
    };
    let prompts: Vec<String> = lines.map(prompt).collect::<Result<_>>()?;
    if prompts.is_empty() {
        return Err(Error::config(format!("`{}` holds no prompt", path.display())));
    }
    Ok(prompts)
}
