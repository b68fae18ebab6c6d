//! Language identification behind one type: a built-in default, or a fastText model.
//!
//! In → a text; out → the likeliest language with a score in [0, 1.00001] ([`Identifier`]).
//!
//! Built in: the crate `whatlang` (trigram and alphabet profiles of 70 languages; Cavnar and
//! Trenkle, "N-gram-based text categorization", 1994), on lower-cased text. It takes the script
//! with the most characters, so commands and names in Latin letters hide the prose around them in
//! Chinese or Korean, whose words have few characters; here a script counts by its bytes in UTF-8,
//! and where letters beyond Latin have more bytes than Latin ones, the Latin letters are blanked
//! first. Of a text over 16 KiB, eight pieces of 2 KiB spread evenly are looked at. Its score is
//! whatlang's confidence: how far the best language is ahead of the second, 1 from a lead of
//! 1.5% + 3 / (distinct trigrams) on, and for a script that only one of its languages uses. It is
//! no probability: a threshold chosen for fastText's means something else here.
//!
//! A fastText model (`lid.176`, GlotLID): the reported probability of its best label, line feeds as
//! spaces, as datatrove's language filter has it. A label `__label__eng_Latn` is language `eng` in
//! script `Latn`.
//!
//! Codes: ISO 639-1 where there is one, as in FineWeb's column `language`, with `no` for Norwegian
//! Bokmål as `lid.176` has it; a model's own codes for a model.
//!
//! Invariants: the result depends on the text and the identifier alone. Cost, built in: some 50 µs
//! a text, and 40 MB/s up to its first 16 KiB, beyond that nothing.

use std::path::Path;

use whatlang::Lang;

use super::{Lines, Model, Scratch};
use crate::base::error::{Error, Result};
use crate::text::{is_letter, lower};

/// The languages of the built-in identifier: whatlang's, each with its ISO 639-1 code.
#[rustfmt::skip]
const LANGUAGES: &[(Lang, &str)] = &[
    (Lang::Epo, "eo"), (Lang::Eng, "en"), (Lang::Rus, "ru"), (Lang::Cmn, "zh"), (Lang::Spa, "es"),
    (Lang::Por, "pt"), (Lang::Ita, "it"), (Lang::Ben, "bn"), (Lang::Fra, "fr"), (Lang::Deu, "de"),
    (Lang::Ukr, "uk"), (Lang::Kat, "ka"), (Lang::Ara, "ar"), (Lang::Hin, "hi"), (Lang::Jpn, "ja"),
    (Lang::Heb, "he"), (Lang::Yid, "yi"), (Lang::Pol, "pl"), (Lang::Amh, "am"), (Lang::Jav, "jv"),
    (Lang::Kor, "ko"), (Lang::Nob, "no"), (Lang::Dan, "da"), (Lang::Swe, "sv"), (Lang::Fin, "fi"),
    (Lang::Tur, "tr"), (Lang::Nld, "nl"), (Lang::Hun, "hu"), (Lang::Ces, "cs"), (Lang::Ell, "el"),
    (Lang::Bul, "bg"), (Lang::Bel, "be"), (Lang::Mar, "mr"), (Lang::Kan, "kn"), (Lang::Ron, "ro"),
    (Lang::Slv, "sl"), (Lang::Hrv, "hr"), (Lang::Srp, "sr"), (Lang::Mkd, "mk"), (Lang::Lit, "lt"),
    (Lang::Lav, "lv"), (Lang::Est, "et"), (Lang::Tam, "ta"), (Lang::Vie, "vi"), (Lang::Urd, "ur"),
    (Lang::Tha, "th"), (Lang::Guj, "gu"), (Lang::Uzb, "uz"), (Lang::Pan, "pa"), (Lang::Aze, "az"),
    (Lang::Ind, "id"), (Lang::Tel, "te"), (Lang::Pes, "fa"), (Lang::Mal, "ml"), (Lang::Ori, "or"),
    (Lang::Mya, "my"), (Lang::Nep, "ne"), (Lang::Sin, "si"), (Lang::Khm, "km"), (Lang::Tuk, "tk"),
    (Lang::Aka, "ak"), (Lang::Zul, "zu"), (Lang::Sna, "sn"), (Lang::Afr, "af"), (Lang::Lat, "la"),
    (Lang::Slk, "sk"), (Lang::Cat, "ca"), (Lang::Tgl, "tl"), (Lang::Hye, "hy"), (Lang::Cym, "cy"),
];

/// Longest text that the built-in identifier reads whole, in bytes.
const WHOLE: usize = 16 << 10;

/// Pieces read of a longer text, and bytes of each.
const PIECES: usize = 8;
const PIECE: usize = WHOLE / PIECES;

/// Finds the language of texts.
#[derive(Clone, Debug)]
pub struct Identifier(Kind);

#[derive(Clone, Debug)]
enum Kind {
    BuiltIn,
    Model { model: Box<Model>, names: Vec<Name> },
}

