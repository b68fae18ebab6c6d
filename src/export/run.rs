//! The stage: a checkpoint → a model for other tools.
//!
//! In → a run or a checkpoint; phase `weights`: one unit for each file of weights; phase `files`:
//! the small files beside them. The manifest's fingerprint covers the checkpoint's weights (by
//! their hash) and the configuration, which includes the shape, the tokenizer and the card's facts.
//! hash) and the configuration with the shape, the tokenizer and the card's facts in it.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    card::{self, card},
    config::{ExportConfig, Form},
    facts::{Facts, facts},
    gguf, peft,
    weights::{self, Planned, Told},
};
use crate::artifact::{
    counts::Counts,
    manifest::Manifest,
    planned::{Content, PlannedFile},
    record::{Extent, InputRecord, Kind, ReadRange, Slice},
    stage::{Needs, Phase, Plan, Publish, Stage, Unit, UnitPlan, Work},
    summary::Summary,
};
use crate::base::{
    error::{Error, Result},
    hash::Fingerprint,
    io, place,
    size::{Bytes, Count},
};
use crate::runtime::{
    checkpoint,
    model::ModelConfig,
    pretrained::{self, Class, INDEX},
};
use crate::store::Stored;
use crate::tokenizer::{
    Tokenizer,
    export::{LlamaCppVocabulary, llama_cpp},
};
use crate::train::{INITIALISED_FROM, companions, layout, trained::Located};

const README: &str = "README.md";
const GGUF: &str = "model.gguf";

/// `export` with its opened checkpoint.
pub struct Export {
    config: ExportConfig,
    /// The run's folder.
    name: String,
    model: ModelConfig,
    class: Class,
    context: usize,
    tokenizer: Tokenizer,
    end_of_text: (String, u32),
    facts: Facts,
    /// The bytes of `adapter_config.json`, for adapters.
    adapter: Option<Vec<u8>>,
    input: InputRecord,
    file: PlannedFile,
    planned: Vec<Planned>,
    shards: Vec<Range<usize>>,
    vocabulary: Option<LlamaCppVocabulary>,
}

impl Export {
    /// Opens the checkpoint that `path` means; reads its header and no weights.
    ///
    /// # Errors
    /// [`Error::Config`] for what the form cannot hold, [`Error::Damaged`] for a file that differs
    /// from what the checkpoint records.
    pub fn open(path: &Path, config: ExportConfig) -> Result<Export> {
        config.check()?;
        if pretrained::stands_in(path) && layout::of_checkpoint(path).is_none() {
            let message = format!("`{}` is a model in Hugging Face's form", path.display());
            return Err(Error::config(format!("{message}: runs are exported, and checkpoints"))
                .with_hint("name the run that it was exported from, or a checkpoint of it"));
        }
        let Located { run, manifest, checkpoint, hashes } = Located::find(path, config.step)?;
        for file in hashes.files.iter().filter(|file| file.name == checkpoint::STATE) {
            file.hold(&checkpoint.path, true)?;
        }
        for file in hashes.records.iter().filter(|record| layout::is_tokenizer(&record.name)) {
            file.hold(&run, true)?;
        }
        let state = checkpoint.state()?;
        let class = class_for(config.to, &state.model)?;
        let adapter = match config.to {
            Form::Peft => {
                let base = manifest.extra.get(INITIALISED_FROM);
                let base = base.and_then(|facts| facts["name"].as_str());
                Some(peft::config(peft::adapters(&state, class)?, base))
            }
            Form::Hf | Form::Gguf => None,
        };
        let source = config.source();
        if config.ema && !checkpoint.path.join(source).is_file() {
            return Err(Error::config("the run keeps no running average of its weights")
                .with_hint("`train.ema` keeps one; leave `--ema` out for the weights themselves"));
        }
        let known = hashes.files.iter().find(|file| file.name == source);
        let known = known.map(|it| it.xxh3);
        let (input, file) = weights_input(&run, &manifest, checkpoint.path.join(source), known)?;
        let tokenizer = Tokenizer::open(&run.join(layout::TOKENIZER))?;
        let id = layout::end_of_text(&run, &manifest, &tokenizer)?;
        let end_of_text = (tokenizer.decode_text(&[id]), id);
        let planned = match config.to {
            Form::Peft => peft::plan(file.path(), &state)?,
            Form::Hf => weights::plan(file.path(), &state.model, class)?,
            Form::Gguf => weights::plan_ours(file.path(), &state.model)?,
        };
        let shards = match (config.to, config.dtype.element()) {
            (Form::Hf, Some(element)) => weights::shards(&planned, element, config.shard_bytes.0),
            _ => std::iter::once(0..planned.len()).collect(),
        };
        let vocabulary = match config.to {
            Form::Gguf => {
                Some(llama_cpp(tokenizer.json(), &tokenizer.added(), state.model.vocab_size)?)
            }
            Form::Hf | Form::Peft => None,
        };
        let numbers = planned.iter().map(Planned::numbers).sum();
        let name = place::name(&io::canonical(&run)?);
        Ok(Export {
            adapter,
            facts: facts(&run, &manifest, checkpoint.step, numbers)?,
            context: layout::context(&run, &manifest)?,
            model: state.model,
            class,
            config: ExportConfig { step: Some(checkpoint.step), ..config },
            name,
            tokenizer,
            end_of_text,
            input,
            file,
            planned,
            shards,
            vocabulary,
        })
    }

