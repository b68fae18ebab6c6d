#!/usr/bin/env python3
"""Makes fixtures/tokenizer/: documents, tokenizers trained on them by the Python package, golden ids.

In:  ../shared/data (real corpora; read only)
Out: fixtures/tokenizer/documents.jsonl.zst   id, text: what both sides train on, whole documents
     fixtures/tokenizer/{cl100k,gpt2}.json    `tokenizers` trained by train_from_iterator on them
     fixtures/tokenizer/golden.jsonl.zst      text, cl100k ids, gpt2 ids; special tokens stay text

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3 pyarrow zstandard
    /tmp/venv/bin/python tests/golden/make_tokenizer.py

The same corpora and the same package give the same bytes: nothing is drawn at random.
"""

import json
import random
from pathlib import Path

import pyarrow.parquet as parquet
import zstandard
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"
OUT = ROOT / "fixtures/tokenizer"
VOCABULARY = 1000
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    "cl100k": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
}


def rows(path, text, limit, bytes_max):
    """The first `limit` documents of at most `bytes_max` bytes of one corpus file."""
    kept = 0
    for row in parquet.read_table(path).to_pylist():
        if kept < limit and row[text] and 200 <= len(row[text].encode()) <= bytes_max:
            kept += 1
            yield row["id"], row[text]


def json_rows(path, limit, bytes_max):
    kept = 0
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if kept < limit and 200 <= len(row["text"].encode()) <= bytes_max:
                kept += 1
                yield row["url"], row["text"]


def documents():
    corpora = DATA / "corpora"
    yield from rows(corpora / "wikipedia/000_00000.parquet", "text", 8, 6000)
    yield from rows(corpora / "openstax/000_00000.parquet", "text", 3, 16000)
    yield from rows(corpora / "techdocs/000_00000.parquet", "text", 6, 6000)
    yield from rows(corpora / "code/data-00000-of-00002.parquet", "content", 14, 6000)
    yield from json_rows(corpora / "us-gov-web/shard_00000000_processed.jsonl.zst", 12, 6000)
    languages = sorted((DATA / "language-id").glob("**/*.parquet"))
    udhr = [r for f in languages for r in parquet.read_table(f).to_pylist() if r.get("text")]
    step = max(1, len(udhr) // 24)
    for row in udhr[::step][:24]:
        if len(row["text"].encode()) <= 12000:
            yield str(row["id"]), row["text"]


def edge_texts():
    """Short texts around every border of the patterns; then drawn strings from their alphabet."""
    yield from ["", " ", "\n", "\r\n", "  \n  ", "\n  ", "a\n\n  b", "\t\tx", "'stop 'S 'LL can't", "'ſ"]
    yield from ["1234567 ½ ²³ Ⅷ", "(word ((word  (word", "naïve (naïve", "…!?\n\n", "x\u3000y\u00a0z\u0085"]
    yield from ["<|endoftext|>", "a<|endoftext|>b", "<|endoftext", "e\u0301 \u0301a", "👩\u200d👩\u200d👧🏽", "\0\x01\x7f"]
    yield from ["a" * 300, " " * 300, "\n" * 70, "ab " * 90, "語" * 40, "\ufeffBOM", "\u2028\u2029"]
    draw = random.Random(1)
    alphabet = " \n\r\t'a1.éſs/S\u3000\u0301\u00a0\u0085ö語½"
    for _ in range(400):
        yield "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 24)))
    naughty = DATA / "hostile/jsonl/naughty-strings.jsonl"
    for line in filter(None, naughty.read_text(encoding="utf-8").split("\n")):
        yield json.loads(line)["text"]


def train(pre_tokenizer, texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=0,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_lines(path, records):
    text = "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in records)
    path.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    kept = list(documents())
    texts = [text for _, text in kept]
    write_lines(OUT / "documents.jsonl.zst", [{"id": i, "text": t} for i, t in kept])
    trained = {name: train(split, texts) for name, split in PRE_TOKENIZERS.items()}
    for name, tokenizer in trained.items():
        tokenizer.save(str(OUT / f"{name}.json"), pretty=True)
        tokenizer.encode_special_tokens = True  # text that spells a special token stays text
    golden = texts[::9] + list(edge_texts())
    write_lines(
        OUT / "golden.jsonl.zst",
        [{"text": t} | {n: k.encode(t).ids for n, k in trained.items()} for t in golden],
    )
    size = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{len(texts)} documents, {sum(len(t.encode()) for t in texts)} bytes of text, {size} bytes in all")


if __name__ == "__main__":
    main()
