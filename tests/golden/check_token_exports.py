#!/usr/bin/env python3
"""Reads what `dataprep export` writes of token shards and of a mix with the tools it is for.

    pip install numpy pyarrow mosaicml-streaming litdata datasets megatron-core
    tests/golden/check_token_exports.py DATAPREP SHARDS MIX [WORK]

numpy's memmap as nanoGPT's train.py opens it, Megatron-core's IndexedDataset, MosaicML Streaming's
StreamingDataset, LitData's StreamingDataset with its TokensLoader, `datasets.load_dataset`, and
`np.load` must give every token of the shards (read here with pyarrow alone), document by document;
of the mix every row of the training stream, with its documents' starts. Then what nanoGPT's and
Megatron's forms hold is imported again, and every document must be the one that went out.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.ipc

SEQUENCE = 128


def shard_rows(shards):
    """(id, source, held out, tokens) of every document, in file order."""
    for path in sorted(shards.glob("shard-*.arrow")):
        for row in pyarrow.ipc.open_file(path).read_all().to_pylist():
            yield path.name, row


def documents(shards, held_out):
    rows = (row for _, row in shard_rows(shards))
    return [(r["document"], r["source"], r["tokens"]) for r in rows if r["held_out"] == held_out]


def mix_stream(mix, shards):
    """The training stream and where its documents begin, from the order and the shards."""
    record = json.loads((mix / "mix.json").read_text())
    files = {}
    for name, row in shard_rows(shards):
        files.setdefault(name, []).append(row["tokens"])
    order = pyarrow.ipc.open_file(mix / "order.arrow").read_all().to_pylist()
    stream, starts = [], []
    for index, row in enumerate(order):
        end = order[index + 1]["first_token"] if index + 1 < len(order) else record["tokens"]
        assert len(stream) == row["first_token"]
        starts.append(len(stream))
        stream.append(record["end_of_text_id"])
        stream += files[record["shards"][row["shard"]]["file"]][row["row"]]
        del stream[end:]
    return np.array(stream), np.array(starts), record


def same(found, expected, what):
    found, expected = np.asarray(found).astype(np.int64), np.asarray(expected).astype(np.int64)
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    assert (found == expected).all(), what


class Check:
    def __init__(self, dataprep, shards, mix, work):
        self.dataprep, self.shards, self.mix, self.work = dataprep, shards, mix, work
        self.end = json.loads((shards / "manifest.json").read_text())["config"]["end_of_text_id"]
        self.width = np.uint16 if self.schema_width() == "uint16" else np.uint32
        self.splits = {"train": documents(shards, False), "val": documents(shards, True)}
        self.stream, self.starts, self.record = mix_stream(mix, shards)
        assert self.splits["val"], "shards without held-out documents check half"

    def schema_width(self):
        first = next(iter(sorted(self.shards.glob("shard-*.arrow"))))
        return str(pyarrow.ipc.open_file(first).schema.field("tokens").type.value_type)

    def export(self, source, form, *more):
        out = self.work / f"{source.name}-{form}"
        command = [self.dataprep, "export", source, "--to", form, "--out", out, "-q", *more]
        subprocess.run([str(part) for part in command], check=True)
        return out

    def flat(self, split):
        return np.concatenate([np.array(tokens + [self.end]) for _, _, tokens in self.splits[split]])

    def rows(self):
        whole = len(self.stream) // SEQUENCE * SEQUENCE
        return self.stream[:whole].reshape(-1, SEQUENCE)

    def row_starts(self, row):
        inside = self.starts[(self.starts >= row * SEQUENCE) & (self.starts < (row + 1) * SEQUENCE)]
        return inside - row * SEQUENCE

    def nanogpt(self):
        out = self.export(self.shards, "nanogpt")
        for split in self.splits:
            same(np.memmap(out / f"{split}.bin", dtype=self.width, mode="r"), self.flat(split), split)
        out = self.export(self.mix, "nanogpt")
        same(np.memmap(out / "train.bin", dtype=self.width, mode="r"), self.stream, "mix")

    def numpy(self):
        out = self.export(self.shards, "numpy")
        for split, held in self.splits.items():
            tokens = np.load(out / f"{split}.npy", mmap_mode="r")
            starts = np.load(out / f"{split}_starts.npy", mmap_mode="r")
            assert tokens.dtype == self.width and starts.dtype == np.uint64
            same(tokens, self.flat(split), split)
            same(starts, np.cumsum([0] + [len(t) + 1 for _, _, t in held])[:-1], split)
        out = self.export(self.mix, "numpy")
        same(np.load(out / "train.npy"), self.stream, "mix")
        same(np.load(out / "train_starts.npy"), self.starts, "mix")

    def megatron(self):
        from megatron.core.datasets.indexed_dataset import IndexedDataset

        out = self.export(self.shards, "megatron")
        for split, held in self.splits.items():
            dataset = IndexedDataset(str(out / split))
            assert len(dataset) == len(held) == len(dataset.document_indices) - 1
            for index, (_, _, tokens) in enumerate(held):
                same(dataset[index], tokens + [self.end], (split, index))
        dataset = IndexedDataset(str(self.export(self.mix, "megatron") / "train"))
        same(np.concatenate([dataset[index] for index in range(len(dataset))]), self.stream, "mix")
        same(np.cumsum([0, *dataset.sequence_lengths])[:-1], self.starts, "mix")

    def mds(self):
        from streaming import StreamingDataset

        out = self.export(self.shards, "mds", "--set", "shard_bytes=100000")
        for split, held in self.splits.items():
            dataset = StreamingDataset(local=str(out), split=split, batch_size=1)
            held = [document for document in held if document[2]]
            assert len(dataset) == len(held), (split, len(dataset), len(held))
            for index, (name, source, tokens) in enumerate(held):
                sample = dataset[index]
                assert (sample["id"], sample["source"]) == (name, source)
                assert sample["tokens"].dtype == self.width
                same(sample["tokens"], tokens, (split, index))
        out = self.export(self.mix, "mds", "--sequence", SEQUENCE)
        dataset, rows = StreamingDataset(local=str(out), split="train", batch_size=1), self.rows()
        assert len(dataset) == len(rows)
        for index, row in enumerate(rows):
            same(dataset[index]["tokens"], row, index)
            starts = dataset[index]["starts"]
            same(starts[starts != 2**32 - 1], self.row_starts(index), index)

    def litdata(self):
        from litdata import StreamingDataset, TokensLoader

        for source, split, expected in [
            (self.shards, "train", self.flat("train")),
            (self.shards, "val", self.flat("val")),
            (self.mix, "train", self.stream),
        ]:
            out = self.work / f"{source.name}-litdata"
            if not out.exists():
                self.export(source, "litdata", "--sequence", SEQUENCE, "--set", "shard_bytes=10000")
            loader = TokensLoader(block_size=SEQUENCE)
            dataset = StreamingDataset(str(out / split), item_loader=loader, shuffle=False)
            whole = len(expected) // SEQUENCE * SEQUENCE
            found = [dataset[index].to_dense().numpy().astype(np.int64) for index in range(len(dataset))]
            same(np.concatenate(found), expected[:whole], (source, split))

    def hf_datasets(self):
        from datasets import load_dataset

        cache = str(self.work / "cache")
        data = load_dataset(str(self.export(self.shards, "hf-datasets")), cache_dir=cache)
        assert set(data) == {"train", "validation"}, data
        for split, name in [("train", "train"), ("val", "validation")]:
            found = [(row["id"], row["source"], row["input_ids"]) for row in data[name]]
            assert found == self.splits[split], split
        out = self.export(self.mix, "hf-datasets", "--sequence", SEQUENCE)
        data = load_dataset(str(out), cache_dir=cache)["train"]
        same(data["input_ids"], self.rows(), "mix")
        for index, row in enumerate(data):
            same(row["starts"], self.row_starts(index), index)
        held = load_dataset(str(out), "validation", cache_dir=cache)["validation"]
        known = {tuple(tokens) for _, _, tokens in self.splits["val"]}
        assert len(held) and all(tuple(row["input_ids"]) in known for row in held)

    def back(self):
        """What went out comes in again, as the same documents on the same side."""
        wanted = {held: sorted(t for _, _, t in documents(self.shards, held)) for held in (False, True)}
        for form in ("nanogpt", "megatron"):
            out = self.work / f"back-{form}"
            command = [self.dataprep, "import", self.work / f"{self.shards.name}-{form}", "--from", form]
            command += ["--tokenizer", self.shards / "tokenizer", "--out", out, "-q"]
            subprocess.run([str(part) for part in command], check=True)
            for held, expected in wanted.items():
                assert sorted(t for _, _, t in documents(out, held)) == expected, (form, held)


def main():
    dataprep, shards, mix = (Path(argument).resolve() for argument in sys.argv[1:4])
    work = Path(sys.argv[4] if len(sys.argv) > 4 else tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    check = Check(dataprep, shards, mix, work)
    for name in ("nanogpt", "numpy", "megatron", "mds", "litdata", "hf_datasets", "back"):
        getattr(check, name)()
        print(f"{name}: every token is there", flush=True)
    if len(sys.argv) < 5:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
