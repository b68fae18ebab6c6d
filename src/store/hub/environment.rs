//! Where the Hub is, who asks, and where its cache lies: what `huggingface_hub` reads from the
//! environment, read alike.
//!
//! In → environment variables and the token's file; out → [`Environment`]. Names, defaults and
//! their order are those of `huggingface_hub` 2.4 (`constants.py`, `utils/_auth.py`):
//! `HF_ENDPOINT`, `HF_HOME` (else `XDG_CACHE_HOME/huggingface`), `HF_HUB_CACHE`, `HF_TOKEN`,
//! `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`. A token is never shown.

use std::fmt;
use std::path::PathBuf;

use crate::base::error::Result;
use crate::base::io;

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";
/// Values that switch something on.
const TRUE: [&str; 4] = ["1", "ON", "YES", "TRUE"];

/// What is known of the Hub before it is asked anything.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    /// Without a slash at its end.
    pub endpoint: String,
    pub token: Option<String>,
    /// The folder that holds `datasets--OWNER--NAME`.
    pub cache: PathBuf,
    /// Nothing may be asked: only what the cache has is there.
    pub offline: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Result<Environment> {
        Environment::of(|name| std::env::var(name).ok())
    }

    /// Reads variables through `get`, and the token's file.
    pub fn of(get: impl Fn(&str) -> Option<String>) -> Result<Environment> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let user = set("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let path = |text: String| match text.strip_prefix("~/") {
            Some(rest) => user.join(rest),
            None => PathBuf::from(text),
        };
        let caches = set("XDG_CACHE_HOME").map_or_else(|| user.join(".cache"), path);
        let home = set("HF_HOME").map_or_else(|| caches.join("huggingface"), path);
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE"));
        let is_true = |name: &str| {
            set(name).is_some_and(|value| TRUE.contains(&value.to_ascii_uppercase().as_str()))
        };
        let token_file = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), path);
        let token = match set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(token),
            None if token_file.is_file() => Some(io::read_text(&token_file)?),
            None => None,
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Ok(Environment {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.filter(|_| !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
            cache: cache.map_or_else(|| home.join("hub"), path),
            offline: is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE"),
        })
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Environment { endpoint, token, cache, offline } = self;
        let token = if token.is_some() { "with a token" } else { "without a token" };
        write!(f, "{endpoint} {token}, cache {}, offline {offline}", cache.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Environment::of(get).unwrap()
    }

    #[test]
    fn the_cache_lies_where_the_first_variable_says() {
        let at = |variables: &[(&str, &str)]| of(variables).cache.to_string_lossy().into_owned();
        assert_eq!(at(&[("HOME", "/u")]), "/u/.cache/huggingface/hub");
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(at(&[("HOME", "/u"), xdg]), "/x/huggingface/hub");
        assert_eq!(at(&[("HOME", "/u"), xdg, ("HF_HOME", "~/hf")]), "/u/hf/hub");
        assert_eq!(at(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(at(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "")]), "/h/hub");
    }

    #[test]
    fn a_token_comes_from_its_variable_or_its_file_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        io::write(&directory.path().join("token"), b" hf_file\n").unwrap();
        let home = ("HF_HOME", directory.path().to_str().unwrap());
        assert_eq!(of(&[home]).token.as_deref(), Some("hf_file"));
        let both = of(&[home, ("HF_TOKEN", "hf_own\n")]);
        assert_eq!(both.token.as_deref(), Some("hf_own"));
        assert!(!format!("{both:?}").contains("hf_own"));
        assert_eq!(of(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]).token, None);
        assert_eq!(of(&[home, ("HF_TOKEN_PATH", "/nowhere")]).token, None);
    }

    #[test]
    fn an_endpoint_has_no_slash_at_its_end_and_offline_is_a_word() {
        let found = of(&[("HF_ENDPOINT", "http://127.0.0.1:9/"), ("HF_HUB_OFFLINE", "on")]);
        assert_eq!((found.endpoint.as_str(), found.offline), ("http://127.0.0.1:9", true));
        assert!(!of(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
