"""Writes the tables of digits.rs: digits and capitals as Python's `str` knows them, in Unicode 16.

  python3.11 -m venv V && V/bin/pip install unicodedata2==16.0.0 && V/bin/python make_digits.py

Categories and digits come from unicodedata2, so that the interpreter's Unicode version does not matter. It does not hold
Other_Uppercase, which `str.isupper` asks for beside category Lu: those five ranges are PropList.txt's of Unicode 16.
"""
import pathlib

import unicodedata2

assert unicodedata2.unidata_version == "16.0.0"
OTHER_UPPERCASE = [(0x2160, 0x216F), (0x24B6, 0x24CF), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]
SURROGATES = range(0xD800, 0xE000)


def is_decimal(char):
    return unicodedata2.category(char) == "Nd"


TABLES = {
    "DECIMAL": is_decimal,
    "OTHER_DIGIT": lambda char: unicodedata2.digit(char, None) is not None and not is_decimal(char),
    "UPPER": lambda char: unicodedata2.category(char) == "Lu" or any(first <= ord(char) <= last for first, last in OTHER_UPPERCASE),
}


def ranges(holds):
    """(first, last) of each run of code points that hold."""
    found = []
    for code in range(0x110000):
        if code in SURROGATES or not holds(chr(code)):
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def lines(found):
    """The pairs in lines of at most 97 columns."""
    written, line = [], "   "
    for first, last in found:
        pair = f" ({first:#x}, {last:#x}),"
        if len(line) + len(pair) > 97:
            written.append(line)
            line = "   "
        line += pair
    return "\n".join([*written, line])


file = pathlib.Path(__file__).parent / "digits.rs"
text = file.read_text()
for name, holds in TABLES.items():
    opening = f"static {name}: Class = Class::new(&[\n"
    start = text.index(opening) + len(opening)
    text = text[:start] + lines(ranges(holds)) + text[text.index("\n]);", start):]
file.write_text(text)
