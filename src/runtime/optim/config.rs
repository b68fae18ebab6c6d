//! The table `[optimizer]`: which optimizer, with which constants, for which parameters.
//!
//! In → the table, the settings of `[train]` that every optimizer shares, a model's parameters; out
//! → an [`Optimizer`]. **Rules.** A parameter has `train.learning_rate`, `train.weight_decay`
//! (matrices only) and the betas, unless a group sets them; where several groups that match a name
//! set a key, the last one counts. Under muP the rate of the blocks' matrices is multiplied by
//! base / d_model with AdamW and Lion (`ModelConfig::width_ratio`); Muon's rates carry over as they
//! are. **Muon** takes the matrices of the blocks, and AdamW the rest: embeddings, head,
//! norms, biases.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Optimizer, Rule,
    adamw::{AdamW, AdamWConfig},
    lion::lion,
    momentum::Slots,
    muon::{Coefficients, MuonConfig, Scale, muon},
    on_device::{self, adamw},
    sgd::sgd,
};
use crate::base::error::{Error, Result};
use crate::runtime::cuda::{resident::Resident, updates::Plain};
use crate::runtime::model::ModelConfig;
use crate::runtime::value::{NamedGradients, NamedParameters};

/// The optimizers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    AdamW,
    Muon,
    Lion,
    Sgd,
}

/// The table `[optimizer]`. A key that the kind does not have is refused; one that it has but that
/// is not given gets its default in the resolved configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// `adamw`, `muon`, `lion`, `sgd`.
    pub kind: Kind,
    /// Muon's (0.95) and SGD's (0.9) decay of the mean of gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Whether momentum is Nesterov's; by default with Muon, not with SGD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// Muon: the highest learning rate of the matrices; `train.learning_rate` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Muon: `newton-schulz`, `polar-express`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coefficients: Option<Coefficients>,
    /// Muon: rounds of the polynomial (5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Muon: `match-rms-adamw`, `original`, `spectral`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Settings for some of the parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// An entry of `optimizer.groups`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Names of parameters; `*` stands for anything.
    pub parameters: String,
    /// Their highest learning rate, which follows the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
}

/// Dimensions by the name of a parameter.
type Shapes = BTreeMap<String, Vec<usize>>;

/// What every optimizer takes from `[train]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The highest learning rate.
    pub learning_rate: f64,
    pub adamw: AdamWConfig,
}

impl OptimizerConfig {
    /// The same with defaults for all keys of its kind that are not given.
    pub fn resolved(mut self) -> OptimizerConfig {
        match self.kind {
            Kind::AdamW | Kind::Lion => {}
            Kind::Sgd => {
                self.momentum.get_or_insert(0.9);
                self.nesterov.get_or_insert(false);
            }
            Kind::Muon => {
                self.momentum.get_or_insert(0.95);
                self.nesterov.get_or_insert(true);
                self.coefficients.get_or_insert_default();
                self.iterations.get_or_insert(5);
                self.scale.get_or_insert_default();
            }
        }
        self
    }

    /// Refuses keys of another kind, and numbers out of range.
    pub fn validate(&self) -> Result<()> {
        let (muon, sgd) = (self.kind == Kind::Muon, self.kind == Kind::Sgd);
        let keys = [
            ("momentum", self.momentum.is_some(), muon || sgd, "muon and sgd"),
            ("nesterov", self.nesterov.is_some(), muon || sgd, "muon and sgd"),
            ("learning_rate", self.learning_rate.is_some(), muon, "muon"),
            ("coefficients", self.coefficients.is_some(), muon, "muon"),
            ("iterations", self.iterations.is_some(), muon, "muon"),
            ("scale", self.scale.is_some(), muon, "muon"),
        ];
        if let Some((key, _, _, of)) = keys.iter().find(|(_, given, has, _)| *given && !has) {
            return Err(Error::config(format!("`optimizer.{key}` is a key of {of}"))
                .with_hint("set `optimizer.kind`, or leave the key out"));
        }
        let rate = |rate: f64| rate > 0.0 && rate <= 1e3;
        let share = |share: f64| (0.0..1.0).contains(&share);
        let decay = |decay: f64| (0.0..1e3).contains(&decay);
        let rounds = self.iterations.unwrap_or(5) as f64;
        let number = |number: Option<f64>, fits: &dyn Fn(f64) -> bool| number.is_none_or(fits);
        let own = [
            ("momentum", number(self.momentum, &share)),
            ("learning_rate", number(self.learning_rate, &rate)),
            ("iterations", (1.0..=100.0).contains(&rounds)),
        ];
        let groups = self.groups.iter().flat_map(|group| {
            [
                ("groups.learning_rate", number(group.learning_rate, &rate)),
                ("groups.weight_decay", number(group.weight_decay, &decay)),
                ("groups.beta1", number(group.beta1, &share)),
                ("groups.beta2", number(group.beta2, &share)),
            ]
        });
        if self.nesterov == Some(true) && self.momentum == Some(0.0) {
            let message = "`optimizer.nesterov` looks ahead along `optimizer.momentum`, which is 0";
            return Err(Error::config(message).with_hint("leave one of them out"));
        }
        match own.into_iter().chain(groups).find(|(_, fits)| !fits) {
            Some((key, _)) => Err(Error::config(format!("`optimizer.{key}` is out of range"))
                .with_hint(
                    "rates are above 0, betas and momentum 0 to below 1, iterations to 100",
                )),
            None => Ok(()),
        }
    }

