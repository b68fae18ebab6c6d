//! Trains a supervised model: labelled texts → a [`Model`] that fastText opens.
//!
//! In → texts with labels, one by one ([`Trainer::add`]); out → the model ([`Trainer::train`]).
//! Method: fastText's supervised training (`fasttext.cc`, `model.cc`, `loss.cc`) with softmax: for
//! each text the mean of its rows, one step of gradient descent on the output rows and, with the
//! gradient divided by their number, on the rows; the rate falls linearly to 0 over all tokens.
//! What differs, so that one seed is one model: steps are taken one after the other, never by
//! several threads at once; texts are visited in a new order each epoch; and the whole input matrix
//! starts at random, where fastText leaves nine tenths at 0 if it runs on one thread. Defaults are
//! fastText's for supervised training, except word pairs, as for DCLM's classifier (Li et al.,
//! "DataComp-LM", 2024: fastText's defaults with `wordNgrams 2`).
//! Invariants: the model depends on the settings and on texts and labels in the order of adding,
//! with the same bits on every machine. Cost: 4 bytes a token while training, and the input matrix,
//! (words + buckets) × dimensions × 4 bytes: 800 MB with default settings.

use std::ops::ControlFlow;

use super::dictionary::Dictionary;
use super::features::{END, LABEL_PREFIX, tokens};
use super::loss::softmax;
use super::matrix::{Matrix, add_dense};
use super::model::{Model, Settings};
use super::words::{WordTable, hash_word};
use crate::base::error::{Error, Result};
use crate::base::rng::Stream;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainSettings {
    /// Numbers in a word's vector.
    pub dimensions: usize,
    /// Visits to each text.
    pub epochs: u32,
    /// Learning rate at the beginning.
    pub rate: f32,
    /// Words that stand fewer times are left out (their word n-grams are not).
    pub least_count: u32,
    /// Longest word n-gram, in words.
    pub word_ngrams: u32,
    /// Hash buckets for n-grams.
    pub buckets: u32,
    /// Shortest and longest character n-gram; `longest` 0 for none.
    pub shortest: u32,
    pub longest: u32,
    pub seed: u64,
}

impl Default for TrainSettings {
    fn default() -> TrainSettings {
        TrainSettings {
            dimensions: 100,
            epochs: 5,
            rate: 0.1,
            least_count: 1,
            word_ngrams: 2,
            buckets: 2_000_000,
            shortest: 0,
            longest: 0,
            seed: 0,
        }
    }
}

/// What training saw and how well it fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainReport {
    /// Texts of each label, in the order of the labels given to [`Trainer::new`].
    pub texts: Vec<u64>,
    /// Words, labels and text ends in one epoch.
    pub tokens: u64,
    /// Words in the dictionary.
    pub words: u32,
    /// Mean cross-entropy (nats a text) in each epoch, before each text's own step.
    pub losses: Vec<f64>,
}

/// Collects texts, then trains.
pub struct Trainer {
    settings: TrainSettings,
    /// The labels' names, with their prefix.
    labels: Vec<String>,
    words: WordTable,
    counts: Vec<i64>,
    /// The texts' words, one text after the other.
    tokens: Vec<u32>,
    /// (label, end in `tokens`) of each text.
    texts: Vec<(u32, usize)>,
}

/// Trains a classifier of two labels, `positive` and `negative` (fastText's `__label__` added).
///
/// DCLM's model calls them `hq` and `cc`.
pub fn train<T: AsRef<str>>(
    positive: (&str, impl Iterator<Item = T>),
    negative: (&str, impl Iterator<Item = T>),
    settings: TrainSettings,
) -> Result<(Model, TrainReport)> {
    let mut trainer = Trainer::new(&[positive.0, negative.0], settings)?;
    for text in positive.1 {
        trainer.add(text.as_ref(), 0)?;
    }
    for text in negative.1 {
        trainer.add(text.as_ref(), 1)?;
    }
    trainer.train(|_| ControlFlow::Continue(()))
}

