"""Writes tables.rs and golden.jsonl: Python's str.isspace, \\w, isalpha and lower as of one Unicode version.

  python3.13 -m venv V && V/bin/pip install unicodedata2==16.0.0 regex==2024.11.6 && V/bin/python make_classes.py

Classes come from unicodedata2, by CPython's own definitions (Objects/unicodetype.c, Tools/unicode/
makeunicodedata.py). Lower-case mappings and the two properties behind the final sigma come from the
interpreter for every code point it knows, and for newer ones from what the standard says of them:
the small letter has the capital's name, cased are Lu, Ll, Lt, ignorable are Mn, Me, Cf, Lm, Sk.
Scripts and Line_Break come from regex, whose 2024.11.6 has the same version.
Any CPython from 3.11 (Unicode 14) to 3.14 (Unicode 16) writes the same two files.
"""
import json
import pathlib
import re
import unicodedata

import regex
import unicodedata2 as stated

VERSION = "16.0.0"
assert stated.unidata_version == VERSION, stated.unidata_version
assert unicodedata.unidata_version <= VERSION, "an interpreter newer than the stated tables"
HERE = pathlib.Path(__file__).parent
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def known(char):
    """The interpreter has this code point in the state of the stated version."""
    return unicodedata.category(char) == stated.category(char) != "Cn"


def is_white_space(char):
    return stated.bidirectional(char) in ("WS", "B", "S") or stated.category(char) == "Zs"


def is_letter(char):
    return stated.category(char).startswith("L")


def is_word(char):
    return is_letter(char) or char == "_" or stated.numeric(char, None) is not None


def is_ignorable(char):
    if known(char):  # it lets the letter before it make the sigma final, and cannot do so itself
        return ("a" + char + "Σ").lower().endswith("ς") and (char + "Σ").lower().endswith("σ")
    return stated.category(char) in ("Mn", "Me", "Cf", "Lm", "Sk")


def is_cased(char):
    """Of code points that are not ignorable (the others are skipped before this is asked)."""
    if known(char):
        return (char + "Σ").lower().endswith("ς")
    return stated.category(char) in ("Lu", "Ll", "Lt")


def lower(char):
    if known(char):
        return char.lower()
    name = stated.name(char, "")
    if stated.category(char) == "Lu" and " CAPITAL " in name:
        return stated.lookup(name.replace(" CAPITAL ", " SMALL "))
    return char


# Scripts that put no space between words: those whose letters let a line break inside a word (UAX #14:
# classes ID and CJ of ideographs, kana and syllabaries; SA of South-East Asia; AK, AP and AS of orthographic
# syllables), but for Hangul, which has spaces, and wide Latin. And Tibetan, which divides syllables alone.
BREAKING = [regex.compile(rf"\p{{Line_Break={name}}}") for name in ("ID", "CJ", "SA", "AK", "AP", "AS")]
UNSPACED_SCRIPTS = (
    "Hani Hira Kana Bopo Yiii Tang Nshu "
    "Thai Laoo Mymr Khmr Tale Talu Lana Tavt Ahom "
    "Bali Java Batk Cham Kawi Brah Gran Tutg Diak Maka Gukh "
    "Tibt"
).split()
# The scripts with spaces that share characters with those.
SPACED_SCRIPTS = "Latn Hang Cyrl Deva Beng Taml Knda Mlym Telu".split()
UNSPACED, SPACED = (
    regex.compile("[" + "".join(rf"\p{{scx={name}}}" for name in names) + "]")
    for names in (UNSPACED_SCRIPTS, SPACED_SCRIPTS)
)


def is_unspaced(char):
    """Letters, marks and numbers but decimal digits, of those scripts alone."""
    category = stated.category(char)
    if category[0] == "L" and any(breaking.match(char) for breaking in BREAKING):
        assert SPACED.match(char) or UNSPACED.match(char), f"a script that is not listed: {ord(char):#x}"
    listed = UNSPACED.match(char) and not SPACED.match(char)
    return category[0] in "LMN" and category != "Nd" and bool(listed)


