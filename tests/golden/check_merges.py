#!/usr/bin/env python3
"""Checks that vocabularies trained by us and by the Python package `tokenizers` are one file.

In:  folders of Parquet or JSON Lines, the binary
Out: one line a folder and pattern; exit status 1 when a byte of tokenizer.json differs

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3 pyarrow zstandard
    /tmp/venv/bin/python tests/golden/check_merges.py ../shared/data/corpora/* [--vocab 16000] [--megabytes 20]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import zstandard
from make_tokenizer import CL100K, PRE_TOKENIZERS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LETTERS = r"\w+|[^\w\s]+|\s+"
PATTERNS = {
    **PRE_TOKENIZERS,
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "qwen2": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K.replace(r"\p{N}{1,3}", r"\p{N}")), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    LETTERS: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LETTERS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def texts(folder, bytes_max):
    """The texts of a folder, up to so many bytes."""
    taken = 0
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
            found = table["content" if "content" in table.column_names else "text"].to_pylist()
        elif path.suffix in (".zst", ".zstd"):
            with zstandard.open(path, "rt", encoding="utf-8") as lines:
                found = [json.loads(line)["text"] for line in lines]
        else:
            continue
        for text in found:
            if text and taken + len(text.encode()) <= bytes_max:
                taken += len(text.encode())
                yield text


def theirs(documents, pre_tokenizer, vocab):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer.to_str(pretty=True)


def ours(binary, documents, pattern, vocab):
    with tempfile.TemporaryDirectory() as folder:
        parquet.write_table(arrow.table({"text": documents}), f"{folder}/text.parquet")
        command = [binary, "tokenizer", "train", f"{folder}/text.parquet", "--out", f"{folder}/out"]
        keys = ["--holdout", "0", "--vocab", str(vocab), "--pattern", pattern]
        subprocess.run([*command, *keys], check=True, capture_output=True)
        return Path(folder, "out/tokenizer.json").read_text()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--vocab", type=int, default=16000)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--dataprep", default="target/release/dataprep")
    args = parser.parse_args()
    wrong = False
    for folder in args.folders:
        documents = list(texts(folder, args.megabytes * 1e6))
        for pattern, pre_tokenizer in PATTERNS.items():
            one, other = theirs(documents, pre_tokenizer, args.vocab), ours(args.dataprep, documents, pattern, args.vocab)
            merges = len(json.loads(one)["model"]["merges"])
            print(f"{Path(folder).name} {pattern}: {merges} merges,", "equal" if one == other else "DIFFERENT", flush=True)
            wrong |= one != other
    sys.exit(wrong)


if __name__ == "__main__":
    main()
