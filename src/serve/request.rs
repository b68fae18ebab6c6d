//! What a client asks for: the body of `/v1/completions` → [`Asked`], or a [`Refusal`].
//!
//! In → bytes; out → a request all of whose values are inside their ranges. **Method.** OpenAI's
//! parameters by their names and defaults (API reference, *Create completion*), and three of those
//! that vLLM adds: `top_k`, `min_p`, `repetition_penalty`. A parameter that would change the answer
//! and is not supported is refused by name, never ignored. Pure.

use serde_json::{Map, Value, json};

use crate::runtime::model::Sampling;

/// The most texts of one request: prompts × `n`.
const TEXTS_MAX: usize = 128;
/// The most alternatives listed for a token.
const ALTERNATIVES_MAX: usize = 20;
/// The most stop strings, and the most bytes of each.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;

/// A valid request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub prompts: Vec<Prompt>,
    /// Texts for each prompt.
    pub n: usize,
    pub max_tokens: usize,
    /// Its seed counts only where `seeded`.
    pub sampling: Sampling,
    pub seeded: bool,
    /// Whether the answer comes piece by piece.
    pub stream: bool,
    /// Whether the last piece counts the tokens.
    pub stream_usage: bool,
    /// Alternatives listed for each token; none: no probabilities at all.
    pub logprobs: Option<usize>,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    pub stops: Vec<String>,
}

/// The text to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    Text(String),
    /// Ids of the model's tokens, as they are.
    Tokens(Vec<u32>),
}

/// Why there is no answer, in OpenAI's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub kind: &'static str,
    pub message: String,
    /// The parameter that was wrong.
    pub parameter: Option<String>,
    pub code: Option<&'static str>,
}

impl Refusal {
    /// A refusal with a status, and the kind of error that OpenAI has for it.
    pub fn new(status: u16, message: impl Into<String>) -> Refusal {
        let kind = match status {
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        Refusal { status, kind, message: message.into(), parameter: None, code: None }
    }

    /// A refusal of a parameter's value.
    pub fn of(parameter: &str, message: impl Into<String>) -> Refusal {
        let parameter = Some(parameter.to_owned());
        Refusal { parameter, ..Refusal::new(400, message) }
    }

    pub fn with_code(self, code: &'static str) -> Refusal {
        Refusal { code: Some(code), ..self }
    }

    /// The body of the response.
    pub fn json(&self) -> Value {
        let Refusal { kind, message, parameter, code, .. } = self;
        json!({"error": {"message": message, "type": kind, "param": parameter, "code": code}})
    }
}

type Checked<T> = Result<T, Refusal>;

/// Reads the body of a request to the model called `model`.
pub fn parse(body: &[u8], model: &str) -> Checked<Asked> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, format!("the body is no JSON: {error}")))?;
    let Value::Object(map) = value else {
        return Err(Refusal::new(400, "the body is no JSON object"));
    };
    let mut fields = Fields(map);
    check_model(&mut fields, model)?;
    let prompts = prompts(fields.take("prompt"))?;
    let n = fields.count("n", 1, 1, TEXTS_MAX)?;
    if fields.count("best_of", n, 1, TEXTS_MAX)? != n {
        return Err(Refusal::of("best_of", "`best_of` other than `n` is not supported"));
    }
    if prompts.len() * n > TEXTS_MAX {
        let message = format!("{} prompts × n = {n}: at most {TEXTS_MAX} texts", prompts.len());
        return Err(Refusal::of("n", message));
    }
    let (sampling, seeded) = sampling(&mut fields)?;
    let stream = fields.flag("stream")?;
    let stream_usage = stream_usage(fields.take("stream_options"), stream)?;
    let logprobs = match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => None,
        Some(value) => Some(count("logprobs", &value, 0, ALTERNATIVES_MAX)?),
    };
    let max_tokens = fields.count("max_tokens", 16, 0, u32::MAX as usize)?;
    let echo = fields.flag("echo")?;
    let stops = stops(fields.take("stop"))?;
    fields.take("user");
    refuse_what_is_not_computed(&mut fields)?;
    Ok(Asked {
        prompts,
        n,
        max_tokens,
        sampling,
        seeded,
        stream,
        stream_usage,
        logprobs,
        echo,
        stops,
    })
}

fn check_model(fields: &mut Fields, model: &str) -> Checked<()> {
    match fields.take("model") {
        None => Ok(()),
        Some(Value::String(name)) if name == model => Ok(()),
        Some(Value::String(name)) => Err(unknown_model(&name, model)),
        Some(_) => Err(Refusal::of("model", "`model` is no text")),
    }
}

