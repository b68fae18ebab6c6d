"""Writes classes.rs and exceptions.rs: the data of spaCy's English rule tokenizer, read from spaCy itself.

  python3.11 -m venv V && V/bin/pip install spacy==3.8.18 unicodedata2==16.0.0 && V/bin/python make_tables.py

Character classes are asked of spaCy's own compiled expressions, code point by code point; categories come
from unicodedata2, so that the interpreter's Unicode version does not matter. What the hand-written matchers
take for granted about the expressions' form is asserted here.
"""
import pathlib
import re

import spacy
import unicodedata2
from spacy.lang import char_classes as c
from spacy.lang.en.punctuation import TOKENIZER_INFIXES
from spacy.lang.punctuation import TOKENIZER_PREFIXES, TOKENIZER_SUFFIXES
from spacy.pipeline.sentencizer import Sentencizer
from spacy.symbols import ORTH
from spacy.tokenizer import Tokenizer

assert spacy.__version__ == "3.8.18", spacy.__version__
assert unicodedata2.unidata_version == "16.0.0"
HERE = pathlib.Path(__file__).parent
LIMIT = 0x30000
tokenizer = spacy.blank("en").tokenizer
prefixes, suffixes = tokenizer.prefix_search, tokenizer.suffix_search


def check_form():
    """The expressions are the ones that affixes.rs was written for."""
    assert tokenizer.token_match is None and tokenizer.faster_heuristics
    singles = c.LIST_PUNCT + c.LIST_ELLIPSES + c.LIST_QUOTES
    assert TOKENIZER_PREFIXES == ["§", "%", "=", "—", "–", r"\+(?![0-9])"] + singles + c.LIST_CURRENCY + c.LIST_ICONS
    assert TOKENIZER_SUFFIXES == singles + c.LIST_ICONS + ["'s", "'S", "’s", "’S", "—", "–"] + [
        r"(?<=[0-9])\+", r"(?<=°[FfCcKk])\.", rf"(?<=[0-9])(?:{c.CURRENCY})", rf"(?<=[0-9])(?:{c.UNITS})",
        rf"(?<=[0-9{c.ALPHA_LOWER}%²\-\+{c.PUNCT}(?:{c.CONCAT_QUOTES})])\.", rf"(?<=[{c.ALPHA_UPPER}][{c.ALPHA_UPPER}])\."]
    assert c.LIST_ELLIPSES == [r"\.\.+", "…"] and c.HYPHENS == "-|–|—|--|---|——|~"
    assert TOKENIZER_INFIXES == c.LIST_ELLIPSES + c.LIST_ICONS + [
        r"(?<=[0-9])[+\-\*^](?=[0-9-])",
        rf"(?<=[{c.ALPHA_LOWER}{c.CONCAT_QUOTES}])\.(?=[{c.ALPHA_UPPER}{c.CONCAT_QUOTES}])",
        rf"(?<=[{c.ALPHA}]),(?=[{c.ALPHA}])", rf"(?<=[{c.ALPHA}0-9])(?:{c.HYPHENS})(?=[{c.ALPHA}])",
        rf"(?<=[{c.ALPHA}0-9])[:<>=/](?=[{c.ALPHA}])"]
    longer = [p for p in c.LIST_PUNCT + c.LIST_QUOTES if len(p.replace("\\", "")) > 1]
    assert longer == ["……"] and c.LIST_PUNCT.index("…") < c.LIST_PUNCT.index("……"), longer
    assert not any(char.isspace() for one in tokenizer.rules for char in one.strip()), "white space within a rule"


def member(expression):
    return re.compile(f"[{expression}]").match


def single(char, find):
    return find(char) is not None


CLASSES = [
    ("PREFIX", "Cut off the front of a chunk by itself.", lambda x: x != "+" and single(x, prefixes)),
    ("SUFFIX", "Cut off the end of a chunk by itself.", lambda x: single(x, suffixes)),
    ("CURRENCY", "A currency sign, cut off after a digit.", lambda x: re.fullmatch(c.CURRENCY, x)),
    ("DOT_LEFT", "A full stop after it is cut off.",
     member(rf"0-9{c.ALPHA_LOWER}%²\-\+{c.PUNCT}(?:{c.CONCAT_QUOTES})")),
    ("ALPHA", "A letter of the scripts that spaCy names.", member(c.ALPHA)),
    ("LOWER", "A small letter, or one of a script without case.", member(c.ALPHA_LOWER)),
    ("UPPER", "A capital, or a letter of a script without case.", member(c.ALPHA_UPPER)),
    ("QUOTE", "A quotation mark or bracket that counts as one.", member(c.CONCAT_QUOTES)),
    ("ICON", "A symbol or emoji, cut off wherever it stands.", member(c.CONCAT_ICONS)),
    ("SENTENCE_END", "Ends a sentence: `Sentencizer.default_punct_chars`.", set(Sentencizer.default_punct_chars).__contains__),
    ("PUNCTUATION", "Category P*: may follow the end of a sentence within it.",
     lambda x: unicodedata2.category(x).startswith("P")),
    ("DIGIT", "Category Nd: Python's `\\\\d`.", lambda x: unicodedata2.category(x) == "Nd"),
]