impl Trainer {
    /// A trainer for texts of these labels (names without fastText's `__label__`).
    pub fn new(labels: &[&str], settings: TrainSettings) -> Result<Trainer> {
        settings.check()?;
        let prefix = String::from_utf8_lossy(LABEL_PREFIX);
        let labels: Vec<String> = labels.iter().map(|name| format!("{prefix}{name}")).collect();
        let mut distinct = labels.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if labels.len() < 2 || distinct.len() < labels.len() {
            return Err(Error::config("a classifier needs two or more labels, all different"));
        }
        if let Some(label) = labels.iter().find(|label| tokens(label.as_bytes()).count() != 1) {
            return Err(Error::config(format!("a label must be one word: `{label}`")));
        }
        let (words, counts, tokens, texts) = Default::default();
        let mut trainer = Trainer { settings, labels, words, counts, tokens, texts };
        trainer.token(END)?;
        Ok(trainer)
    }

    /// Adds a text of label number `label`.
    ///
    /// Its words are those that predicting sees: up to a word `</s>`, without those that look like
    /// labels.
    pub fn add(&mut self, text: &str, label: u32) -> Result<()> {
        assert!((label as usize) < self.labels.len(), "label {label} was not announced");
        for token in tokens(text.as_bytes()) {
            if !token.bytes.starts_with(LABEL_PREFIX) {
                let id = self.insert(token.bytes, token.hash)?;
                self.tokens.push(id);
            }
        }
        let end = self.token(END)?;
        self.tokens.push(end);
        self.texts.push((label, self.tokens.len()));
        Ok(())
    }

    fn token(&mut self, word: &[u8]) -> Result<u32> {
        self.insert(word, hash_word(word))
    }

    fn insert(&mut self, word: &[u8], hash: u32) -> Result<u32> {
        let id = self.words.insert(word, hash).ok_or_else(|| {
            Error::failed("the texts have more than 4 GiB of distinct words")
                .with_hint("train on fewer texts, or on texts without binary data")
        })?;
        if id as usize == self.counts.len() {
            self.counts.push(0);
        }
        self.counts[id as usize] += 1;
        Ok(id)
    }

    /// Bytes of memory that training on the texts added so far takes.
    pub fn memory(&self) -> u64 {
        self.settings.memory(self.words.len() as u64, self.tokens.len() as u64)
    }

    /// Trains; `watch` is called now and then with the share done (0 to 1) and may end it early
    /// with [`Error::Interrupted`].
    pub fn train(
        self,
        mut watch: impl FnMut(f64) -> ControlFlow<()>,
    ) -> Result<(Model, TrainReport)> {
        let dictionary = self.dictionary()?;
        let mut texts = vec![0; self.labels.len()];
        self.texts.iter().for_each(|&(label, _)| texts[label as usize] += 1);
        let tokens = (self.tokens.len() + self.texts.len()) as u64;
        let words = dictionary.word_count();
        let mut report = TrainReport { texts, tokens, words, losses: Vec::new() };
        let mut descent = Descent::new(&self, &dictionary);
        for epoch in 0..self.settings.epochs {
            report.losses.push(descent.epoch(&self, &dictionary, epoch, &mut watch)?);
        }
        let Descent { input, output, columns, .. } = descent;
        let output = output.into_iter().flatten().collect();
        let settings = self.settings.stored();
        let dense = |values| Matrix::Dense { columns, values };
        Ok((Model::new(settings, dictionary, dense(input), false, dense(output)), report))
    }

    /// Words by falling count, then labels by falling count; equal counts by their bytes.
    fn dictionary(&self) -> Result<Dictionary> {
        let least = i64::from(self.settings.least_count);
        // The entry for `</s>` was counted once when it was made.
        let count = |id: u32| self.counts[id as usize] - i64::from(id == 0);
        let mut ids: Vec<u32> = (0..self.words.len() as u32).collect();
        ids.retain(|&id| count(id) >= least.max(1));
        ids.sort_unstable_by(|&left, &right| {
            let by_word = || self.words.word(left).cmp(self.words.word(right));
            count(right).cmp(&count(left)).then_with(by_word)
        });
        let mut of_label = vec![0i64; self.labels.len()];
        self.texts.iter().for_each(|&(label, _)| of_label[label as usize] += 1);
        if let Some(index) = of_label.iter().position(|&count| count == 0) {
            return Err(Error::config(format!("no text of label `{}`", self.labels[index])));
        }
        let mut entries = WordTable::with_capacity(ids.len() + self.labels.len());
        let mut counts = Vec::with_capacity(ids.len() + self.labels.len());
        for &id in &ids {
            let word = self.words.word(id);
            entries.insert(word, hash_word(word));
            counts.push(count(id));
        }
        let mut labels: Vec<(&String, i64)> = self.labels.iter().zip(of_label).collect();
        labels.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
        for &(label, count) in &labels {
            entries.insert(label.as_bytes(), hash_word(label.as_bytes()));
            counts.push(count);
        }
        let labels = labels.into_iter().map(|(label, _)| label.clone()).collect();
        let token_count = (self.tokens.len() + self.texts.len()) as i64;
        let ngrams = self.settings.stored().ngrams();
        Ok(Dictionary::new(entries, labels, counts, token_count, ngrams, None))
    }
}

