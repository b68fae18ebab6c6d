"""Writes fixtures/filter/parity.jsonl.zst: real documents of several kinds with what each recipe's reference says of them.

  V/bin/python tests/golden/make_parity.py datatrove ../shared/data      # environments as make_filters.py's head says;
  D/bin/python tests/golden/make_parity.py dclm CHECKOUT                 # both need zstandard too

Documents come whole from the corpora and the language collection of that folder, in the order of their texts' XXH3-64; a novel
is cut at blank lines into documents of about 1,500 characters, since its own are megabytes. Short ones are taken until each
outcome (a recipe's first rule, or "keep") has been seen often enough in its kind, then longer ones for outcomes that are rare; before
both, a few that look like breaking a rule that hardly any document breaks.
A line: `id` (folder/file:row, and of a novel `#` the piece), `kind`, `text`, and of each recipe [first failing rule or null, the
value that it compared, XXH3-64 of the text that is left where it changed and the document is kept, or null]. Values are the repr of
Python's double (as text: JSON readers round), null where the reference has none. `values` is the XXH3-64 of all figures that
make_filters.py's `values` names, as little-endian doubles (one NaN for what divides by nothing). `pii` is
[e-mail addresses, IP addresses, XXH3-64 of the changed text or null]. `dclm` is added by the second command.
"""
import functools
import json
import math
import os
import pathlib
import re
import struct
import sys
from collections import Counter, defaultdict

import make_filters
import xxhash
import zstandard

OUT = make_filters.HERE / "parity.jsonl.zst"
# folder, kind, characters of a short and of a rare document, how many of one outcome of FineWeb's: kept, dropped
SOURCES = [
    ("corpora/wikipedia", "encyclopedia", 2_600, 12_000, 240, 36), ("corpora/openstax", "textbook", 3_600, 12_000, 150, 30),
    ("corpora/us-gov-web", "web page", 2_600, 12_000, 240, 36), ("corpora/techdocs", "manual", 5_000, 9_000, 90, 55),
    ("corpora/fiction", "novel", 2_600, 2_600, 170, 36), ("corpora/code", "code", 2_000, 8_000, 40, 45),
    ("language-id", "list", 1_400, 13_000, 20, 45), ("language-id", "other language", 13_000, 13_000, 4, 6)]
OTHERS, RARE = 12, 5  # how many of one outcome of another recipe; how many of a rare one are looked for in longer documents
MOST = {"hinted": 60, "short": 1_300, "longer": 130}  # documents of a source that are judged in each round


def digest(data):
    return xxhash.xxh3_64_hexdigest(data)


def pieces(text):
    """Paragraphs in a row, 1,500 characters or more."""
    found, at = [], 0
    for part in text.split("\n\n"):
        found.append(part)
        at += len(part) + 2
        if at >= 1_500:
            yield "\n\n".join(found)
            found, at = [], 0


def candidates(data, folder, kind):
    """(id, text) of a source in the order of their hashes."""
    found = []
    for origin, text in make_filters.documents(pathlib.Path(data) / folder):
        if folder == "corpora/fiction":
            found += [(f"{origin}#{at}", piece) for at, piece in enumerate(pieces(text)) if at % 16 == 5]
        elif folder != "language-id" or (kind == "list") == ("> " in text and "- " in text and "`" in text):
            found.append((origin, text))
    seen = set()
    for key, origin, text in sorted((digest(text.encode()), origin, text) for origin, text in found):
        if key not in seen:
            seen.add(key)
            yield origin, text


def is_rare(text):
    """Whether a document may break a rule that few do, found without counting words."""
    lines, words = text.split("\n"), text.count(" ") + 1
    parts = re.split("\n{2,}", text.strip())
    again = sum(len(part) * (count - 1) for part, count in Counter(parts).items())
    return (sum(line.lstrip().startswith(("-", "•")) for line in lines) > .9 * len(lines) or text.count("...") + text.count("…") > .09 * words
            or "lorem ipsum" in text.lower() or again > .2 * len(text) or len(text) < 2.9 * words or len(text) > 11 * words)


def remember():
    """datatrove asks spaCy anew for every rule: the same answer, once a text. Returns the counter of sentences."""
    from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter
    from datatrove.utils import text as texts
    words = functools.lru_cache(8)(texts.split_into_words)
    sentences, count = functools.lru_cache(4096)(texts.split_into_sentences), [0]

    def counted(text, language):
        found = sentences(text, language)
        count[0] += len(found)
        return found
    for place in (gopher_repetition_filter, gopher_quality_filter, fineweb_quality_filter, texts):
        place.split_into_words = words
    c4_filters.split_into_sentences = counted
    return count


