"""Writes fixtures/filter/cases.jsonl: documents with the verdict that datatrove 0.10 gives them.

  python3.11 -m venv V && V/bin/pip install datatrove==0.10.0 numpy regex pyarrow zstandard
  V/bin/python tests/golden/make_filter_cases.py ../shared/data/corpora [ALL.jsonl]

The filters are datatrove's own classes with their own defaults; only their word splitter is replaced by
str.split(). A line holds `text` (repeated `times` times), `origin`, and for each of the two filters alone
[rule, value] or null where it keeps the document. Documents are whole, or the first so many characters of
one; for every rule the first few that it drops are taken, then an even sample. With ALL.jsonl, every
document of the corpora goes there, whole (for a comparison at large; it stays outside the repository).
"""
import io
import json
import math
import os
import pathlib
import sys
from collections import defaultdict

import pyarrow.parquet
import zstandard
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter
from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates
from datatrove.utils.text import PUNCTUATION_SET

OUT = pathlib.Path(__file__).parents[2] / "fixtures/filter/cases.jsonl"
PER_RULE, SAMPLE = 2, 8  # documents that a rule drops; of each corpus besides
gopher_quality_filter.split_into_words = fineweb_quality_filter.split_into_words = lambda text, language: text.split()
gopher, fineweb = GopherQualityFilter(), FineWebQualityFilter()


def gopher_value(text, rule):
    words, lines = text.split(), text.splitlines()
    real = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    mean = sum(map(len, real)) / len(real) if real else math.nan
    return {
        "gopher_short_doc": lambda: len(real),
        "gopher_long_doc": lambda: len(real),
        "gopher_below_avg_threshold": lambda: mean,
        "gopher_above_avg_threshold": lambda: mean,
        "gopher_too_many_hashes": lambda: text.count("#") / len(words),
        "gopher_too_many_ellipsis": lambda: (text.count("...") + text.count("…")) / len(words),
        "gopher_too_many_bullets": lambda: sum(s.lstrip().startswith(("•", "-")) for s in lines) / len(lines),
        "gopher_too_many_end_ellipsis": lambda: sum(s.rstrip().endswith(("...", "…")) for s in lines) / len(lines),
        "gopher_below_alpha_threshold": lambda: sum(any(c.isalpha() for c in w) for w in words) / len(words),
        "gopher_enough_stop_words": lambda: len(gopher.stop_words.intersection(words)),
    }[rule]()


def fineweb_value(text, rule):
    lines = [line for line in text.split("\n") if line.strip() != ""]
    return {
        "empty": lambda: 0,
        "line_punct_ratio": lambda: sum(line.endswith(fineweb.stop_chars) for line in lines) / len(lines),
        "short_line_ratio": lambda: sum(len(line) <= fineweb.short_line_length for line in lines) / len(lines),
        "char_dup_ratio": lambda: find_duplicates(lines)[1] / len(text.replace("\n", "")),
        "list_ratio": lambda: text.count("\n") / len(text.split()),
    }[rule]()


def verdict(one, value, text):
    kept = one.filter(Document(text=text, id=""))
    return None if kept is True else [kept[1], value(text, kept[1])]


def case(origin, text, times=1):
    whole = text * times
    return {"origin": origin, "text": text, "times": times,
            "gopher_quality": verdict(gopher, gopher_value, whole),
            "fineweb_quality": verdict(fineweb, fineweb_value, whole)}