impl TrainSettings {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] with the name, the range and what was given.
    pub fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!("`{name}` must be {low} to {high}, not {value}")))
        };
        within("dimensions", self.dimensions as f64, 1.0, 1024.0)?;
        within("epochs", f64::from(self.epochs), 1.0, 1000.0)?;
        within("rate", f64::from(self.rate), 1e-6, 100.0)?;
        within("word_ngrams", f64::from(self.word_ngrams), 1.0, 5.0)?;
        within("longest", f64::from(self.longest), 0.0, 10.0)?;
        within("shortest", f64::from(self.shortest), 0.0, f64::from(self.longest))?;
        let least = if self.has_ngrams() { 1.0 } else { 0.0 };
        within("buckets", f64::from(self.buckets), least, 1e9)
    }

    /// Bytes of the model of so many distinct words, as a file and in memory.
    pub fn model_bytes(&self, words: u64) -> u64 {
        let buckets = if self.has_ngrams() { u64::from(self.buckets) } else { 0 };
        (words + buckets) * self.dimensions as u64 * size_of::<f32>() as u64
    }

    /// Bytes of memory that training takes, for so many distinct words and words in all.
    pub fn memory(&self, words: u64, tokens: u64) -> u64 {
        /// A word with its hash, its count and its place in the table, in the trainer and in the
        /// dictionary.
        const WORD_BYTES: u64 = 64;
        self.model_bytes(words) + words * WORD_BYTES + tokens * size_of::<u32>() as u64
    }

    fn has_ngrams(&self) -> bool {
        self.word_ngrams > 1 || self.longest > 0
    }

    /// The settings as a model file has them; those that this trainer does not use are fastText's
    /// own.
    fn stored(&self) -> Settings {
        Settings {
            window: 5,
            epochs: self.epochs as i32,
            least_count: self.least_count.min(i32::MAX as u32) as i32,
            negatives: 5,
            rate_updates: 100,
            sampling: 1e-4,
            word_ngrams: self.word_ngrams as i32,
            buckets: if self.has_ngrams() { self.buckets as i32 } else { 0 },
            shortest: self.shortest as i32,
            longest: self.longest as i32,
            loss: 3,
        }
    }
}

/// The matrices on their way down, and room for a step.
struct Descent {
    columns: usize,
    input: Vec<f32>,
    /// A row for each label of the dictionary.
    output: Vec<Vec<f32>>,
    /// Label number of the trainer → of the dictionary.
    label_rows: Vec<usize>,
    /// Hash of each of the trainer's words, and the end of its rows in `word_rows`.
    hashes: Vec<u32>,
    word_ends: Vec<usize>,
    word_rows: Vec<u32>,
    /// Tokens seen over all epochs.
    seen: u64,
    rows: Vec<u32>,
    text_hashes: Vec<u32>,
    hidden: Vec<f32>,
    gradient: Vec<f32>,
    probabilities: Vec<f32>,
}

