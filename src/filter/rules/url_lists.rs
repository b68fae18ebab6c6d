//! Lists of addresses and words: documents whose URL matches one are dropped.
//!
//! In: the URL column; lists that the user supplies. Out: six measures. Reference: the order and
//! the matching of datatrove 0.10 (`src/datatrove/pipeline/filters/url_filter.py`), without the
//! lists that it ships. Departures: a listed name stands for itself and everything below it,
//! including numbers and single names, in any case, where datatrove asks the current public suffix
//! list which part of a host is its registered domain, and compares that and the whole host, letter
//! by letter. Whatever datatrove drops is dropped; a listed name of three parts or more that is the
//! host itself is called `url/subdomain`, where datatrove says `url/domain` if it was registered.
//! Invariant: nothing but the URL decides; a document without one passes, where datatrove stops.
//! Cost: a look-up for each part of a URL.

use super::lists::List;
use super::{Column, ColumnKind, Entry, Measure, Report, RuleInfo, RuleSet};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::view::View;
use crate::text::is_white_space;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// This rule set in the registry.
pub const ENTRY: Entry = Entry {
    name: "url_lists",
    summary: "drops documents whose URL is on a list of yours: domains, addresses, words",
    reference: "the matching of datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(UrlLists::new(config::parse(table, "`url_lists`")?)?)),
};

/// The rules, as the reference calls them.
const DOMAIN: &str = "url/domain";
const SUBDOMAIN: &str = "url/subdomain";
const ADDRESS: &str = "url/url";
const HARD_WORD: &str = "url/hard_blacklisted";
const SOFT_WORDS: &str = "url/soft_blacklisted";
const SUBWORD: &str = "url/blacklisted_subword";

const RULES: &[RuleInfo] = &[
    RuleInfo::fixed(DOMAIN, "a listed domain, the host's of two names or one above it"),
    RuleInfo::fixed(SUBDOMAIN, "the host is listed, and has three names or more, or one"),
    RuleInfo::fixed(ADDRESS, "the address is listed"),
    RuleInfo::fixed(HARD_WORD, "listed words in the address"),
    RuleInfo::new(SOFT_WORDS, "soft_word_threshold", "soft words in the address"),
    RuleInfo::fixed(SUBWORD, "a listed piece of the address"),
];

/// The lists, each an array, or a file with an entry a line where `#` begins a comment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UrlListsConfig {
    /// The column that holds the URL.
    pub column: String,
    /// Hosts; each stands for everything below it too.
    pub domains: List,
    /// Whole addresses, each listed exactly.
    pub urls: List,
    /// Words of which a single one drops a document.
    pub banned_words: List,
    /// Words of which `soft_word_threshold` different ones drop a document.
    pub soft_banned_words: List,
    /// Substrings of an address reduced to its letters and digits.
    pub banned_subwords: List,
    /// How many different soft words drop a document. datatrove: 2.
    pub soft_word_threshold: usize,
}

impl Default for UrlListsConfig {
    fn default() -> UrlListsConfig {
        UrlListsConfig {
            column: "url".into(),
            domains: List::default(),
            urls: List::default(),
            banned_words: List::default(),
            soft_banned_words: List::default(),
            banned_subwords: List::default(),
            soft_word_threshold: 2,
        }
    }
}

/// Lists ready for look-ups.
pub struct UrlLists {
    config: UrlListsConfig,
    domains: BTreeSet<String>,
    urls: BTreeSet<String>,
    words: BTreeSet<String>,
    soft_words: BTreeSet<String>,
    subwords: BTreeSet<String>,
    subword_lengths: BTreeSet<usize>,
}

impl UrlLists {
    /// Reads the lists that are files.
    pub fn new(mut config: UrlListsConfig) -> Result<UrlLists> {
        let entries = |list: &mut List, bare: bool| -> Result<BTreeSet<String>> {
            let entry = |text: &String| if bare { letters(text) } else { text.to_owned() };
            Ok(list.load()?.iter().map(entry).filter(|entry| !entry.is_empty()).collect())
        };
        let domains = entries(&mut config.domains, false)?;
        let host = |text: String| text.trim_end_matches('.').to_ascii_lowercase();
        let domains = domains.into_iter().map(host).collect();
        let urls = entries(&mut config.urls, false)?;
        let words = entries(&mut config.banned_words, true)?;
        let soft_words = entries(&mut config.soft_banned_words, true)?;
        let subwords = entries(&mut config.banned_subwords, true)?;
        let subword_lengths = subwords.iter().map(String::len).collect();
        Ok(UrlLists { config, domains, urls, words, soft_words, subwords, subword_lengths })
    }

