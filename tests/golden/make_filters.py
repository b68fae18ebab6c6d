"""Writes fixtures/filter/rules.jsonl and fixtures/filter/dclm.jsonl: documents with their references' verdicts and values.

  python3.11 -m venv V && V/bin/pip install 'datatrove[io,processing]==0.10.1' spacy==3.8.18 pyarrow zstandard xxhash
  V/bin/python tests/golden/make_filters.py datatrove ../shared/data/corpora
  python3.11 -m venv D && D/bin/pip install fasttext-wheel==0.9.2 uniseg==0.10.1 retrie==0.3.1 'numpy<2' xxhash loguru
  D/bin/python tests/golden/make_filters.py dclm CHECKOUT      # of github.com/mlfoundations/dclm at 361714b

A line of rules.jsonl: `text` (repeated `times` times), `origin`, and of datatrove's own classes: `fineweb` = [first failing rule or null,
text after C4 if it changed or null] of FineWeb's four filters in order, `c4` = [rule, text] of C4 with its own defaults, `paragraphs` =
whether C4ParagraphFilter keeps it, `pii` = the text a new PIIFormatter makes of it or null, `values` = every figure that the filters
compare, computed with datatrove's helper functions (FineWeb's on the text that C4 leaves; null where it divides by nothing). Long
changed texts stand as their XXH3-64. A line of dclm.jsonl: [first failing function or "keep", text if kept] for the same documents.
"""
import importlib.util
import io
import json
import math
import os
import pathlib
import sys
import types
from collections import Counter, defaultdict

import xxhash

HERE = pathlib.Path(__file__).parents[2] / "fixtures/filter"
PROSE = "It is a truth that most of the people who have a dog have to walk with it every day. "
FACTS = [f"Number {n} of the {n * n % 97} towns, which {w} to be seen, lies {n * 7} miles from the {w} sea. " for n, w in
         enumerate("seems ought used likes needs means wants hopes fails tends starts plans asks longs begins".split())]