impl Descent {
    fn new(trainer: &Trainer, dictionary: &Dictionary) -> Descent {
        let columns = trainer.settings.dimensions;
        let (mut hashes, mut word_ends, mut word_rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut bracketed = Vec::new();
        for id in 0..trainer.words.len() as u32 {
            let word = trainer.words.word(id);
            hashes.push(hash_word(word));
            if id != 0 || dictionary.entries().any(|(entry, _)| entry == END) {
                dictionary.word_rows(word, &mut bracketed, &mut word_rows);
            }
            word_ends.push(word_rows.len());
        }
        let place = |label| dictionary.labels().iter().position(|found| found == label);
        Descent {
            columns,
            input: start(dictionary.row_count() as usize * columns, columns, trainer.settings.seed),
            output: vec![vec![0.0; columns]; trainer.labels.len()],
            label_rows: trainer.labels.iter().filter_map(place).collect(),
            hashes,
            word_ends,
            word_rows,
            seen: 0,
            rows: Vec::new(),
            text_hashes: Vec::new(),
            hidden: Vec::new(),
            gradient: Vec::new(),
            probabilities: Vec::new(),
        }
    }

    /// Visits each text once, in a new order. Returns the mean loss.
    fn epoch(
        &mut self,
        trainer: &Trainer,
        dictionary: &Dictionary,
        epoch: u32,
        watch: &mut impl FnMut(f64) -> ControlFlow<()>,
    ) -> Result<f64> {
        /// Texts between two calls of `watch`: some milliseconds.
        const BETWEEN: usize = 64;
        let total = (trainer.tokens.len() + trainer.texts.len()) as f64
            * f64::from(trainer.settings.epochs);
        let mut loss = 0.0;
        for (visit, text) in order(trainer.texts.len(), trainer.settings.seed, epoch).enumerate() {
            let done = self.seen as f64 / total;
            if visit % BETWEEN == 0 && watch(done).is_break() {
                return Err(Error::Interrupted);
            }
            let start = if text == 0 { 0 } else { trainer.texts[text - 1].1 };
            let (label, end) = trainer.texts[text];
            let tokens = &trainer.tokens[start..end];
            self.list_rows(tokens, dictionary);
            let rate = trainer.settings.rate * (1.0 - done) as f32;
            loss += self.step(self.label_rows[label as usize], rate);
            self.seen += tokens.len() as u64 + 1;
        }
        Ok(loss / trainer.texts.len() as f64)
    }

    /// The rows of a text, as [`Dictionary::rows`] gives them for its bytes.
    fn list_rows(&mut self, tokens: &[u32], dictionary: &Dictionary) {
        self.rows.clear();
        self.text_hashes.clear();
        for &token in tokens {
            let token = token as usize;
            let start = if token == 0 { 0 } else { self.word_ends[token - 1] };
            self.rows.extend_from_slice(&self.word_rows[start..self.word_ends[token]]);
            self.text_hashes.push(self.hashes[token]);
        }
        dictionary.word_ngram_rows(&self.text_hashes, &mut self.rows);
    }

    /// Takes one step of gradient descent towards `target`. Returns the loss before it.
    fn step(&mut self, target: usize, rate: f32) -> f64 {
        if self.rows.is_empty() {
            return 0.0;
        }
        let factor = (1.0 / self.rows.len() as f64) as f32;
        self.hidden.clear();
        self.hidden.resize(self.columns, 0.0);
        add_dense(&self.input, self.columns, &self.rows, &mut self.hidden);
        self.hidden.iter_mut().for_each(|value| *value *= factor);
        self.probabilities.clear();
        for row in &self.output {
            let products = row.iter().zip(&self.hidden).map(|(left, right)| left * right);
            self.probabilities.push(products.fold(0.0, |dot, product| dot + product));
        }
        softmax(&mut self.probabilities);
        self.gradient.clear();
        self.gradient.resize(self.columns, 0.0);
        for (label, (row, probability)) in
            self.output.iter_mut().zip(&self.probabilities).enumerate()
        {
            let wanted = if label == target { 1.0 } else { 0.0 };
            let step = rate * (wanted - probability);
            let columns = row.iter_mut().zip(&self.hidden).zip(&mut self.gradient);
            for ((weight, hidden), gradient) in columns {
                *gradient += step * *weight;
                *weight += step * hidden;
            }
        }
        self.gradient.iter_mut().for_each(|value| *value *= factor);
        for &row in &self.rows {
            let start = row as usize * self.columns;
            let values = &mut self.input[start..start + self.columns];
            for (value, gradient) in values.iter_mut().zip(&self.gradient) {
                *value += gradient;
            }
        }
        -libm::log(f64::from(self.probabilities[target]).max(f64::from(f32::MIN_POSITIVE)))
    }
}

/// Starting values, uniform in ±1/columns, two a draw.
fn start(values: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, "classifier rows");
    let scale = 1.0 / columns as f32;
    // The upper 24 bits of each half, as a number in [-1, 1).
    let number = |bits: u32| (bits >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    let mut matrix = Vec::with_capacity(values + 1);
    while matrix.len() < values {
        let bits = stream.next_u64();
        matrix.extend([bits as u32, (bits >> 32) as u32].map(|bits| number(bits) * scale));
    }
    matrix.truncate(values);
    matrix
}

/// The numbers below `count` in the order of one epoch: Fisher and Yates' shuffle.
fn order(count: usize, seed: u64, epoch: u32) -> impl Iterator<Item = usize> {
    let mut stream = Stream::new(seed, &format!("classifier order of epoch {epoch}"));
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        // A draw of 64 bits modulo a small number: uneven by less than 2^-32.
        order.swap(last, (stream.next_u64() % (last as u64 + 1)) as usize);
    }
    order.into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::Scratch;
    use super::super::dictionary::RowScratch;
    use super::*;