/// The refusal of a request for a model that is not here.
pub fn unknown_model(name: &str, model: &str) -> Refusal {
    let message = format!("the model `{name}` does not exist: this server has `{model}`");
    let refusal = Refusal { status: 404, ..Refusal::of("model", message) };
    refusal.with_code("model_not_found")
}

fn sampling(fields: &mut Fields) -> Checked<(Sampling, bool)> {
    let seed = match fields.take("seed") {
        None => None,
        Some(value) => {
            // Negative seeds are accepted too.
            let seed = value.as_u64().or_else(|| value.as_i64().map(|seed| seed as u64));
            Some(seed.ok_or_else(|| Refusal::of("seed", "`seed` is no whole number"))?)
        }
    };
    let sampling = Sampling {
        temperature: fields.number("temperature", 1.0, |it| (0.0..=100.0).contains(&it))?,
        seed: seed.unwrap_or(0),
        top_k: fields.count("top_k", 0, 0, u32::MAX as usize)?,
        top_p: fields.number("top_p", 1.0, |it| it > 0.0 && it <= 1.0)?,
        min_p: fields.number("min_p", 0.0, |it| (0.0..=1.0).contains(&it))?,
        repetition_penalty: fields.number("repetition_penalty", 1.0, |it| it > 0.0 && it < 1e6)?,
    };
    let checked = sampling.check().map_err(|error| Refusal::new(400, error.to_string()));
    checked.map(|()| (sampling, seed.is_some()))
}

fn stream_usage(options: Option<Value>, stream: bool) -> Checked<bool> {
    let Some(options) = options else { return Ok(false) };
    let wrong = |message: &str| Err(Refusal::of("stream_options", message));
    let Value::Object(options) = options else { return wrong("`stream_options` is no object") };
    if !stream {
        return wrong("`stream_options` goes with `stream` alone");
    }
    let mut fields = Fields(options);
    let usage = fields.flag("include_usage")?;
    fields.flag("include_obfuscation")?;
    fields.finish()?;
    Ok(usage)
}

fn prompts(value: Option<Value>) -> Checked<Vec<Prompt>> {
    let wrong = |message: &str| Err(Refusal::of("prompt", message));
    let items = match value {
        None => return Ok(vec![Prompt::Text(String::new())]),
        Some(Value::String(text)) => return Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(items)) if items.is_empty() => return wrong("`prompt` is empty"),
        Some(Value::Array(items)) => items,
        Some(_) => return wrong("`prompt` is neither a text nor a list"),
    };
    if items.iter().all(Value::is_number) {
        return Ok(vec![Prompt::Tokens(tokens(&items)?)]);
    }
    let one = |item: Value| match item {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(ids) => tokens(&ids).map(Prompt::Tokens),
        _ => {
            let message =
                "`prompt` is a text, a list of texts, token ids, or a list of lists of them";
            Err(Refusal::of("prompt", message))
        }
    };
    items.into_iter().map(one).collect()
}

fn tokens(ids: &[Value]) -> Checked<Vec<u32>> {
    let one = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = ids.iter().map(one).collect();
    ids.ok_or_else(|| Refusal::of("prompt", "`prompt` has an item that is no token id"))
}

fn stops(value: Option<Value>) -> Checked<Vec<String>> {
    let wrong = |message: String| Refusal::of("stop", message);
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    if items.len() > STOPS_MAX {
        return Err(wrong(format!("`stop` has {} texts: at most {STOPS_MAX}", items.len())));
    }
    let one = |item: Value| match item {
        Value::String(text) if (1..=STOP_BYTES_MAX).contains(&text.len()) => Ok(text),
        Value::String(_) => Err(wrong(format!("a stop text has 1 to {STOP_BYTES_MAX} bytes"))),
        _ => Err(wrong("`stop` is a text or a list of texts".to_owned())),
    };
    items.into_iter().map(one).collect()
}

/// Refuses OpenAI's parameters that this server lacks, unless their values change nothing.
fn refuse_what_is_not_computed(fields: &mut Fields) -> Checked<()> {
    for name in ["presence_penalty", "frequency_penalty"] {
        if fields.number(name, 0.0, |_| true)? != 0.0 {
            let message = format!("`{name}` is not supported; `repetition_penalty` is");
            return Err(Refusal::of(name, message));
        }
    }
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    for name in ["logit_bias", "suffix"] {
        if fields.take(name).is_some_and(|value| !is_empty(&value)) {
            return Err(Refusal::of(name, format!("`{name}` is not supported")));
        }
    }
    let rest = std::mem::take(&mut fields.0);
    Fields(rest).finish()
}