    /// Writes a file of weights.
    fn weights(&self, index: usize, work: &Work<'_>) -> Result<()> {
        let told = Telling { work, file: &self.file };
        if let Some(vocabulary) = &self.vocabulary {
            let head = gguf::Head {
                name: &self.name,
                class: self.class,
                model: &self.model,
                context: self.context,
                end_of_text: self.end_of_text.1,
                vocabulary,
            };
            let (source, dtype) = (self.file.path(), self.config.dtype);
            return gguf::write(source, &self.planned, dtype, &head, &work.path(GGUF), &told);
        }
        let element = self.config.dtype.element().expect("`check` refuses a type without a name");
        let name = match self.adapter {
            Some(_) => peft::MODEL.to_owned(),
            None => weights::shard_name(index, self.shards.len()),
        };
        let planned = &self.planned[self.shards[index].clone()];
        weights::write_shard(self.file.path(), planned, element, &work.path(&name), &told)
    }

    /// Writes the small files.
    fn files(&self, work: &Work<'_>) -> Result<()> {
        io::write(&work.path(README), self.card().as_bytes())?;
        if let Some(config) = &self.adapter {
            return io::write(&work.path(peft::CONFIG), config);
        }
        let Some(element) = self.config.dtype.element().filter(|_| self.config.to == Form::Hf)
        else {
            return Ok(());
        };
        let (name, id) = &self.end_of_text;
        let (dtype, class) = (self.config.dtype.torch_name(), Some(self.class));
        let (model, end_of_text) = (&self.model, (name.as_str(), *id));
        let files = companions::companions(
            class,
            model,
            self.context,
            &self.tokenizer,
            end_of_text,
            dtype,
        )?;
        for (name, bytes) in files {
            io::write(&work.path(name), &bytes)?;
        }
        match self.shards.len() {
            1 => Ok(()),
            _ => {
                let index = weights::index(&self.planned, element, &self.shards);
                io::write(&work.path(INDEX), &index)
            }
        }
    }

    fn card(&self) -> String {
        let weights = self.config.dtype.to_string();
        let files = match self.config.to {
            Form::Hf => card::Files { weights: &weights, usage: PYTHON, library: "transformers" },
            Form::Peft => card::Files { weights: &weights, usage: PEFT, library: "peft" },
            Form::Gguf => card::Files { weights: &weights, usage: SHELL, library: "gguf" },
        };
        card(&self.name, &self.model, self.context, &self.facts, &files)
    }

    /// The bytes that the weights will take.
    fn bytes(&self) -> u64 {
        match (self.config.to, self.config.dtype.element()) {
            (Form::Hf | Form::Peft, Some(element)) => {
                self.planned.iter().map(|it| it.numbers() * element.width() as u64).sum()
            }
            _ => gguf::bytes(&self.planned, self.config.dtype),
        }
    }
}

const PYTHON: (&str, &str) = (
    "python",
    "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
     model = AutoModelForCausalLM.from_pretrained(\".\")\n\
     tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
     inputs = tokenizer(\"Once\", return_tensors=\"pt\")\n\
     print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0]))",
);
const PEFT: (&str, &str) =
    ("python", "from peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base, \".\")");
const SHELL: (&str, &str) = ("sh", "llama-cli -m model.gguf -no-cnv -p \"Once\" -n 50");

/// The class of `transformers` that holds `model`, and that this form can write.
///
/// # Errors
/// Config: no class holds it, with the reasons of each.
fn class_for(form: Form, model: &ModelConfig) -> Result<Class> {
    let hint = "`generate` and `eval` read the run itself";
    let class = Class::of(model).map_err(|reasons| {
        let reasons = reasons.join("; ");
        Error::config(format!("no class of `transformers` holds this model: {reasons}"))
            .with_hint(hint)
    })?;
    match gguf::unheld(class, model).filter(|_| form == Form::Gguf) {
        None => Ok(class),
        Some(reason) => Err(Error::config(format!("GGUF is not written for this model: {reason}"))
            .with_hint(
                "`to = \"hf\"` writes it, and llama.cpp's `convert_hf_to_gguf.py` reads that",
            )),
    }
}

/// The input record of the weights: a file of known content that a run made.
fn weights_input(
    run: &Path,
    manifest: &Manifest,
    path: PathBuf,
    known: Option<Fingerprint>,
) -> Result<(InputRecord, PlannedFile)> {
    let missing = || Error::damaged_artifact(&path, None, "it is missing");
    let stamp = io::stamp(&path)?.ok_or_else(missing)?;
    let xxh3 = match known {
        Some(xxh3) => xxh3,
        None => io::hash_file(&path)?.0,
    };
    let name = path.strip_prefix(run).unwrap_or(&path).to_string_lossy().into_owned();
    let mut input = InputRecord::file(name.clone(), None, stamp.bytes, xxh3, path.clone());
    (input.stage, input.fingerprint) = (Some(manifest.stage.clone()), Some(manifest.fingerprint));
    let content = Content::Whole { xxh3, is_older: false };
    let file = Stored::local(path);
    let file = PlannedFile { file, input: 0, name, bytes: stamp.bytes, stamp, content };
    Ok((input, file))
}

/// Reports what is read of the weights to the stage.
struct Telling<'a> {
    work: &'a Work<'a>,
    file: &'a PlannedFile,
}

impl Told for Telling<'_> {
    fn read(&self, range: Range<u64>, xxh3: Fingerprint) {
        let PlannedFile { input, name, .. } = self.file;
        let (input, file, Range { start, end }) = (*input, name.clone(), range);
        self.work.record_read(ReadRange { input, file, start, end, xxh3 });
    }

    fn advance(&self, bytes: u64) {
        self.work.advance(bytes);
    }
}