    /// Refuses groups that match none of the trained parameters.
    pub fn check_groups(&self, trained: &Shapes) -> Result<()> {
        let idle = |group: &&Group| !trained.keys().any(|name| matches(&group.parameters, name));
        match self.groups.iter().find(idle) {
            Some(group) => Err(Error::config(format!(
                "`optimizer.groups`: no parameter is called `{}`",
                group.parameters
            ))
            .with_hint("such as `model.embed_tokens.weight`, `model.layers.0.*`, `*norm*`")),
            None => Ok(()),
        }
    }

    /// How many numbers the optimizer keeps for the trained parameters.
    pub fn state_numbers(&self, trained: &Shapes) -> u64 {
        let numbers = |dims: &Vec<usize>| dims.iter().map(|&size| size as u64).product::<u64>();
        let parameters = trained.values().map(numbers).sum::<u64>();
        let in_muon = trained.iter().filter(|(name, dims)| is_for_muon(name, dims.len()));
        match self.kind {
            Kind::AdamW => 2 * parameters,
            Kind::Lion | Kind::Sgd => parameters,
            Kind::Muon => {
                let matrices = in_muon.map(|(_, dims)| numbers(dims));
                2 * parameters - matrices.sum::<u64>()
            }
        }
    }

    /// The optimizer of a model's parameters.
    pub fn build(
        &self,
        shared: &Shared,
        model: &ModelConfig,
        parameters: &NamedParameters,
    ) -> Result<Box<dyn Optimizer>> {
        shared.adamw.validate()?;
        let named = |wanted: &dyn Fn(&str, &Tensor) -> bool| -> Vec<(String, Tensor, Rule)> {
            let wanted = parameters.iter().filter(|(name, tensor)| wanted(name, tensor));
            wanted
                .map(|(name, tensor)| {
                    let rule = self.rule(shared, model, name, tensor.rank());
                    (name.to_owned(), tensor.clone(), rule)
                })
                .collect()
        };
        let (all, eps) = (|| named(&|_, _| true), shared.adamw.eps);
        let (momentum, nesterov) = (self.momentum.unwrap_or_default(), self.nesterov == Some(true));
        Ok(match (self.kind, parameters.resident()) {
            (Kind::AdamW, _) => adamw(parameters, all(), eps)?,
            (Kind::Lion, None) => lion(Slots::new(all())?),
            (Kind::Lion, Some(resident)) => on_device::plain(resident, all(), Plain::Lion)?,
            (Kind::Sgd, None) => sgd(Slots::new(all())?, momentum, nesterov),
            (Kind::Sgd, Some(resident)) => {
                on_device::plain(resident, all(), Plain::Sgd { momentum, nesterov })?
            }
            (Kind::Muon, resident) => {
                let matrices = named(&|name, it| is_for_muon(name, it.rank()));
                let rest = named(&|name, it| !is_for_muon(name, it.rank()));
                self.muon(resident, matrices, (rest, eps))?
            }
        })
    }

    /// Muon for `matrices`, AdamW for the rest, wherever they live.
    fn muon(
        &self,
        resident: Option<&Arc<Resident>>,
        matrices: Vec<(String, Tensor, Rule)>,
        (rest, eps): (Vec<(String, Tensor, Rule)>, f64),
    ) -> Result<Box<dyn Optimizer>> {
        let config = MuonConfig {
            momentum: self.momentum.unwrap_or_default(),
            nesterov: self.nesterov == Some(true),
            coefficients: self.coefficients.unwrap_or_default(),
            iterations: self.iterations.unwrap_or(5),
            scale: self.scale.unwrap_or_default(),
        };
        let Some(resident) = resident else {
            let rest = Box::new(AdamW::with_rules(rest, eps)?);
            return Ok(Box::new(Split(vec![muon(Slots::new(matrices)?, config), rest])));
        };
        let scaled = matrices.into_iter().map(|(name, tensor, rule)| {
            let (outputs, inputs) = tensor.dims2()?;
            Ok((name, tensor, rule, config.scale.of(outputs, inputs)))
        });
        let scaled = scaled.collect::<Result<_>>()?;
        on_device::muon(resident, (scaled, config.rounds()), (rest, eps))
    }

