#!/usr/bin/env python3
"""Writes random tokens of any vocabulary, and a tokenizer that names them, for measuring speed.

    random_tokens.py VOCABULARY TOKENS FOLDER      -> FOLDER/train.bin (u16), FOLDER/tokenizer.json

Documents of 100 to 1,200 tokens, each opened by token 0; equal arguments give equal bytes.
"""

import array
import json
import os
import random
import sys

END = "<|endoftext|>"


def tokens_of(vocabulary: int, count: int) -> array.array:
    draw = random.Random(vocabulary)
    tokens = array.array("H", (draw.randrange(1, vocabulary) for _ in range(count)))
    at = 0
    while at < count:
        tokens[at] = 0
        at += draw.randrange(100, 1200)
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens


def tokenizer_of(vocabulary: int) -> dict:
    """Byte-level BPE: the end of text, the 256 bytes in GPT-2's spelling, and names without merges."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = [chr(byte) for byte in plain] + [chr(256 + i) for i in range(256 - len(plain))]
    entries = [END, *names]
    entries += [f"token{index}" for index in range(len(entries), vocabulary)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = {"id": 0, "content": END, "single_word": False, "lstrip": False, "rstrip": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False}
    model |= {"ignore_merges": False, "merges": []}
    model["vocab"] = {entry: index for index, entry in enumerate(entries[:vocabulary])}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added | {"normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": model,
    }


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    vocabulary, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if not 257 <= vocabulary <= 65536:
        sys.exit(f"a vocabulary has 257 to 65,536 entries, not {vocabulary}")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "train.bin"), "wb") as file:
        file.write(tokens_of(vocabulary, count).tobytes())
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(tokenizer_of(vocabulary), file)


if __name__ == "__main__":
    main()