def ranges(holds):
    """[(first, last)] of the scalar values of a class."""
    found = []
    for code in SCALARS:
        if holds(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return found


def lower_runs():
    """[(first, last, step, distance)]: evenly spaced capitals whose small letters lie equally far."""
    runs = []
    for code in SCALARS:
        small = lower(chr(code))
        if small == chr(code):
            continue
        if len(small) > 1:
            assert code == 0x130, hex(code)
            continue
        distance = ord(small) - code
        last = runs[-1] if runs else None
        if last and last[3] == distance and code - last[1] in (1, 2) and last[2] in (0, code - last[1]):
            last[1], last[2] = code, code - last[1]
        else:
            runs.append([code, code, 0, distance])
    return [(first, last, step or 1, distance) for first, last, step, distance in runs]


def rows(items, width=98):
    line, out = "   ", []
    for item in items:
        if len(line) + len(item) + 2 > width:
            out.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(out + [line])


def table(name, meaning, items, kind):
    return f"/// {meaning}\npub const {name}: &[{kind}] = &[\n{rows(items)}\n];\n"


def write_tables():
    pairs = "(u32, u32)"
    ignorable = ranges(is_ignorable)
    skipped = {code for first, last in ignorable for code in range(first, last + 1)}
    parts = [
        "//! Tables of Unicode classes and lower-case mappings, as Python's `str` has them.\n//!\n"
        "//! Written by `make_classes.py`, never by hand; inclusive ranges of code points, ascending.\n",
        f'/// The Unicode version of every table here.\npub const UNICODE_VERSION: &str = "{VERSION}";\n',
    ]
    for name, meaning, found in (
        ("WHITE_SPACE", "`str.isspace`: bidirectional class WS, B or S, or category Zs.", ranges(is_white_space)),
        ("WORD", "`\\w` of `re`: letters, whatever has a numeric value, and `_`.", ranges(is_word)),
        ("LETTER", "`str.isalpha`: categories Lu, Ll, Lt, Lm, Lo.", ranges(is_letter)),
        ("CASE_IGNORABLE", "Case_Ignorable: skipped in the search around a capital sigma.", ignorable),
        ("CASED", "Cased, of the code points that are not ignorable.",
         ranges(lambda char: ord(char) not in skipped and is_cased(char))),
        ("UNSPACED", "Letters, marks and numbers (decimal digits apart) of scripts without spaces between words.",
         ranges(is_unspaced)),
    ):
        parts.append(table(name, meaning, [f"({a:#x}, {b:#x})" for a, b in found], pairs))
    parts.append(table(
        "LOWER", "(first, last, step, distance): each capital of the run and where its small letter lies.",
        [f"({a:#x}, {b:#x}, {step}, {distance})" for a, b, step, distance in lower_runs()],
        "(u32, u32, u32, i32)"))
    (HERE / "tables.rs").write_text("\n".join(parts), encoding="utf-8")


SAMPLES = [
    "", "Hello,  World!\n", "ÀÉÎÕÜ Straße ŞIŞLI İstanbul ıI", "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ ΑΣ. ΑΣ.Α Α'Σ ΑΣ'Α ʰΣ",
    "ΣΣΣ\u0301 Α\u0301Σ\u0301 Α\u0301Σ\u0301Β \u03a3", "ПРИВЕТ МИР ҐЄЇ", "snake_case x² ½ ١٢٣ Ⅳ ⓐ 一二三",
    "a\u00a0b\u1680c\u2003d\u2028e\u202ff\u205fg\u3000h\u0085i\x1cj\x1fk\u200bl\ufeffm\u180en",
    "日本語のテキスト、ひらがな。カタカナ", "한국어 텍스트", "हिन्दी में लिखा", "ภาษาไทย", "עברית ‏RTL", "ﬁ ﬂ ﬃ ĳ Ĳ ǅ ǈ ẞ",
    "𝒜𝔅ℂ 𐐀𐐁 𞤀𞤁 𖹀", "e\u0301 n\u0303 \u0130\u0307", "👩‍👩‍👧 🇩🇪 ☃ ™ ® ª º", "ᏣᎳᎩ ꮳꮃꭹ Ა ა", "\t \r\n \x0b\x0c tabs\tand\nlines ",
    "ȺȾⱢ Ꙋꙋ Ꟶꟶ Ⅷ Ⓐ ＡＢ", "don’t 'tis o'clock 3.14 1,000 _x_ -y-",
]


def write_golden():
    lines = []
    for text in SAMPLES:
        assert all(known(char) for char in text), text
        lines.append(json.dumps({
            "text": text, "lower": text.lower(), "split": text.split(), "words": re.findall(r"\w+", text),
            "letters": "".join(filter(str.isalpha, text)),
        }))
    (HERE / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_tables()
    write_golden()
    for holds in (is_white_space, is_word, is_letter, is_unspaced):
        print(holds.__name__, sum(b - a + 1 for a, b in ranges(holds)))
    print("lower", sum(lower(chr(code)) != chr(code) for code in SCALARS))
