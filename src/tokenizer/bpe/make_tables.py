"""Writes tables.rs: the character classes that pre-tokenizer patterns distinguish, as of one Unicode version.

  python3 -m venv V && V/bin/pip install unicodedata2==16.0.0 && V/bin/python make_tables.py

General categories come from unicodedata2; white space is the property White_Space (PropList.txt), whose 25 code
points have not changed since Unicode 6.3.
"""
import pathlib

import unicodedata2 as stated

VERSION = "16.0.0"
assert stated.unidata_version == VERSION, stated.unidata_version
CLASS = {"Lu": "UPPER", "Lt": "UPPER", "Ll": "LOWER", "Lm": "CASELESS", "Lo": "CASELESS"}
SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
assert len(SPACES) == 25


def class_of(code):
    if code in (0x0A, 0x0D):
        return "BREAK"
    if code in SPACES:
        return "SPACE"
    category = stated.category(chr(code))
    return CLASS.get(category) or {"M": "MARK", "N": "NUMBER"}.get(category[0])


def runs():
    """[(first, last, step, class)]: capitals and small letters alternate, so a run may have step 2."""
    found = {}
    for code in range(0x110000):
        kind = class_of(code)
        if kind is None:
            continue
        mine = found.setdefault(kind, [])
        last = mine[-1] if mine else None
        if last and code - last[1] == last[2] or last and last[2] == 0 and code - last[1] in (1, 2):
            last[1], last[2] = code, code - last[1]
        else:
            mine.append([code, code, 0])
    return {kind: [(a, b, step or 1) for a, b, step in mine] for kind, mine in found.items()}


def rows(items, width=98):
    line, out = "   ", []
    for item in items:
        if len(line) + len(item) + 2 > width:
            out.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join(out + [line])


MEANING = {
    "UPPER": "General categories Lu and Lt.",
    "LOWER": "General category Ll.",
    "CASELESS": "General categories Lm and Lo.",
    "MARK": "General categories Mn, Mc and Me.",
    "NUMBER": "General categories Nd, Nl and No.",
    "SPACE": "White_Space without the two line breaks.",
    "BREAK": "Carriage return and line feed.",
}
found = runs()
text = f"""//! Character classes of the pre-tokenizer patterns, as runs of code points.
//!
//! Written by `make_tables.py`, never by hand: (first, last, step), both ends inclusive, ascending.

/// The Unicode version of every table here.
pub const UNICODE_VERSION: &str = "{VERSION}";
"""
for kind, meaning in MEANING.items():
    text += f"\n/// {meaning}\npub const {kind}: &[(u32, u32, u32)] = &[\n"
    text += rows([f"({a:#x}, {b:#x}, {step})" for a, b, step in found[kind]]) + "\n];\n"
    print(kind, sum((b - a) // step + 1 for a, b, step in found[kind]), len(found[kind]))
(pathlib.Path(__file__).parent / "tables.rs").write_text(text, encoding="utf-8")