/// A model's label taken apart.
#[derive(Clone, Debug)]
struct Name {
    code: String,
    script: Option<String>,
}

/// What the built-in identifier found.
struct Identified {
    /// Number of the language, for [`Identifier::code`].
    language: u32,
    /// How sure it is, 0 to 1.
    score: f64,
}

/// Buffers for identifying, kept from text to text.
#[derive(Clone, Debug, Default)]
pub struct IdentifierScratch {
    model: Scratch,
    lowered: String,
    blanked: String,
}

impl Identifier {
    /// The identifier that needs no file.
    pub fn built_in() -> Identifier {
        Identifier(Kind::BuiltIn)
    }

    /// An identifier by a fastText model, whose labels are languages.
    fn from_model(model: Model) -> Identifier {
        let names = model.labels().iter().map(|label| Name::of(label)).collect();
        Identifier(Kind::Model { model: Box::new(model), names })
    }

    /// What identifies, for a manifest: a name and a version.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Kind::BuiltIn => "whatlang-0.18",
            Kind::Model { .. } => "fasttext",
        }
    }

    /// How many languages there are; their numbers are below it.
    pub fn len(&self) -> u32 {
        match &self.0 {
            Kind::BuiltIn => LANGUAGES.len() as u32,
            Kind::Model { names, .. } => names.len() as u32,
        }
    }

    /// Whether there are none; there always are some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The code of a language, such as `en` (or `eng` in a model that says so).
    pub fn code(&self, language: u32) -> &str {
        match &self.0 {
            Kind::BuiltIn => LANGUAGES[language as usize].1,
            Kind::Model { names, .. } => &names[language as usize].code,
        }
    }

    /// The script that a model's label names, such as `Latn`.
    pub fn script(&self, language: u32) -> Option<&str> {
        match &self.0 {
            Kind::BuiltIn => None,
            Kind::Model { names, .. } => names[language as usize].script.as_deref(),
        }
    }

    /// The numbers of the language with this code, one for each script, or the one with this label
    /// (`eng_Latn`). An unknown code is an error that lists the known ones.
    pub fn languages(&self, wanted: &str) -> Result<Vec<u32>> {
        let by_label = match &self.0 {
            Kind::BuiltIn => None,
            Kind::Model { model, .. } => model.label(wanted),
        };
        if let Some(language) = by_label {
            return Ok(vec![language]);
        }
        let has_code = |language: &u32| self.code(*language) == wanted;
        let by_code: Vec<u32> = (0..self.len()).filter(has_code).collect();
        if by_code.is_empty() {
            let codes: Vec<&str> = (0..self.len()).map(|language| self.code(language)).collect();
            return Err(Error::config(format!("no language `{wanted}` in `{}`", self.name()))
                .with_hint(format!("one of: {}", codes.join(", "))));
        }
        Ok(by_code)
    }

    /// How sure the identifier is that a text is in `language`: what FineWeb's language filter
    /// compares with its threshold. A model's probability of it, whether it is the best or not; the
    /// built-in identifier's confidence if it is the best, else 0.
    pub fn score(&self, text: &str, language: u32, room: &mut IdentifierScratch) -> f64 {
        match &self.0 {
            Kind::BuiltIn => identify_built_in(text, room)
                .filter(|found| found.language == language)
                .map_or(0.0, |found| found.score),
            Kind::Model { model, .. } => {
                let text = Lines::Space.apply(text);
                f64::from(model.probability(&text, language, &mut room.model))
            }
        }
    }
}

impl Name {
    fn of(label: &str) -> Name {
        let name = label.strip_prefix("__label__").unwrap_or(label);
        match name.split_once('_') {
            Some((code, script)) if script.len() == 4 => {
                Name { code: code.to_owned(), script: Some(script.to_owned()) }
            }
            _ => Name { code: name.to_owned(), script: None },
        }
    }
}

fn identify_built_in(text: &str, room: &mut IdentifierScratch) -> Option<Identified> {
    let IdentifierScratch { lowered, blanked, .. } = room;
    lowered.clear();
    for piece in pieces(text) {
        lower(piece, lowered);
        lowered.push(' ');
    }
    let text = if is_mostly_beyond_latin(lowered) {
        blanked.clear();
        blanked.extend(lowered.chars().map(|char| if is_latin(char) { ' ' } else { char }));
        blanked
    } else {
        lowered
    };
    let found = whatlang::detect(text)?;
    let language = LANGUAGES.iter().position(|&(language, _)| language == found.lang())?;
    Some(Identified { language: language as u32, score: found.confidence() })
}

/// The whole text, or pieces of it that begin and end between characters.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let count = if text.len() <= WHOLE { 1 } else { PIECES };
    (0..count).map(move |piece| {
        if count == 1 {
            return text;
        }
        // In 128 bits: the product of a length and a small number always fits.
        let start = ((text.len() - PIECE) as u128 * piece as u128 / (PIECES - 1) as u128) as usize;
        let start = text.ceil_char_boundary(start);
        &text[start..text.floor_char_boundary(start + PIECE).max(start)]
    })
}