    /// The rule of the parameter called `name`.
    fn rule(&self, shared: &Shared, model: &ModelConfig, name: &str, rank: usize) -> Rule {
        let mut rule = shared.adamw.rule(rank);
        let in_block = is_for_muon(name, rank);
        match self.kind {
            Kind::Muon if in_block => {
                rule.rate = self.learning_rate.map_or(1.0, |rate| rate / shared.learning_rate);
            }
            Kind::AdamW | Kind::Lion if in_block => rule.rate = model.width_ratio(),
            _ => {}
        }
        for group in self.groups.iter().filter(|group| matches(&group.parameters, name)) {
            rule.rate = group.learning_rate.map_or(rule.rate, |rate| rate / shared.learning_rate);
            rule.decay = group.weight_decay.unwrap_or(rule.decay);
            rule.beta1 = group.beta1.unwrap_or(rule.beta1);
            rule.beta2 = group.beta2.unwrap_or(rule.beta2);
        }
        rule
    }
}

/// Whether a parameter is a matrix of a block, rather than a table of tokens or positions.
fn is_for_muon(name: &str, rank: usize) -> bool {
    rank == 2 && name.starts_with("model.layers.")
}

/// Whether `name` matches `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|left| {
            let ends = left.char_indices().map(|(at, _)| at).chain([left.len()]);
            ends.into_iter().any(|at| matches(rest, &left[at..]))
        }),
    }
}

/// Optimizers side by side, each with parameters of its own.
struct Split(Vec<Box<dyn Optimizer>>);

impl Split {
    /// The parameters of a part: names of state are `KIND.PARAMETER`.
    fn parameters(part: &dyn Optimizer) -> Vec<String> {
        let state = part.state().into_iter();
        state.filter_map(|(name, _)| Some(name.split_once('.')?.1.to_owned())).collect()
    }
}

impl Optimizer for Split {
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()> {
        let mut taken = 0;
        for part in &mut self.0 {
            let mut own = NamedGradients::default();
            let names: std::collections::BTreeSet<String> =
                Split::parameters(part.as_ref()).into_iter().collect();
            for name in names {
                if let Some(gradient) = gradients.get(&name) {
                    own.insert(&name, gradient.clone());
                    taken += 1;
                }
            }
            part.step(&own, learning_rate)?;
        }
        assert_eq!(taken, gradients.iter().count(), "each gradient belongs to one part");
        Ok(())
    }

    fn state(&self) -> Vec<(String, Tensor)> {
        let mut state: Vec<(String, Tensor)> =
            self.0.iter().flat_map(|part| part.state()).collect();
        state.sort_by(|a, b| a.0.cmp(&b.0));
        state
    }