/// The fields of an object, taken one by one; `null` counts as absent.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn flag(&mut self, name: &str) -> Checked<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(Refusal::of(name, format!("`{name}` is neither true nor false"))),
        }
    }

    fn number(&mut self, name: &str, default: f64, fits: impl Fn(f64) -> bool) -> Checked<f64> {
        let Some(value) = self.take(name) else { return Ok(default) };
        let number = value.as_f64().filter(|&number| fits(number));
        number.ok_or_else(|| Refusal::of(name, format!("`{name}` cannot be {value}")))
    }

    fn count(&mut self, name: &str, default: usize, least: usize, most: usize) -> Checked<usize> {
        self.take(name).map_or(Ok(default), |value| count(name, &value, least, most))
    }

    /// Refuses a request with fields that were not taken.
    fn finish(self) -> Checked<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::of(name, format!("unknown parameter `{name}`"))),
        }
    }
}

fn count(name: &str, value: &Value, least: usize, most: usize) -> Checked<usize> {
    let count = value.as_u64().map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let count = count.filter(|count| (least..=most).contains(count));
    let message = || format!("`{name}` is {value}: expected a whole number, {least} to {most}");
    count.ok_or_else(|| Refusal::of(name, message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Refusal {
        parse(body.as_bytes(), "m").unwrap_err()
    }

    #[test]
    fn what_is_left_out_is_openais_default() {
        let asked = parse(br#"{"model": "m", "prompt": "A", "stop": null, "user": "me"}"#, "m");
        let expected = Asked {
            prompts: vec![Prompt::Text("A".to_owned())],
            n: 1,
            max_tokens: 16,
            sampling: Sampling::at(1.0, 0),
            seeded: false,
            stream: false,
            stream_usage: false,
            logprobs: None,
            echo: false,
            stops: vec![],
        };
        assert_eq!(asked, Ok(expected));
    }

    #[test]
    fn prompts_are_texts_or_tokens() {
        let of = |prompt: &str| {
            parse(format!("{{\"prompt\": {prompt}}}").as_bytes(), "m").map(|asked| asked.prompts)
        };
        let text = |text: &str| Prompt::Text(text.to_owned());
        assert_eq!(of(r#"["a", "b"]"#), Ok(vec![text("a"), text("b")]));
        assert_eq!(of("[1, 2]"), Ok(vec![Prompt::Tokens(vec![1, 2])]));
        assert_eq!(of("[[1], []]"), Ok(vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![])]));
        for wrong in ["[]", "7", "[1, -2]", "[1.5]", "[4294967296]", "[\"a\", 1]", "{}"] {
            let refusal = of(wrong).unwrap_err();
            assert_eq!((refusal.status, refusal.parameter.as_deref()), (400, Some("prompt")));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        let cases = [
            (r#"{"temperature": -1}"#, "temperature"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_p": 0}"#, "top_p"),
            (r#"{"n": 0}"#, "n"),
            (r#"{"n": 129}"#, "n"),
            (r#"{"n": 2, "best_of": 3}"#, "best_of"),
            (r#"{"logprobs": 21}"#, "logprobs"),
            (r#"{"max_tokens": -5}"#, "max_tokens"),
            (r#"{"stop": ""}"#, "stop"),
            (r#"{"stop": [1]}"#, "stop"),
            (r#"{"seed": 0.5}"#, "seed"),
            (r#"{"stream": "yes"}"#, "stream"),
            (r#"{"stream_options": {"include_usage": true}}"#, "stream_options"),
            (r#"{"frequency_penalty": 0.5}"#, "frequency_penalty"),
            (r#"{"logit_bias": {"3": 1}}"#, "logit_bias"),
            (r#"{"temprature": 1}"#, "temprature"),
        ];
        for (body, parameter) in cases {
            let refusal = refused(body);
            assert_eq!((refusal.status, refusal.parameter.as_deref()), (400, Some(parameter)));
            assert!(refusal.message.contains(parameter), "{}", refusal.message);
        }
        for body in ["", "{", "[]", "nul", "\u{feff}{}"] {
            assert_eq!(refused(body).status, 400, "{body}");
        }
        let other = refused(r#"{"model": "gpt-4"}"#);
        assert_eq!((other.status, other.code), (404, Some("model_not_found")));
    }
}