/// Whether letters of other scripts have more bytes than Latin ones.
fn is_mostly_beyond_latin(text: &str) -> bool {
    let (mut latin, mut beyond) = (0, 0);
    for char in text.chars() {
        if is_latin(char) {
            latin += char.len_utf8();
        } else if char > '\u{24f}' && is_letter(char) {
            beyond += char.len_utf8();
        }
    }
    beyond > latin
}

/// Letters of Unicode's Latin blocks: Basic, Latin-1, Extended-A and -B, Extended Additional.
fn is_latin(char: char) -> bool {
    char.is_ascii_alphabetic()
        || (matches!(char, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}') && is_letter(char))
}

/// Reads a model that identifies languages from `input`, a file at `path` of `size` bytes.
pub fn read(input: &mut dyn std::io::Read, size: u64, path: &Path) -> Result<Identifier> {
    Ok(Identifier::from_model(Model::read(input, size).map_err(|error| error.at(path))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str) -> Option<(&'static str, f64)> {
        identify_built_in(text, &mut IdentifierScratch::default())
            .map(|found| (LANGUAGES[found.language as usize].1, found.score))
    }

    #[test]
    fn every_language_of_the_crate_has_a_code_of_its_own() {
        assert_eq!(LANGUAGES.len(), Lang::all().len());
        for language in Lang::all() {
            assert!(LANGUAGES.iter().any(|(known, _)| known == language), "{language}");
        }
        let mut codes: Vec<&str> = LANGUAGES.iter().map(|&(_, code)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), LANGUAGES.len());
        assert!(codes.iter().all(|code| code.len() == 2), "{codes:?}");
    }

    #[test]
    fn plain_sentences_are_recognised() {
        let english = "All human beings are born free and equal in dignity and rights.";
        assert_eq!(found(english).map(|found| found.0), Some("en"));
        let german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren.";
        assert_eq!(found(german).map(|found| found.0), Some("de"));
        let thai = "มนุษย์ทั้งหลายเกิดมามีอิสระ";
        assert_eq!(found(thai), Some(("th", 1.0)));
        assert_eq!(found(""), None);
        assert_eq!(found("12 + 30 = 42 \u{1f600}"), None);
    }

    #[test]
    fn commands_in_latin_letters_do_not_hide_the_prose_around_them() {
        let text = "# 压缩文件的命令\n\n- 把目录压缩成一个文件: `tar --create --file archive.tar`\n\n\
                    - 列出文件里的内容: `tar --list --file`";
        assert_eq!(found(text).map(|found| found.0), Some("zh"));
        let english = "The word 日本 means Japan, and 東京 is its capital and largest city.";
        assert_eq!(found(english).map(|found| found.0), Some("en"));
    }

    #[test]
    fn long_texts_are_judged_from_beginning_middle_and_end() {
        let text = "é".repeat(1 << 20);
        let found: Vec<&str> = pieces(&text).collect();
        assert_eq!(found.len(), PIECES);
        assert!(found.iter().all(|piece| piece.len() <= PIECE && piece.len() > PIECE - 4));
        let end = found[PIECES - 1].as_ptr() as usize + found[PIECES - 1].len();
        assert_eq!(end, text.as_ptr() as usize + text.len());
        assert_eq!(pieces("short").collect::<Vec<_>>(), ["short"]);
    }

    #[test]
    fn labels_of_models_are_taken_apart() {
        let name = |label| {
            let name = Name::of(label);
            (name.code, name.script)
        };
        assert_eq!(name("__label__en"), ("en".into(), None));
        assert_eq!(name("__label__eng_Latn"), ("eng".into(), Some("Latn".into())));
        assert_eq!(name("__label__deu_1901_x"), ("deu_1901_x".into(), None));
    }

    #[test]
    fn a_model_identifies_by_its_labels() {
        let bytes = include_bytes!("../../fixtures/fasttext/hierarchical.bin");
        let path = Path::new("hierarchical.bin");
        let identifier = read(&mut &bytes[..], bytes.len() as u64, path).expect("a golden model");
        let mut room = IdentifierScratch::default();
        let text = "Everyone has the right to life,\nliberty and security of person.";
        let english = identifier.languages("eng").expect("a label")[0];
        let mut score = |language| identifier.score(text, language, &mut room);
        let best = score(english);
        assert!((0..identifier.len()).all(|other| other == english || score(other) < best));
        let error = identifier.languages("xx").expect_err("no such label");
        assert_eq!(error.to_string(), "no language `xx` in `fasttext`");
    }

    proptest! {
        #[test]
        fn any_text_has_a_language_or_none(text in "\\PC{0,40}|[a-zа-я一-龥 ]{0,90}") {
            if let Some((_, score)) = found(&text) {
                prop_assert!((0.0..=1.0).contains(&score));
            }
        }
    }
}