    fn load_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        for part in &mut self.0 {
            let mut own = BTreeMap::new();
            for (name, _) in part.state() {
                if let Some(tensor) = state.remove(&name) {
                    own.insert(name, tensor);
                }
            }
            part.load_state(own)?;
        }
        match state.keys().next() {
            Some(name) => Err(Error::failed(format!("the optimizer's state has no `{name}`"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::device::Device;
    use crate::runtime::model::{Model, shapes};

    fn parsed(text: &str) -> Result<OptimizerConfig> {
        let config = toml::from_str::<OptimizerConfig>(text)
            .map_err(|error| Error::config(error.to_string()))?;
        config.validate().map(|()| config.resolved())
    }

    fn shared() -> Shared {
        Shared { learning_rate: 1e-2, adamw: AdamWConfig::default() }
    }

    #[test]
    fn keys_of_another_kind_and_numbers_out_of_range_are_refused() {
        for (text, part) in [
            ("momentum = 0.9", "momentum"),
            ("kind = 'lion'\nnesterov = true", "nesterov"),
            ("kind = 'sgd'\nscale = 'original'", "scale"),
            ("kind = 'muon'\nmomentum = 1.0", "momentum"),
            ("kind = 'muon'\niterations = 0", "iterations"),
            ("kind = 'sgd'\nnesterov = true\nmomentum = 0.0", "nesterov"),
            ("kind = 'adam'", "adam"),
            ("[[groups]]\nparameters = '*'\nlearning_rate = 0.0", "groups.learning_rate"),
            ("[[groups]]\nparameters = '*'\nbeta1 = nan", "groups.beta1"),
            ("[[groups]]\npattern = '*'", "pattern"),
        ] {
            let message = parsed(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
        let group = parsed("[[groups]]\nparameters = 'lm_head.*'\nlearning_rate = 0.1").unwrap();
        let model = ModelConfig { vocab_size: 9, ..ModelConfig::default() };
        assert!(group.check_groups(&shapes(&model)).unwrap_err().to_string().contains("lm_head"));
        assert!(group.check_groups(&shapes(&ModelConfig { tied: false, ..model })).is_ok());
    }

    #[test]
    fn the_resolved_table_reads_back() {
        for kind in ["adamw", "muon", "lion", "sgd"] {
            let config = parsed(&format!(
                "kind = '{kind}'\n[[groups]]\nparameters = '*'\nweight_decay = 0.0"
            ));
            let config = config.unwrap();
            assert_eq!(parsed(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn the_last_group_that_matches_says_each_key() {
        let config = parsed(
            "[[groups]]\nparameters = '*embed*'\nlearning_rate = 0.02\nbeta1 = 0.5\n\
             [[groups]]\nparameters = 'model.*weight'\nlearning_rate = 0.03",
        )
        .unwrap();
        let model = ModelConfig { mup_base_width: 96, ..ModelConfig::default() };
        let rule = |name: &str, rank| config.rule(&shared(), &model, name, rank);
        assert_eq!(rule("model.embed_tokens.weight", 2).rate, 3.0);
        assert_eq!(rule("model.embed_tokens.weight", 2).beta1, 0.5);
        assert_eq!(rule("model.norm.weight", 1).decay, 0.0);
        assert_eq!(rule("model.layers.0.mlp.up_proj.bias", 1).rate, 1.0);
        let plain = OptimizerConfig::default();
        let rule = plain.rule(&shared(), &model, "model.layers.0.mlp.up_proj.weight", 2);
        assert_eq!((rule.rate, rule.decay), (0.5, 0.1)); // 96 / 192
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("*", "a.b", true),
            ("a.*", "a.b", true),
            ("*.b", "a.b.b", true),
            ("a*b*c", "a-b-b-c", true),
            ("a", "a.b", false),
            ("*norm", "norm.weight", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn every_kind_continues_bit_for_bit_and_keeps_what_it_says() {
        let shape = ModelConfig {
            vocab_size: 40,
            d_model: 16,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            d_ff: 24,
            ..ModelConfig::default()
        };
        for kind in ["adamw", "muon", "lion", "sgd"] {
            let config = parsed(&format!("kind = '{kind}'")).unwrap();
            let model = || Model::new(&shape, 1, &Device::cpu()).unwrap();
            let build =
                |model: &Model| config.build(&shared(), &shape, model.parameters()).unwrap();
            let gradients = |step: u64| {
                let mut gradients = NamedGradients::default();
                let drawn = Model::new(&shape, 100 + step, &Device::cpu()).unwrap();
                drawn.parameters().iter().for_each(|(name, it)| gradients.insert(name, it.clone()));
                gradients
            };
            let whole = model();
            let mut optimizer = build(&whole);
            (0..4).for_each(|step| optimizer.step(&gradients(step), 1e-2).unwrap());
            let halves = model();
            let mut first = build(&halves);
            (0..2).for_each(|step| first.step(&gradients(step), 1e-2).unwrap());
            let state: BTreeMap<String, Tensor> = first.state().into_iter().collect();
            let numbers = state.iter().filter(|(name, _)| *name != "steps");
            let numbers: u64 = numbers.map(|(_, it)| it.elem_count() as u64).sum();
            assert_eq!(numbers, config.state_numbers(&shapes(&shape)), "{kind}");
            let mut second = build(&halves);
            second.load_state(state.clone()).unwrap();
            (2..4).for_each(|step| second.step(&gradients(step), 1e-2).unwrap());
            let ends = [&whole, &halves].map(|model| model.parameters().xxh3().unwrap());
            assert_eq!(ends[0], ends[1], "{kind}");
            let mut less = state;
            let name = less.keys().next().unwrap().clone();
            less.remove(&name);
            assert!(second.load_state(less).is_err(), "{kind}");
        }
    }
}
