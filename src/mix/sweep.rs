//! The mixes of an ablation over one source's share.
//!
//! In → the sources with their weights, and shares of one of them; out → the sources of each mix.
//! The others keep their weights to one another, and all mixes one seed, so each source is read in
//! one order in all of them: what differs is the share. A share of 0 leaves the source out, also of
//! what the mix validates on. Pure.

use std::str::FromStr;

use super::{config::MixSpec, weights::Weight};
use crate::base::error::{Error, Result};

/// One source, and the shares it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    name: String,
    /// `None`: the source is left out.
    shares: Vec<Option<Weight>>,
}

impl FromStr for Sweep {
    type Err = Error;

    /// `web=0.1,0.3,0.5`
    fn from_str(text: &str) -> Result<Sweep> {
        let wrong = |message: String| {
            Error::config(format!("--sweep {text}: {message}"))
                .with_hint("write a source and its shares, as `web=0.1,0.3,0.5`")
        };
        let (name, shares) =
            text.rsplit_once('=').ok_or_else(|| wrong("no share is named".to_owned()))?;
        let one: Weight = "1".parse().map_err(wrong)?;
        let mut parsed: Vec<Option<Weight>> = Vec::new();
        for text in shares.split(',').map(str::trim) {
            let share: Option<Weight> = match text {
                "0" => None,
                text => Some(text.parse().map_err(wrong)?),
            };
            if share.is_some_and(|share| share >= one) {
                return Err(wrong(format!("a share is below 1, not {text}")));
            }
            if parsed.contains(&share) {
                return Err(wrong(format!("{text} is there twice")));
            }
            parsed.push(share);
        }
        Ok(Sweep { name: name.to_owned(), shares: parsed })
    }
}

impl Sweep {
    /// For each share the mix's name, as `web-0.3` or `web-0`, and its sources.
    pub fn mixes(&self, specs: &[MixSpec]) -> Result<Vec<(String, Vec<MixSpec>)>> {
        let swept = specs.iter().position(|spec| spec.name == self.name);
        let swept = swept.ok_or_else(|| {
            Error::config(format!("--sweep: no source is named `{}`", self.name))
                .with_hint("sources are named before the `=` of an input")
        })?;
        let others = specs.iter().enumerate().filter(|(index, _)| *index != swept);
        let others = others.map(|(_, spec)| {
            let without = || {
                Error::config(format!("--sweep: `{spec}` has no weight")).with_hint(
                    "a sweep moves the weights behind sources, as `web=SHARDS:0.7`; those of \
                     phases it leaves alone",
                )
            };
            spec.weight.ok_or_else(without)
        });
        let others: Vec<Weight> = others.collect::<Result<_>>()?;
        if others.is_empty() {
            return Err(Error::config("--sweep: there is no other source to take the rest"));
        }
        let mixes = self.shares.iter().map(|&share| {
            let Some(share) = share else {
                let others = specs.iter().filter(|spec| spec.name != self.name);
                return (format!("{}-0", self.name), others.cloned().collect());
            };
            let (own, rest) = share.beside(&others);
            let mut rest = rest.into_iter();
            let weights = (0..specs.len()).map(|index| match index == swept {
                true => Some(own),
                false => rest.next(),
            });
            let specs = specs.iter().zip(weights);
            let specs = specs.map(|(spec, weight)| MixSpec { weight, ..spec.clone() });
            (format!("{}-{share}", self.name), specs.collect())
        });
        Ok(mixes.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::weights::split;

    #[test]
    fn the_others_keep_their_weights_to_one_another() {
        let specs: Vec<MixSpec> =
            ["web=w:5", "code=c:0.6", "books=b:0.2"].map(|text| text.parse().unwrap()).into();
        let mixes = "web=0, 0.1, 0.25".parse::<Sweep>().unwrap().mixes(&specs).unwrap();
        let shares: Vec<(&str, Vec<u64>)> = mixes
            .iter()
            .map(|(name, specs)| {
                let weights: Vec<Weight> = specs.iter().filter_map(|spec| spec.weight).collect();
                (name.as_str(), split(100_000, &weights))
            })
            .collect();
        let expected = [
            ("web-0", vec![75_000, 25_000]),
            ("web-0.1", vec![10_000, 67_500, 22_500]),
            ("web-0.25", vec![25_000, 56_250, 18_750]),
        ];
        assert_eq!(shares, expected);
    }

    #[test]
    fn a_share_is_shown_as_it_was_asked_for() {
        let specs: Vec<MixSpec> =
            ["web=w:5", "code=c:0.6", "books=b:0.2"].map(|text| text.parse().unwrap()).into();
        let shown = |share: &str| -> Vec<String> {
            let mixes = format!("web={share}").parse::<Sweep>().unwrap().mixes(&specs).unwrap();
            let weights = mixes[0].1.iter().flat_map(|spec| spec.weight);
            weights.map(|weight| weight.to_string()).collect()
        };
        assert_eq!(shown("0.1"), ["0.1", "0.675", "0.225"]);
        // Thirds have no decimals that add to 1.
        let specs: Vec<MixSpec> =
            ["web=w:5", "code=c:1", "books=b:2"].map(|text| text.parse().unwrap()).into();
        let mixes = "web=0.5".parse::<Sweep>().unwrap().mixes(&specs).unwrap();
        let weights: Vec<String> =
            mixes[0].1.iter().flat_map(|spec| spec.weight).map(|it| it.to_string()).collect();
        assert_eq!(weights, ["3", "1", "2"]);
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        for text in ["web", "web=", "web=0,0", "web=1", "web=0.1,0.1", "web=x"] {
            let error = text.parse::<Sweep>().unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("web=0.1")), "{text}: {error}");
        }
        let of = |sweep: &str, specs: &[&str]| {
            let specs: Vec<MixSpec> = specs.iter().map(|text| text.parse().unwrap()).collect();
            sweep.parse::<Sweep>().unwrap().mixes(&specs).unwrap_err().to_string()
        };
        assert!(of("code=0.1", &["web=w:1"]).contains("no source is named `code`"));
        assert!(of("web=0.1", &["web=w:1"]).contains("no other source"));
        assert!(of("web=0.1", &["web=w:1", "code=c"]).contains("has no weight"));
    }
}
