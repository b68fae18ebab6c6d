#!/usr/bin/env python3
"""Checks that a tokenizer of ours works elsewhere: transformers, tokenizers and tiktoken give our ids.

In:  a folder with tokenizer.json and tokenizer_config.json, text files, the binary
Out: one line a reader; exit status 1 when ids differ

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install transformers tokenizers tiktoken
    /tmp/venv/bin/python tests/golden/check_tokenizer.py TOKENIZER TEXT... [--dataprep target/release/dataprep]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tokenizers import Tokenizer
from transformers import AutoTokenizer


def ours(binary, folder, text):
    """Our ids, special tokens as text."""
    command = [binary, "tokenize", "-", "--tokenizer", folder, "--json"]
    run = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    records = map(json.loads, run.stdout.splitlines())
    return [record["id"] for record in records if record["type"] == "token"]


def from_tiktoken(binary, folder, pattern):
    """The rank file of the tokenizer, read by tiktoken."""
    with tempfile.TemporaryDirectory() as out:
        path = f"{out}/ranks.tiktoken"
        command = [binary, "tokenizer", "export", folder, "--format", "tiktoken", "--out", path]
        subprocess.run(command, check=True, capture_output=True)
        return tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(path), special_tokens={})


def split_pattern(file):
    """The regular expression of the file's split; GPT-2's where `ByteLevel` has it."""
    parts = file["pre_tokenizer"].get("pretokenizers")
    if parts:
        return parts[0]["pattern"]["Regex"]
    return r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--dataprep", default="target/release/dataprep")
    args = parser.parse_args()
    file = json.loads(Path(args.tokenizer, "tokenizer.json").read_text())
    plain = Tokenizer.from_file(f"{args.tokenizer}/tokenizer.json")
    plain.encode_special_tokens = True
    transformers = AutoTokenizer.from_pretrained(args.tokenizer)
    ranks = from_tiktoken(args.dataprep, args.tokenizer, split_pattern(file))
    readers = {
        "tokenizers": lambda text: plain.encode(text, add_special_tokens=False).ids,
        "transformers": lambda text: transformers.encode(text, add_special_tokens=False, split_special_tokens=True),
        "tiktoken": lambda text: ranks.encode_ordinary(text),
    }
    texts = [Path(path).read_text() for path in args.texts]
    expected = [ours(args.dataprep, args.tokenizer, text) for text in texts]
    wrong = False
    for name, encode in readers.items():
        differ = [path for path, text, ids in zip(args.texts, texts, expected) if encode(text) != ids]
        print(f"{name}: {len(texts) - len(differ)} of {len(texts)} texts equal", *differ)
        wrong |= bool(differ)
    print(f"eos_token {transformers.eos_token!r} = {transformers.eos_token_id}, vocabulary {len(transformers)}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