    fn texts(kind: &str) -> Vec<String> {
        let noun = |index: usize| ["cat", "dog", "cow", "fox", "hen"][index % 5];
        (0..60)
            .map(|index| format!("the {kind} {} was\n{kind} today {index}", noun(index)))
            .collect()
    }

    fn small() -> TrainSettings {
        TrainSettings { dimensions: 8, buckets: 500, rate: 0.5, epochs: 10, ..Default::default() }
    }

    fn trained(settings: TrainSettings) -> (Model, TrainReport) {
        let (good, bad) = (texts("good"), texts("bad"));
        train(("hq", good.iter()), ("cc", bad.iter()), settings).expect("small texts")
    }

    #[test]
    fn a_model_learns_what_tells_the_labels_apart() {
        let (model, report) = trained(small());
        assert_eq!(report.texts, [60, 60]);
        assert!(report.losses[9] < 0.1 && report.losses[0] > report.losses[9], "{report:?}");
        let mut scratch = Scratch::default();
        let hq = model.label("hq").expect("a label");
        assert!(model.probability("a good hen", hq, &mut scratch) > 0.9);
        assert!(model.probability("a bad hen", hq, &mut scratch) < 0.1);
    }

    #[test]
    fn one_seed_is_one_file() {
        let bytes = |settings| {
            let mut bytes = Vec::new();
            trained(settings).0.write(&mut bytes).expect("memory");
            bytes
        };
        let first = bytes(small());
        assert!(first == bytes(small()));
        assert!(first != bytes(TrainSettings { seed: 1, ..small() }));
        // The bits themselves: another value means that every trained model changes.
        assert_eq!(crate::base::hash::xxh3_64(&first), FINGERPRINT);
    }

    const FINGERPRINT: u64 = 2_361_421_274_462_831_530;

    #[test]
    fn training_sees_the_rows_that_predicting_sees() {
        for (longest, least_count) in [(0, 1), (4, 3)] {
            let settings =
                TrainSettings { shortest: 2.min(longest), longest, least_count, ..small() };
            let mut trainer = Trainer::new(&["a", "b"], settings).expect("settings");
            let text = "one two two two __label__x\u{e9}n three one 1 </s> four";
            trainer.add(text, 0).expect("room");
            trainer.add("two", 1).expect("room");
            let dictionary = trainer.dictionary().expect("a dictionary");
            let mut descent = Descent::new(&trainer, &dictionary);
            descent.list_rows(&trainer.tokens[..trainer.texts[0].1], &dictionary);
            let mut rows: Vec<u32> = Vec::new();
            let mut room = RowScratch::default();
            dictionary.rows(text.as_bytes(), &mut room, |block| rows.extend(block));
            assert_eq!(descent.rows, rows);
        }
    }

    #[test]
    fn bad_settings_and_labels_without_texts_are_named() {
        let message = |result: Result<Trainer>| result.err().map(|error| error.to_string());
        let wrong = TrainSettings { dimensions: 0, ..small() };
        assert_eq!(
            message(Trainer::new(&["a", "b"], wrong)).as_deref(),
            Some("`dimensions` must be 1 to 1024, not 0")
        );
        assert!(message(Trainer::new(&["a", "a"], small())).is_some());
        assert!(message(Trainer::new(&["a", "b c"], small())).is_some());
        let mut trainer = Trainer::new(&["a", "b"], small()).expect("settings");
        trainer.add("x", 0).expect("room");
        let error =
            trainer.train(|_| ControlFlow::Continue(())).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("no text of label `__label__b`"));
    }

    #[test]
    fn training_ends_when_it_is_told_to() {
        let mut trainer = Trainer::new(&["a", "b"], small()).expect("settings");
        trainer.add("x", 0).expect("room");
        trainer.add("y", 1).expect("room");
        assert!(matches!(trainer.train(|_| ControlFlow::Break(())), Err(Error::Interrupted)));
    }
}