def runs():
    """[(first, last, flags)] of the code points that are in any class."""
    found = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        flags = sum(1 << bit for bit, (_, _, holds) in enumerate(CLASSES) if holds(chr(code)))
        if not flags:
            continue
        assert code < LIMIT, hex(code)
        if found and found[-1][1] == code - 1 and found[-1][2] == flags:
            found[-1][1] = code
        else:
            found.append([code, code, flags])
    return found


def rows(items, width=98):
    line, out = "   ", []
    for item in items:
        if len(line) + len(item) + 2 > width:
            out.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(out + [line])


def literal(text):
    body = "".join(f"\\u{{{ord(x):x}}}" if not x.isascii() else "\\" + x if x in '"\\' else x for x in text)
    return '"' + body.replace("\t", "\\t").replace("\n", "\\n") + '"'


def special_cases():
    """(text, bytes to the first cut, bytes to the second cut); 0 where there is none. White space alone is left out."""
    for text, parts in sorted(tokenizer.rules.items()):
        parts = [part[ORTH] for part in parts]
        assert "".join(parts) == text and len(parts) <= 3
        if text.strip():
            lengths = [len(part.encode()) for part in parts]
            cuts = [sum(lengths[:n]) for n in range(1, len(parts))] + [0, 0]
            yield text, cuts[0], cuts[1]


def phrases():
    """Tokens, without special cases, of the special cases that hold an affix: what the last pass looks for."""
    plain = Tokenizer(tokenizer.vocab, None, prefixes, suffixes, tokenizer.infix_finditer, None, tokenizer.url_match)
    for text in sorted(tokenizer.rules):
        if not (tokenizer.find_prefix(text) or tokenizer.find_infix(text) or tokenizer.find_suffix(text) or " " in text):
            continue
        tokens = [token.text for token in plain(text)]
        if len(tokens) > 1:
            yield tokens
        else:  # it would be found as a whole, and cutting it changes nothing
            assert [part[ORTH] for part in tokenizer.rules[text]] == tokens == [text]


def words(listed):
    return sorted({one.replace("\\", "") for one in listed}, key=lambda one: (len(one.encode()), one))


def write_classes():
    parts = ["//! Classes of characters in spaCy 3.8's English rules and in Unicode 16.0.0.\n//!\n"
             "//! Written by `make_tables.py`, never by hand.\n"]
    for bit, (name, meaning, _) in enumerate(CLASSES):
        parts.append(f"/// {meaning}\npub const {name}: u16 = 1 << {bit};\n".replace("\\\\", "\\"))
    parts.append(f"/// First code point beyond all of them.\npub const LIMIT: usize = {LIMIT:#x};\n")
    items = [f"({a:#x}, {b:#x}, {flags:#x})" for a, b, flags in runs()]
    parts.append("/// (first, last, classes): code points, inclusive, ascending.\n"
                 f"pub const RUNS: &[(u32, u32, u16)] = &[\n{rows(items)}\n];\n")
    (HERE / "classes.rs").write_text("\n".join(parts), encoding="utf-8")


def write_exceptions():
    specials = [f"({literal(text)}, {first}, {second})" for text, first, second in special_cases()]
    wanted = [f"&[{', '.join(map(literal, tokens))}]" for tokens in phrases()]
    wanted = [one if len(one) < 90 else one.replace(", ", ",\n        ") for one in wanted]
    units = [literal(one) for one in words(c.UNITS.split("|"))]
    currencies = [literal(one) for one in words(c.LIST_CURRENCY) if len(one) > 1]
    text = f"""//! Special cases, units and currencies of spaCy 3.8's English rules.
//!
//! Written by `make_tables.py`, never by hand.

/// (text, bytes to its first cut, bytes to its second cut), 0 where there is none; ascending.
pub const SPECIAL_CASES: &[(&str, u8, u8)] = &[
{rows(specials)}
];

/// Special cases as the other rules would cut them, where they would.
pub const PHRASES: &[&[&str]] = &[
{rows(wanted)}
];

/// Units, cut off after a digit.
pub const UNITS: &[&str] = &[
{rows(units)}
];

/// Currencies of more than one character, cut off in front and after a digit.
pub const CURRENCIES: &[&str] = &[
{rows(currencies)}
];
"""
    (HERE / "exceptions.rs").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    check_form()
    write_classes()
    write_exceptions()
    print(len(runs()), "runs,", len(list(special_cases())), "special cases,", len(list(phrases())), "phrases")