def datatrove(data):
    sentences = remember()
    case = make_filters.datatrove_reference()
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4ParagraphFilter, C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import PIIFormatter
    c4s = {"fineweb": C4QualityFilter(filter_no_terminal_punct=False), "c4": C4QualityFilter()}
    paragraphs = C4ParagraphFilter()

    def left(text, whole):
        return None if text == whole else digest(text.encode())

    def of_c4(name, text):
        document, sentences[0] = Document(text=text, id=""), 0
        verdict = c4s[name].filter(document)
        rule = None if verdict is True else "c4/" + verdict[1]
        return rule, repr(float(sentences[0])) if rule == "c4/too_few_sentences" else None, left(document.text, text)

    def said_of(origin, kind, text):
        one = case(origin, text)
        if one is None:
            return None
        values = [math.nan if value is None else float(value) for value in one["values"].values()]
        figures = dict(zip(one["values"], values))
        first = one["fineweb"][0]

        def verdict(rule):
            return [rule, repr(figures[rule]) if rule else None, None]
        of_fineweb = verdict(first) if not (first or "").startswith("c4/") else of_c4("fineweb", text)
        fineweb = [*of_fineweb[:2], None if first else of_c4("fineweb", text)[2]]
        is_gophers = first is not None and first.startswith(("repetition/", "quality/"))
        pii, long_lines = PIIFormatter(), sum(len(line) >= 200 for line in text.split("\n"))
        changed = pii.emails_replacer.replace(text)
        emails = len(pii.emails_replacer.regex.findall(text))
        ips = sum(pii.ip_replacer.validator(match[0]) for match in pii.ip_replacer.regex.finditer(changed))
        return {"id": origin, "kind": kind, "text": text, "fineweb": fineweb, "gopher": verdict(first if is_gophers else None),
                "c4": of_c4("c4", text), "c4_paragraphs": [None if one["paragraphs"] else "c4_paragraph/< 3 paragraphs", repr(float(long_lines)), None],
                "pii": [emails, ips, left(PIIFormatter().format(text), text)],
                "values": digest(struct.pack(f"<{len(values)}d", *(value if math.isfinite(value) else math.nan for value in values)))}

    fineweb_filters = [("repetition", GopherRepetitionFilter()), ("quality", GopherQualityFilter()), ("c4", c4s["fineweb"]), ("fineweb", FineWebQualityFilter())]

    def first_of(text):
        document = Document(text=text, id="")
        for name, one in fineweb_filters:
            try:
                verdict = one.filter(document)
            except (ZeroDivisionError, FloatingPointError):
                return None
            if verdict is not True:
                return f"{name}/{verdict[1]}"
        return None

    chosen = []
    for folder, kind, short, longer, most_kept, most_dropped in SOURCES:
        found = [(origin, text) for origin, text in candidates(data, folder, kind) if len(text) <= longer]
        rounds = {"hinted": [one for one in found if is_rare(one[1])], "short": [one for one in found if len(one[1]) <= short],
                  "longer": [one for one in found if len(one[1]) > short]}
        taken, judged, seen = defaultdict(int), Counter(), set()
        for name, documents in rounds.items():
            for origin, text in documents:
                # Longer ones are judged only while something is rare.
                if judged[name] >= MOST[name] or origin in seen or (name == "longer" and not any(count < RARE for count in taken.values())):
                    continue
                judged[name] += 1
                seen.add(origin)
                rule = first_of(text)
                outcomes = [(("fineweb", rule), most_dropped if rule else most_kept), (("c4", of_c4("c4", text)[0]), OTHERS),
                            (("paragraphs", paragraphs.filter(Document(text=text, id="")) is True), OTHERS), (("address", "@" in text), OTHERS if "@" in text else 0)]
                if any(taken[outcome] < (most if name == "short" else min(most, RARE)) for outcome, most in outcomes):
                    one = said_of(origin, kind, text)
                    chosen += [one] if one else []
                    for outcome, _ in outcomes:
                        taken[outcome] += 1
        of_kind = [one for one in chosen if one["kind"] == kind]
        print(kind, dict(judged), len(of_kind), sum(len(one["text"]) for one in of_kind), Counter(one["fineweb"][0] for one in of_kind), flush=True)
    write(chosen)


def write(chosen):
    lines = "".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n" for one in chosen)
    settings = zstandard.ZstdCompressionParameters.from_level(22, window_log=23, write_checksum=1)
    OUT.write_bytes(zstandard.ZstdCompressor(compression_params=settings).compress(lines.encode()))
    print(len(chosen), "documents,", len(lines), "characters,", os.path.getsize(OUT), "bytes")


def dclm(checkout):
    judge = make_filters.dclm_reference(checkout)
    chosen = [json.loads(line) for line in zstandard.ZstdDecompressor().decompress(OUT.read_bytes()).decode().split("\n") if line]
    for one in chosen:
        rule, value, left = judge(one["text"])
        kept = rule == "keep"
        one["dclm"] = [None if kept else "dclm/" + rule, None if value is None else repr(float(value)),
                       digest(left.encode()) if kept and left != one["text"] else None]
    write(chosen)
    print(Counter(one["dclm"][0] for one in chosen))


if __name__ == "__main__":
    {"datatrove": datatrove, "dclm": dclm}[sys.argv[1]](sys.argv[2])
