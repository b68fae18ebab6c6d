//! The model card: what a person should know of an exported model, as `README.md`.
//!
//! In → [`Facts`]; out → Markdown with the front matter that Hugging Face's hub reads. Names come
//! from folders and tables, so characters that Markdown would interpret are escaped. Pure.

use std::fmt::Write;

use super::facts::{Ancestor, Facts};
use crate::base::size::Count;
use crate::runtime::model::ModelConfig;

/// What the card says of the files beside it.
pub struct Files<'a> {
    /// The name of the weights' type.
    pub weights: &'a str,
    /// How to use them: a block of code, and its language.
    pub usage: (&'a str, &'a str),
    /// The library that reads them.
    pub library: &'a str,
}

/// The card of a model.
pub fn card(
    name: &str,
    model: &ModelConfig,
    context: usize,
    facts: &Facts,
    files: &Files<'_>,
) -> String {
    let mut text = format!(
        "---\nlibrary_name: {}\npipeline_tag: text-generation\ntags:\n- dataprep\n---\n\n# {}\n\n",
        files.library,
        escaped(name)
    );
    let (parameters, tokens) = (Count(facts.parameters), Count(facts.tokens));
    let _ = match files.library {
        "peft" => writeln!(
            text,
            "Low-rank adapters of {parameters} parameters, trained on {tokens} tokens with \
             dataprep beside a model that stood still.\n"
        ),
        _ => writeln!(
            text,
            "A Llama-style language model of {parameters} parameters, trained on {tokens} tokens \
             with dataprep. It continues text; it was not taught to follow instructions.\n"
        ),
    };
    let (language, code) = files.usage;
    let _ = writeln!(text, "```{language}\n{code}\n```\n");
    let _ = writeln!(
        text,
        "Every text begins with the end-of-text token, as in training; the tokenizer puts it \
         there. The model was trained on texts of up to {} tokens.\n",
        Count(context as u64)
    );
    shape(&mut text, model, files.weights);
    training(&mut text, facts);
    validation(&mut text, facts);
    data(&mut text, facts);
    text
}

fn shape(text: &mut String, model: &ModelConfig, weights: &str) {
    let mut rows = vec![
        ("vocabulary", model.vocab_size.to_string()),
        ("width", model.d_model.to_string()),
        ("layers", model.n_layer.to_string()),
        ("heads", format!("{}, {} of keys and values", model.n_head, model.kv_heads())),
        ("feed-forward width", model.d_ff.to_string()),
        match model.longest() {
            None => ("rotary base", model.rope_theta.to_string()),
            Some(longest) => ("positions", format!("{longest}, learned")),
        },
        ("output head", if model.tied { "the embedding" } else { "its own" }.to_owned()),
        ("weights", weights.to_owned()),
    ];
    let keys = serde_json::to_value(model).expect("numbers and words are JSON");
    let plain = serde_json::to_value(ModelConfig::default()).expect("numbers and words are JSON");
    // Some keys are serialised only where they differ from their defaults; list those.
    for (key, value) in keys.as_object().into_iter().flatten() {
        if plain.get(key).is_none() && key != "context" {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            rows.push((key, value));
        }
    }
    text.push_str("## Shape\n\n");
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
    table(text, ["", ""], &rows);
}

fn training(text: &mut String, facts: &Facts) {
    let setting = |key: &str| match &facts.train[key] {
        serde_json::Value::String(value) => value.clone(),
        value => value.to_string(),
    };
    let mut rows = vec![
        ["step".to_owned(), format!("{} of {}", Count(facts.step), setting("steps"))],
        ["tokens".to_owned(), Count(facts.tokens).to_string()],
    ];
    if let Some(loss) = facts.loss {
        rows.push(["training loss, nats a token".to_owned(), format!("{loss:.4}")]);
    }
    for key in ["batch_tokens", "sequence", "learning_rate", "schedule", "weight_decay", "seed"] {
        rows.push([format!("`train.{key}`"), escaped(&setting(key))]);
    }
    rows.extend(facts.set.iter().map(|(key, value)| [format!("`{key}`"), escaped(value)]));
    text.push_str("## Training\n\n");
    table(text, ["", ""], &rows);
    if !facts.answers_alone.is_empty() {
        let names = facts.answers_alone.iter().map(|name| escaped(name)).collect::<Vec<_>>();
        let _ = writeln!(
            text,
            "Of {} the answers alone were trained on: the loss leaves out prompts, which are only \
             read.\n",
            names.join(", ")
        );
    }
}

fn validation(text: &mut String, facts: &Facts) {
    text.push_str("## Validation\n\n");
    let Some(step) = facts.evals.first().map(|eval| eval.step) else {
        text.push_str("No held-out text was scored.\n\n");
        return;
    };
    let _ = writeln!(
        text,
        "Held-out documents of each source, scored whole after step {}.\n",
        Count(step)
    );
    let rows = facts.evals.iter().map(|eval| {
        [
            escaped(&eval.source),
            Count(eval.documents).to_string(),
            format!("{:.4}", eval.nats / eval.tokens.max(1) as f64),
            format!("{:.4}", eval.bits_per_byte),
            format!("{:.4}", eval.unigram_bits_per_byte),
        ]
    });
    let head = ["source", "documents", "loss", "bits per byte", "of a unigram model"];
    table(text, head, &rows.collect::<Vec<_>>());
}

fn data(text: &mut String, facts: &Facts) {
    text.push_str("## Data\n\n");
    if !facts.sources.is_empty() {
        let rows = facts.sources.iter().map(|source| {
            [escaped(&source.name), Count(source.tokens).to_string(), source.epochs.clone()]
        });
        let head = ["source", "tokens of the mix", "passes over the source"];
        table(text, head, &rows.collect::<Vec<_>>());
    }
    text.push_str("Made from, the nearest first:\n\n");
    let _ = writeln!(text, "- this run, fingerprint `{}`", facts.fingerprint);
    for ancestor in &facts.lineage {
        let _ = writeln!(text, "- {}", line(ancestor));
    }
    if !facts.validated_on.is_empty() {
        text.push_str("\nValidated on, and not trained on:\n\n");
    }
    for ancestor in &facts.validated_on {
        let _ = writeln!(text, "- {}", line(ancestor));
    }
}

fn line(ancestor: &Ancestor) -> String {
    let Ancestor { kind, name, stage, fingerprint, documents, files } = ancestor;
    let mut line = match files {
        Some(1) => format!("1 raw file of {}", escaped(name)),
        Some(count) => format!("{} raw files of {}", Count(*count), escaped(name)),
        None => format!("{kind} {}", escaped(name)),
    };
    if let Some(stage) = stage {
        let _ = write!(line, ", made by `{stage}`");
    }
    if let Some((written, read)) = documents {
        let _ = write!(line, ", {} of {} documents", Count(*written), Count(*read));
    }
    if let Some(fingerprint) = fingerprint {
        let _ = write!(line, ", fingerprint `{fingerprint}`");
    }
    line
}

fn table<const COLUMNS: usize>(
    text: &mut String,
    head: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) {
    let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), " --- |".repeat(COLUMNS));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push('\n');
}

/// Text escaped so that Markdown shows it as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_no_markdown() {
        assert_eq!(escaped("a|b\n# <b>_x_"), "a\\|b \\# \\<b\\>\\_x\\_");
    }
}