def documents(folder):
    """(name, text) of a corpus, files by name."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            columns = pyarrow.parquet.read_schema(path).names
            column = "text" if "text" in columns else "content"
            texts = pyarrow.parquet.read_table(path, columns=[column]).column(0).to_pylist()
        else:
            with zstandard.open(path, "rb") as file:
                texts = [json.loads(line)["text"] for line in io.TextIOWrapper(file, encoding="utf-8", newline="\n")]
        for row, text in enumerate(texts):
            yield f"{folder.name}/{path.name}:{row}", text


PROSE = "It is a truth that most of the people who have a dog have to walk with it every day. "
HAND_MADE = [
    ("empty", "", 1), ("a space", " ", 1), ("one newline", "\n", 1), ("only newlines", "\n\r\n\n", 40),
    ("only white space", " \t\u00a0\u3000\u2028\x1c", 20), ("an ellipsis", "...", 1), ("ellipses", "... ", 100),
    ("ellipsis characters", "… ", 60), ("bullets", "- a\n• b\n", 40), ("one word", "word", 1), ("a long word", "word", 20_000),
    ("prose", PROSE, 10), ("lines of prose", PROSE + "\n", 10), ("too long", PROSE, 5300), ("no letters", "12 345 6789 ", 60),
    ("bulleted prose", "- " + PROSE + "\n", 20), ("indented bullets", " \t\u3000• " + PROSE + "\r\n", 20),
    ("bullets in nine lines of ten", ("- " + PROSE + "\n") * 9 + PROSE + "\n", 2),
    ("lines that trail off", PROSE[:-2] + "...\n", 20), ("they trail off \u2026 ", PROSE[:-2] + "\u2026 \t\n" + PROSE + "\n", 10),
    ("trailing off at the end", (PROSE + "\u2028") * 2 + PROSE[:-2] + "...", 1), ("hashes", PROSE + "# # # ", 8),
    ("an ellipsis a few words", "It was certainly the end of everything ... and therefore... to be continued… ", 20), ("four dots", PROSE + "....", 20), ("short words", "a of to be the I in it ", 20), ("long words", "the incomprehensibilities of ", 60),
    ("no stop words", "Colourless green ideas sleep furiously tonight. ", 12), ("one stop word", "The THE the cat sat upon some mats. ", 12),
    ("line separators", "A line that ends.\u2028Another of the kind, and to be\x85so\x0bit\x0cgoes\x1con\x1d\x1e. ", 12),
    ("carriage returns", "The first line of it.\rAnd that is the second to have.\r\nWith a third.\n\r", 9),
    ("Greek", "Το γρήγορο καφέ αλεπού πηδάει πάνω από τον τεμπέλη σκύλο· ", 10), ("Chinese", "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。\n", 30),
    ("Hindi", "यह एक परीक्षण वाक्य है जो काफ़ी लंबा है।\n", 20), ("Arabic", "هل هذا نص طويل بما يكفي؟\n", 20), ("emoji", "👩‍👩‍👧 🇩🇪 ☃ the and 🎉\n", 30),
    ("combining marks", "e\u0301a\u0300 \u0301\u0302 the of to\n", 30), ("zero width", "a\u200bb\u200b \u200b \ufeff the of and\n", 30),
    ("numbers with units", "3km ½ ² Ⅳ １２ ٣ the of to be have\n", 20), ("lines that end in a space", PROSE.strip() + " \n", 12),
    ("short lines", "The end of it.\n", 40), ("a line break every third word", "".join(f"{n} extraordinarily-uncomplicated-hyphenations to.\n" for n in range(40)), 1), ("thirty characters a line", "012345678901234567890123456 x.\n", 25),
    ("one character more", "0123456789012345678901234567 x.\n", 25), ("a table", "| the | of |\n| --- | --- |\n| 1 | 2 |\n", 20),
    ("quotation", "\u201cThe whole of that,\u201d he said, \u2018is to be done!\u2019\n", 15), ("NUL", "the\x00cat of \x00 \x7f to be\n", 30),
]


def main(corpora, everything):
    cases = [case("hand-made: " + name, text, times) for name, text, times in HAND_MADE]
    taken = defaultdict(int)
    for folder in sorted(pathlib.Path(corpora).iterdir()):
        found = list(documents(folder))
        every = max(1, len(found) // SAMPLE)
        for index, (origin, text) in enumerate(found):
            if everything:
                everything.write(json.dumps(case(origin, text)) + "\n")
            one = case(origin, text[:1500 + 371 * (index % 13)])
            reasons = [(name, one[name][0]) for name in ("gopher_quality", "fineweb_quality") if one[name]]
            wanted = any(taken[reason] < PER_RULE for reason in reasons) and len(one["text"]) <= 4000
            if wanted or index % every == every // 2:
                cases.append(one)
                for reason in reasons:
                    taken[reason] += 1
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in cases), encoding="utf-8")
    rules = defaultdict(int)
    for one in cases:
        for name in ("gopher_quality", "fineweb_quality"):
            rules[f"{name}/{one[name][0]}" if one[name] else f"{name} keeps"] += 1
    print(len(cases), "documents,", os.path.getsize(OUT), "bytes,", json.dumps(rules, indent=1, sort_keys=True))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="utf-8") as everything:
            main(sys.argv[1], everything)
    else:
        main(sys.argv[1], None)
