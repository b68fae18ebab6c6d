//! A conversation → one text: its messages, each by a template, one after another.
//!
//! In → role and content of each message; out → the text, and which bytes of it the answering side
//! says. The template names `{role}` and `{content}`; it is written once a message, and white space
//! at the very end is left out. The default, `{role}: {content}` and an empty line, spells no
//! special token, so that nothing is mistaken for one; a chat format of a model is one line of
//! configuration away. Roles stay as they are called in the data (`user`, `human`, `gpt` …). Pure.

use std::ops::Range;

use crate::base::error::{Error, Result};

/// How a message is written when no template is given.
const TEMPLATE_DEFAULT: &str = "{role}: {content}\n\n";

/// The keys that a message's role and content have: OpenAI's, then ShareGPT's.
pub const ROLE_KEYS: [&str; 2] = ["role", "from"];
pub const CONTENT_KEYS: [&str; 2] = ["content", "value"];

/// What the side that answers is called: OpenAI's, ShareGPT's and Gemma's names.
const ANSWERING: [&str; 3] = ["assistant", "gpt", "model"];
/// The column that says which bytes of a text are answers, where that is asked for.
pub const ANSWERS: &str = "answer_bytes";

/// The fields of an object that is a prompt and its completion.
pub const PROMPT: &str = "prompt";
pub const COMPLETION: &str = "completion";
/// The field of an object that is a conversation.
pub const MESSAGES: &str = "messages";

/// How one message is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Role,
    Content,
}

impl Default for Template {
    fn default() -> Template {
        Template::parse(TEMPLATE_DEFAULT).expect("it has `{content}`")
    }
}

impl Template {
    /// Refuses a template that would leave the content out.
    pub fn parse(template: &str) -> Result<Template> {
        let (mut parts, mut rest) = (Vec::new(), template);
        let places = [("{role}", Part::Role), ("{content}", Part::Content)];
        while !rest.is_empty() {
            let next =
                places.iter().filter_map(|(name, part)| Some((rest.find(name)?, name, part)));
            let Some((at, name, part)) = next.min_by_key(|(at, ..)| *at) else { break };
            parts.push(Part::Text(rest[..at].to_owned()));
            parts.push(part.clone());
            rest = &rest[at + name.len()..];
        }
        parts.push(Part::Text(rest.to_owned()));
        if !parts.contains(&Part::Content) {
            let message = format!("`message_template` names no `{{content}}`: `{template}`");
            return Err(Error::config(message).with_hint(
                "write `{role}` and `{content}` where they go, as in `{role}: {content}`",
            ));
        }
        Ok(Template { parts })
    }

    /// Adds one message to `text`. Gives the byte at which its content begins.
    pub fn write(&self, role: &str, content: &str, text: &mut String) -> usize {
        let mut begin = None;
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(fixed) => fixed,
                Part::Role => role,
                Part::Content => {
                    begin.get_or_insert(text.len());
                    content
                }
            });
        }
        begin.expect("`parse` refuses a template without `{content}`")
    }
}

/// Ends a conversation's text, which begins at byte `start`.
pub fn finish(text: &mut String, start: usize) {
    text.truncate(start + text[start..].trim_end().len());
}

/// Whether `role` is the side that answers.
pub fn is_answering(role: &str) -> bool {
    ANSWERING.contains(&role)
}

/// Stretches of a text of `end` bytes as [`ANSWERS`] holds them: `17-42,60-71`, cut at the text's
/// end. Where nobody answers, there is one stretch, which is empty.
pub fn list(stretches: &[Range<usize>], end: usize) -> String {
    if stretches.is_empty() {
        return format!("{end}-{end}");
    }
    let inside = stretches.iter().map(|it| format!("{}-{}", it.start.min(end), it.end.min(end)));
    inside.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_by_the_template_and_nothing_in_them_is_taken_for_it() {
        let write = |template: &Template| {
            let mut text = String::new();
            template.write("user", "Is {role} a word?", &mut text);
            template.write("assistant", "Yes.\n", &mut text);
            finish(&mut text, 0);
            text
        };
        let text = write(&Template::default());
        assert_eq!(text, "user: Is {role} a word?\n\nassistant: Yes.");
        let chat = Template::parse("<|im_start|>{role}\n{content}<|im_end|>\n").unwrap();
        let text = write(&chat);
        assert!(text.starts_with("<|im_start|>user\nIs {role}"), "{text}");
        assert!(text.ends_with("Yes.\n<|im_end|>"), "{text}");
        assert!(Template::parse("{role}").is_err_and(|error| error.exit_status() == 2));
        assert!(Template::parse("").is_err());
    }
}