impl Stage for Export {
    fn name(&self) -> &'static str {
        "export"
    }

    fn kind(&self) -> Kind {
        Kind::Model
    }

    fn version(&self) -> u32 {
        1
    }

    fn config(&self) -> Value {
        let mut config = serde_json::to_value(&self.config).expect("plain data");
        config["name"] = json!(self.name);
        config["context"] = json!(self.context);
        config["end_of_text"] = json!(self.end_of_text.0);
        config["tokenizer"] = json!(self.tokenizer.fingerprint());
        config["model"] = json!(self.model);
        config["facts"] = json!(self.facts);
        config
    }

    fn inputs(&self) -> Vec<InputRecord> {
        vec![self.input.clone()]
    }

    fn files(&self) -> Vec<PlannedFile> {
        vec![self.file.clone()]
    }

    fn needs(&self, threads: usize) -> Needs {
        let largest = self.planned.iter().map(Planned::numbers).max().unwrap_or(0);
        let memory = match self.config.to {
            // A transposed tensor is held whole three times: as read, transposed, encoded.
            Form::Hf if !self.class.has_our_names() => threads as u64 * 3 * 4 * largest,
            Form::Hf | Form::Peft => threads as u64 * 4 * weights::CHUNK,
            Form::Gguf => 4 * 4 * largest, // as read, permuted, encoded
        };
        // The tokenizer takes memory as JSON and as the table that encodes it.
        let memory = memory + 16 * self.tokenizer.json().len() as u64;
        Needs { memory, disk: self.bytes(), ..Needs::default() }
    }

    fn plan(&self) -> Result<Plan> {
        let unit = |range: &Range<usize>| {
            let places = || self.planned[range.clone()].iter().flat_map(|planned| &planned.sources);
            let start = places().map(|place| place.start).min().unwrap_or(0);
            let end = places().map(|place| place.end).max().unwrap_or(0);
            let slice = Slice { file: 0, extent: Extent::Bytes(start..end), records_max: None };
            let bytes = places().map(|place| place.end - place.start).sum();
            UnitPlan { slices: vec![slice], bytes }
        };
        let phase = |name, units| Phase { name, units, publish: Publish::AsIs, counts: false };
        let phases = vec![
            phase("weights", self.shards.iter().map(unit).collect()),
            phase("files", vec![UnitPlan::single(0)]),
        ];
        Ok(Plan { phases, holdout: None })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => self.weights(unit.index, work)?,
            1 => self.files(work)?,
            phase => panic!("phase {phase} of 2"),
        }
        Ok(Counts::default())
    }

    fn summary(&self, manifest: &Manifest, out: &Path) -> Result<Box<dyn Summary>> {
        Ok(Box::new(ExportSummary {
            step: self.facts.step,
            parameters: self.facts.parameters,
            weights: self.config.dtype.to_string(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            fingerprint: manifest.fingerprint,
            out: out.to_owned(),
            to: self.config.to,
        }))
    }
}

/// What was exported.
#[derive(Debug)]
struct ExportSummary {
    step: u64,
    parameters: u64,
    weights: String,
    bytes: u64,
    fingerprint: Fingerprint,
    out: PathBuf,
    to: Form,
}

impl Summary for ExportSummary {
    fn head(&self) -> String {
        "What other tools can read".to_owned()
    }

    fn line(&self) -> String {
        let (step, parameters) = (Count(self.step), Count(self.parameters));
        let (weights, bytes) = (&self.weights, Bytes(self.bytes));
        format!("step {step}, {parameters} parameters in {weights}, {bytes}")
    }

    fn record(&self) -> Value {
        json!({
            "step": self.step, "parameters": self.parameters, "weights": self.weights,
            "bytes": self.bytes, "fingerprint": self.fingerprint,
        })
    }
}

impl fmt::Display for ExportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = self.out.display();
        match self.to {
            Form::Hf => writeln!(f, "  AutoModelForCausalLM.from_pretrained(\"{out}\")"),
            Form::Gguf => writeln!(f, "  {out}/{GGUF}"),
            Form::Peft => writeln!(f, "  PeftModel.from_pretrained(base, \"{out}\")"),
        }
    }
}