HAND_MADE = [
    ("empty", "", 1), ("a space", " ", 1), ("one newline", "\n", 1), ("only newlines", "\n\r\n\n", 40), ("white space", " \t\u00a0\u3000\u2028\x1c", 20),
    ("one word", "word", 1), ("a long word", "word", 600), ("prose", PROSE, 8), ("facts", "".join(FACTS), 1), ("facts in lines", "\n".join(FACTS), 1),
    ("facts in paragraphs, one thrice", "\n\n".join(FACTS[:6] + FACTS[:1] * 3 + FACTS[6:]), 1), ("facts, blank ends", "\n" + "\n\n".join(FACTS) + "\n\n", 1),
    ("a line in three repeats", "\n".join(FACTS[:9] + FACTS[:4]), 1), ("glued words repeat", "no where is a b c . nowhere is a bc . no where ", 20),
    ("seven words repeat", "".join(f + "and so it came to pass that " for f in FACTS), 1), ("pairs", "the dog of the dog of the cat in the dog ", 9),
    ("ties of pairs", "a b. c d. a b. c d. eeeeee fffff. ", 9), ("no letters", "12 345 6789 ", 60), ("hashes", "".join(FACTS) + "# " * 40, 1),
    ("ellipses", "".join(FACTS) + "... … " * 30, 1), ("bullets", "- a line of it\n• and another of them\n", 20), ("indented bullets", " \t\u3000• " + PROSE + "\r\n", 20),
    ("bullets in nine of ten", ("- " + PROSE + "\n") * 9 + PROSE + "\n", 2), ("trailing off", PROSE[:-2] + "...\n", 20), ("trailing off, spaces", PROSE[:-2] + "\u2026 \t\n" + PROSE + "\n", 10),
    ("short words", "a of to be the I in it ", 20), ("long words", "the incomprehensibilities of ", 60), ("no stop words", "Colourless green ideas sleep furiously tonight. ", 12),
    ("one stop word", "The THE the cat sat upon some mats. ", 12), ("line separators", "A line that ends.\u2028Another of the kind, and to be\x85so\x0bit\x0cgoes\x1con\x1d\x1e. ", 12),
    ("carriage returns", "The first line of it.\rAnd that is the second to have.\r\nWith a third.\n\r", 9), ("Greek", "Το γρήγορο καφέ αλεπού πηδάει πάνω από τον τεμπέλη σκύλο· ", 10),
    ("Chinese", "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。\n", 30), ("Hindi", "यह एक परीक्षण वाक्य है जो काफ़ी लंबा है।\n", 20), ("emoji", "👩‍👩‍👧 🇩🇪 ☃ the and 🎉\n", 30),
    ("combining marks", "e\u0301a\u0300 \u0301\u0302 the of to\n", 30), ("NUL", "the\x00cat of \x00 \x7f to be\n", 30), ("short lines", "The end of it.\n", 40),
    ("thirty characters a line", "012345678901234567890123456 x.\n", 25), ("one more", "0123456789012345678901234567 x.\n", 25), ("a table", "| the | of |\n| --- | --- |\n| 1 | 2 |\n", 20),
    ("citations", "\n".join(f[:-1] + f"[{n}][edit] or so[citation needed] [1a]" for n, f in enumerate(FACTS)), 1), ("citations alone", "[1] [2] [edit]\n" + "\n".join(FACTS) + "\n[٣] [] [b]", 1),
    ("cookies", "\n".join(FACTS[:8]) + "\nWe Use Cookies here for you.\nOur Privacy policy is this.\nPlease turn JavaScript on now.\nThe TERMS OF USE of it.\nWe use coo\u212aies too.", 1),
    ("lorem", "\n".join(FACTS) + "\nHere is some Lorem Ipsum of ours.", 1), ("a brace, then lorem", "\n".join(FACTS[:7]) + "\nA brace { in it.\nHere is some lorem ipsum.", 1),
    ("lorem, then a brace", "a { b\n" + "\n".join(FACTS[:7]) + "\nHere is some lorem ipsum.\nA brace { in it.", 1), ("a word of 1000", "\n".join(FACTS) + "\nThis is " + "x" * 1000 + " it.\nThis is " + "é" * 1001 + " it.", 1),
    ("few sentences", "\n".join(f[:-2] for f in FACTS[:4]), 1), ("five sentences", "This is one. That is two! Is it three? It is four. And that is all of it", 1),
    ("long paragraphs", "\n".join(["ü" * 200, "a" * 199, "b" * 200, "c" * 250]), 1), ("two long paragraphs", "\n".join(["ü" * 200, "a" * 199, "b" * 200]), 1),
    ("addresses", "Write to a.b@c.de, x@y.org or z@z.z, ..a.b..c@d.e, é!a@b.c, éa@b.c a@b.c- a@b-.c b@[1.2.3.4] c@[1.2.3.x-y:] a@b.c@d.e.\n8.8.8.8 192.168.0.1 01.2.3.4 1234.8.8.8 8.8.8.256 8.8.8.8.9.9.9.9 1.1.1.1 127.0.0.1 100.64.0.1", 1),
    ("URLs", "The page http://www.example.com/a?b=(c) is " + "".join(FACTS) + " xhttp://a.com and a.b.c of x.com. a.comé 1.2.3.4 ftp://10.0.0.1:80/x  v1.2.3.4 me@here.org, пример.рф", 1),
    ("URLs after Xyz", "Xyz is the page http://www.example.com/ or 5.6.7.8 of " + "".join(FACTS), 1),
    ("page lines", "HOME ABOUT CONTACT\n" + "\n".join(FACTS * 2) + "\n12345\n3.4K likes!\n-- 1,200 Views --\nword\n2 items in cart now\nThe end Read More...\nSign-in to it", 1),
    ("mostly capitals", "\n".join(f.upper() for f in FACTS), 1), ("newlines", "\n\n\n\n".join(FACTS), 1), ("page lines of all", "THE BIG OF AND TO\n" * 20, 1),
]