    fn has_subword(&self, url: &str) -> bool {
        let url = letters(url);
        let holds = |&length: &usize| {
            let pieces = url.as_bytes().windows(length);
            pieces.into_iter().any(|piece| {
                std::str::from_utf8(piece).is_ok_and(|piece| self.subwords.contains(piece))
            })
        };
        self.subword_lengths.iter().any(holds)
    }
}

impl RuleSet for UrlLists {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column { name: self.config.column.clone(), kind: ColumnKind::Text }]
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let url = view.text_of(&self.config.column).unwrap_or_default();
        let host = host(url);
        let mut none = |rule, found: usize| report(Measure::at_most(rule, found as f64, 0.0));
        let above = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        let above = above.filter(|name| self.domains.contains(*name)).count();
        let is_listed = usize::from(self.domains.contains(&host));
        let is_pair = host.split('.').count() == 2;
        none(DOMAIN, if is_pair { above + is_listed } else { above })?;
        none(SUBDOMAIN, is_listed)?;
        none(ADDRESS, usize::from(self.urls.contains(url)))?;
        let words: BTreeSet<&str> = url.split(|char: char| !char.is_ascii_alphanumeric()).collect();
        let listed = |list: &BTreeSet<String>| words.iter().filter(|w| list.contains(**w)).count();
        none(HARD_WORD, listed(&self.words))?;
        let soft = listed(&self.soft_words) as f64;
        let most = self.config.soft_word_threshold as f64 - 1.0;
        report(Measure::at_most(SOFT_WORDS, soft, most.max(0.0)))?;
        let found = f64::from(u8::from(self.has_subword(url)));
        report(Measure::at_most(SUBWORD, found, 0.0))
    }
}

/// The ASCII letters and digits of a text, in lower case.
fn letters(text: &str) -> String {
    let kept = text.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|char| char.to_ascii_lowercase()).collect()
}

/// What stands between the scheme, a user and a port, or the path: in lower case, with plain dots.
/// What precedes `//` is a scheme if it has the form of one, as tldextract 5.4 reads URLs
/// (`remote.py`).
fn host(url: &str) -> String {
    let is_scheme = |name: &str| {
        let is_sign = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
        name.is_empty()
            || (name.len() > 1
                && name.ends_with(':')
                && name[..name.len() - 1].chars().all(is_sign))
    };
    let rest =
        url.split_once("//").filter(|(name, _)| is_scheme(name)).map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let named = authority.rsplit('@').next().unwrap_or_default();
    let host = named.split(':').next().unwrap_or_default();
    let host = host.trim_matches(is_white_space).replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::ColumnValue;
    use crate::filter::view::{Room, Splitter};

    fn rule(config: &str, url: Option<&str>) -> Option<&'static str> {
        let rules = [(ENTRY.build)(config.parse().unwrap()).unwrap()];
        assert_eq!(rules[0].columns()[0].name, "url");
        let columns = [("url", ColumnValue::Text(url))];
        let mut room = Room::new(Splitter::WhiteSpace);
        judge(&rules, &mut room.view("").with_columns(&columns)).map(|verdict| verdict.rule)
    }

    #[test]
    fn each_list_drops_under_its_own_name() {
        let config = "domains = ['bad.com', 'bad.co.uk', 'one.fine.org']\n\
                      urls = ['http://x.net/a']\nbanned_words = ['Casino']\n\
                      soft_banned_words = ['free', 'win']\n\
                      banned_subwords = ['for-bid']";
        for (url, expected) in [
            ("http://www.bad.com/", Some("url/domain")),
            ("https://me@BAD.com:80/path", Some("url/domain")),
            ("//bad.com", Some("url/domain")),
            ("http://bad.co.uk", Some("url/subdomain")),
            ("http://www.bad。com", Some("url/domain")),
            ("http://one.fine.org", Some("url/subdomain")),
            ("http://fine.org/one", None),
            ("http://notbad.com", None),
            ("http://x.net/a", Some("url/url")),
            ("http://x.net/casino-royal", Some("url/hard_blacklisted")),
            ("http://x.net/Casino", None),
            ("http://x.net/free", None),
            ("http://x.net/free_win", Some("url/soft_blacklisted")),
            ("http://x.net/un-for.bid-den", Some("url/blacklisted_subword")),
        ] {
            assert_eq!(rule(config, Some(url)), expected, "{url}");
        }
        assert_eq!(rule(config, None), None);
    }
}