def documents(folder):
    """(name, text) of a corpus, files by name."""
    import pyarrow.parquet
    import zstandard
    for path in sorted(one for one in folder.iterdir() if one.suffix in (".parquet", ".zst")):
        if path.suffix == ".parquet":
            columns = pyarrow.parquet.read_schema(path).names
            texts = pyarrow.parquet.read_table(path, columns=["text" if "text" in columns else "content"]).column(0).to_pylist()
        else:
            with zstandard.open(path, "rb") as file:
                texts = [json.loads(line)["text"] for line in io.TextIOWrapper(file, encoding="utf-8", newline="\n")]
        for row, text in enumerate(texts):
            yield f"{folder.name}/{path.name}:{row}", text


def changed(new, old):
    return None if new == old else new if len(new) < 300 else xxhash.xxh3_64_hexdigest(new.encode())


def datatrove_reference():
    """A function of (origin, text, times) that asks datatrove's classes; None where they stop with an error."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4ParagraphFilter, C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.filters import gopher_repetition_filter as helpers
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.utils.text import PUNCTUATION_SET, split_into_words
    repetition, quality, fineweb = GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter()
    c4, c4_fineweb, paragraphs = C4QualityFilter(), C4QualityFilter(filter_no_terminal_punct=False), C4ParagraphFilter()

    def part(a, b):
        return a / b if b else None

    def values_of(text, edited):
        words, lines = split_into_words(text, "eng") if text else [], text.splitlines()
        real = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
        filled = [line for line in edited.split("\n") if line.strip() != ""]
        found = {"repetition/empty": len(text)}
        for name, parts in (("para", repetition.paragraph_exp.split(text.strip())), ("line", repetition._line_splitter.split(text))):
            elements, chars = helpers.find_duplicates(parts)
            found[f"repetition/dup_{name}_frac"], found[f"repetition/dup_{name}_char_frac"] = part(elements, len(parts)), part(chars, len(text))
        for n in (2, 3, 4):
            grams = helpers.get_n_grams(words, n)
            found[f"repetition/top_{n}_gram"] = part(helpers.find_top_duplicate(grams) if grams else 0, len(text))
        for n in range(5, 11):
            found[f"repetition/duplicated_{n}_n_grams"] = part(helpers.find_all_duplicate(words, n), len(text))
        mean = part(sum(map(len, real)), len(real))
        found |= {
            "quality/gopher_short_doc": len(real), "quality/gopher_long_doc": len(real),
            "quality/gopher_below_avg_threshold": mean, "quality/gopher_above_avg_threshold": mean,
            "quality/gopher_too_many_hashes": part(text.count("#"), len(words)),
            "quality/gopher_too_many_ellipsis": part(text.count("...") + text.count("…"), len(words)),
            "quality/gopher_too_many_bullets": part(sum(s.lstrip().startswith(("•", "-")) for s in lines), len(lines)),
            "quality/gopher_too_many_end_ellipsis": part(sum(s.rstrip().endswith(("...", "…")) for s in lines), len(lines)),
            "quality/gopher_below_alpha_threshold": part(sum(any(c.isalpha() for c in w) for w in words), len(words)),
            "quality/gopher_enough_stop_words": len(quality.stop_words.intersection(words)),
            "fineweb/empty": len(filled),
            "fineweb/line_punct_ratio": part(sum(line.endswith(fineweb.stop_chars) for line in filled), len(filled)),
            "fineweb/short_line_ratio": part(sum(len(line) <= fineweb.short_line_length for line in filled), len(filled)),
            "fineweb/char_dup_ratio": part(helpers.find_duplicates(filled)[1], len(edited.replace("\n", ""))),
            "fineweb/list_ratio": part(edited.count("\n"), len(split_into_words(edited, "eng") if edited else [])),
        }
        return found

    def case(origin, text, times=1):
        whole, first = text * times, None
        document = Document(text=whole, id="")
        for name, one in (("repetition", repetition), ("quality", quality), ("c4", c4_fineweb), ("fineweb", fineweb)):
            try:
                kept = one.filter(document)
            except (ZeroDivisionError, FloatingPointError):
                return None
            if first is None and kept is not True:
                first = f"{name}/{kept[1]}"
        own = Document(text=whole, id="")
        verdict = c4.filter(own)
        pii = PIIFormatter().format(whole)
        return {"origin": origin, "text": text, "times": times, "fineweb": [first, changed(document.text, whole)],
                "c4": [None if verdict is True else verdict[1], changed(own.text, whole)],
                "paragraphs": paragraphs.filter(Document(text=whole, id="")) is True, "pii": changed(pii, whole),
                "values": {name: value for name, value in values_of(whole, document.text).items()}}

    return case


def datatrove(corpora):
    case = datatrove_reference()
    cases = [case("hand-made: " + name, text, times) for name, text, times in HAND_MADE]
    taken = defaultdict(int)
    for folder in sorted(pathlib.Path(corpora).iterdir()):
        for index, (origin, text) in enumerate(documents(folder)):
            if index % 11 or index > 1100:
                continue
            one = case(origin, text[:500 + 97 * (index % 7)])
            if one is None:
                continue
            reason, edited = one["fineweb"]
            if taken[reason] < (1 if reason else 8) or taken[folder.name] < 1 or (edited and taken["edited"] < 4):
                cases.append(one)
                taken[reason] += 1
                taken[folder.name] += 1
                taken["edited"] += bool(edited)
    HERE.mkdir(parents=True, exist_ok=True)
    names = list(next(one for one in cases if one)["values"])
    with open(HERE / "rules.jsonl", "w", encoding="utf-8") as file:
        file.write(json.dumps(names) + "\n")
        for one in filter(None, cases):
            one["values"] = [None if value is None or math.isnan(value) else value for value in one["values"].values()]
            file.write(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(os.path.getsize(HERE / "rules.jsonl"), "bytes", Counter(one["fineweb"][0] for one in cases if one))


def module(name, path=None, **names):
    """A module of DCLM's, or an empty one in place of what these functions never call."""
    if path is None:
        found = types.ModuleType(name)
        found.__dict__.update(names)
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    if path is not None:
        spec.loader.exec_module(found)
    return found


def dclm_reference(checkout):
    """A function of a text: [first failing function or "keep", the value it compared or None, the text it leaves]."""
    def ngrams(words, n):
        return (tuple(words[at:at + n]) for at in range(len(words) - n + 1))
    for name, names in (("justext", {}), ("lxml", {}), ("lxml.etree", {"ParserError": Exception}), ("bs4", {"BeautifulSoup": None}),
                        ("unidecode", {"unidecode": None}), ("nltk", {"ngrams": ngrams, "word_tokenize": None}), ("nltk.tokenize", {}),
                        ("nltk.tokenize.punkt", {"PunktSentenceTokenizer": None}), ("transformers", {"AutoTokenizer": None}), ("core", {}),
                        ("core.constants", {"CONTENT": "text", "URL": "url"}), ("core.factory_utils", {"factory_function": lambda made: made}),
                        ("baselines", {}), ("baselines.mappers", {})):
        module(name, **names)
    root = pathlib.Path(checkout) / "baselines/mappers"
    core = module("baselines.mappers.core_utils", root / "core_utils.py")
    modifiers, filters = module("dclm_modifiers", root / "modifiers.py"), module("dclm_filters", root / "filters/content_filters.py")
    remove_urls, counters = modifiers.url_removal_modifier(str(root / "iana_tlds.txt")), modifiers.counter_line_modifier()
    few_newlines = modifiers.newline_removal_modifier(max_consecutive=2)
    phrases = [modifiers.substring_line_modifier(banlist=phrase, max_length=10, location=place, remove_substring_only=True)
               for phrase, place in (("items in cart", "any"), ("Read more...", "suffix"), ("Sign-in", "prefix"))]
    steps = [lambda page: modifiers.uppercase_ratio_line_modifier(page, 0.5), lambda page: modifiers.numeric_ratio_line_modifier(page, 0.999999),
             counters, lambda page: modifiers.line_length_modifier(page, min_length=2), *phrases]
    runs = [("line", .3, False, "line"), ("paragraph", .3, False, "paragraph"), ("line", .2, True, "line_chars"), ("paragraph", .2, True, "paragraph_chars"),
            *((n, most, True, str(n)) for n, most in zip(range(2, 11), (.2, .18, .16, .15, .14, .13, .12, .11, .1)))]

    def value_of(function, page, *values, **keys):
        """What a function compares, read from its own variables as it returns."""
        seen = {}

        def watch(frame, event, _):
            if event == "return" and frame.f_code is function.__code__:
                seen.update(frame.f_locals)
        sys.setprofile(watch)
        function(page, *values, **keys)
        sys.setprofile(None)
        if "number_of_symbol" in seen:
            return seen["number_of_symbol"] / seen["number_of_word"] if seen["number_of_word"] else None
        if "max_bullet_count" in seen:
            return sum(line.startswith(("●", "•", "*", "-")) for line in seen["lines"]) / len(seen["lines"])
        if "max_ellipsis_count" in seen:
            return sum(line.endswith(("...", ". . .", "\u2026")) for line in seen["lines"]) / len(seen["lines"])
        names = ("page_length", "average_word_length", "non_alpha_word_ratio", "repeated_fraction", "ratio_removed", "count")
        return next((seen[name] for name in names if name in seen), None)

    def judge(text):
        page = {"text": text}
        if not remove_urls(page):
            return "page_length_filter.min_length", 0, None
        few_newlines(page)
        length = "word", 50, 100000
        if not filters.page_length_filter(page, *length, ignore_punctuation=True):
            words = value_of(filters.page_length_filter, page, *length, ignore_punctuation=True)
            return "page_length_filter." + ("min_length" if words < 50 else "max_length"), words, None
        if not filters.word_length_filter(page, 3, 10):
            mean = value_of(filters.word_length_filter, page, 3, 10)
            return "word_length_filter." + ("min_length" if mean < 3 else "max_length"), mean, None
        for name, values in (("symbol_ratio", (.1,)), ("bullet_count", (.9,)), ("ellipsis_count", (.3,)), ("alphabetic_word_ratio", (.2,)), ("stop_word", (False, 2))):
            function = getattr(filters, name + "_filter")
            if not function(page, *values):
                return name + "_filter", value_of(function, page, *values), None
        if not filters.massive_web_repetition_filters(page):
            cache = {}
            for of, most, chars, name in runs:
                if not filters.repetition_filter(page, of, most, chars, cache=cache):
                    return "repetition_filter." + name, value_of(filters.repetition_filter, page, of, most, chars, cache=cache), None
        page["before"] = len(core.split_words(page["text"], ignore_punctuation=True))
        if not all(step(page) for step in steps):
            return "line_modifiers", 0, None
        if not filters.word_removal_ratio_filter(page, "before", max_removed_ratio=.05):
            return "word_removal_ratio_filter", value_of(filters.word_removal_ratio_filter, page, "before", max_removed_ratio=.05), None
        return "keep", None, page["text"]

    return judge


def dclm(checkout):
    judge = dclm_reference(checkout)
    counts = Counter()
    with open(HERE / "rules.jsonl", encoding="utf-8") as cases, open(HERE / "dclm.jsonl", "w", encoding="utf-8") as file:
        next(cases)
        for line in cases:
            one = json.loads(line)
            whole = one["text"] * one["times"]
            said, _, left = judge(whole)
            file.write(json.dumps([said, changed(left, whole) if left is not None else None], ensure_ascii=False) + "\n")
            counts[said] += 1
    print(os.path.getsize(HERE / "dclm.jsonl"), "bytes", counts)


if __name__ == "__main__":
    {"datatrove": datatrove, "dclm": dclm}[sys.argv[1]](sys.argv[2])
