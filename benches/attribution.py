#!/usr/bin/env python3
"""Times what tells runs apart, on what is large: `runs` over 1,000 runs, `report` on 100,000 steps,
`compare` of two runs and two corpora of ten million documents.

    python3 -m venv /tmp/bench && /tmp/bench/bin/pip install pyarrow
    /tmp/bench/bin/python benches/attribution.py target/release/dataprep [FOLDER]

In: the binary, and a folder of 3 GB that is made where it is missing (a temporary one otherwise).
Out: a line for each command: seconds of the processor and by the clock, its peak of memory. The
documents are short (some 20 bytes) and distinct; the second corpus lacks one in a hundred, at one
place. The 1,000 runs are one run of 300 steps, linked; the 100,000 steps are its steps again and
again with a falling loss that has noise. What is timed is the command alone, reading included.
"""
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

FILES, ROWS, LEFT_OUT = 10, 1_000_000, 100_000
SMALL = """model.d_model=32 model.n_layer=1 model.n_head=2 model.n_kv_head=1 model.d_ff=48
train.sequence=64 train.micro_batch=4 train.batch_tokens=256 train.warmup_steps=2"""
RECORDS = ["metrics.jsonl", "timing.jsonl"]


def dataprep(*arguments):
    """Runs a command, which must succeed: (seconds of the processor, by the clock, peak in MiB)."""
    start = time.monotonic()
    process = subprocess.Popen([BINARY, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    processor = usage.ru_utime + usage.ru_stime
    return processor, time.monotonic() - start, usage.ru_maxrss / 1024


def timed(what, *arguments):
    processor, clock, peak = min(dataprep(*arguments) for _ in range(3))
    print(f"{what}: {processor:.2f} s of the processor, {clock:.2f} s by the clock, {peak:.0f} MiB")


def train(mix, out, steps):
    sets = [word for pair in SMALL.split() for word in ("--set", pair)]
    dataprep("train", "--data", mix, "--out", out, "-q", "--set", f"train.steps={steps}", *sets)


def write_texts(folder, shortened):
    import pyarrow
    import pyarrow.parquet as parquet

    folder.mkdir()
    for file in range(FILES):
        rows = range(LEFT_OUT if shortened and file == FILES - 1 else 0, ROWS)
        texts = [f"word{row % 2000} word{row // 2000} {file} {row}" for row in rows]
        table = pyarrow.table({"text": texts})
        parquet.write_table(table, folder / f"{file}.parquet", compression="zstd")


def chain(name, shortened, tokenizer):
    """Texts → corpus → shards → mix → run."""
    write_texts(pathlib.Path(name, "texts"), shortened)
    dataprep("ingest", f"s={name}/texts", "--out", f"{name}/corpus", "--holdout", "0.0001", "-q")
    vocabulary = ["--tokenizer", tokenizer] if tokenizer else ["--vocab", "600"]
    dataprep("tokenize", f"{name}/corpus", *vocabulary, "--out", f"{name}/tokens", "-q")
    dataprep("mix", f"s={name}/tokens:1", "--tokens", "100k", "--out", f"{name}/mix", "-q")
    train(f"{name}/mix", f"{name}/run", 300)


def link_runs(run, folder, count):
    for number in range(count):
        copy = folder / f"run-{number:04}"
        copy.mkdir(parents=True)
        for file in filter(pathlib.Path.is_file, run.iterdir()):
            os.link(file, copy / file.name)


def lengthen(run, copy, steps):
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints"))
    chance = random.Random(0)
    for name in RECORDS:
        records = [json.loads(line) for line in (run / name).read_text().splitlines()]
        with open(copy / name, "w") as file:
            for step in range(1, steps + 1):
                record = dict(records[(step - 1) % len(records)], step=step)
                if "tokens" in record:
                    record["tokens"] = 256 * step
                if "loss" in record:
                    record["loss"] = 3 + 9 / step**0.3 + chance.random() / 20
                file.write(json.dumps(record) + "\n")


def main():
    if not pathlib.Path("b/run").exists():
        for name, shortened in [("a", False), ("b", True)]:
            pathlib.Path(name).mkdir()
            # A peak counts from what its parent held: the tables are another process's.
            chain_of = (name, shortened, "a/tokens/tokenizer" if shortened else None)
            maker = multiprocessing.Process(target=chain, args=chain_of)
            maker.start()
            maker.join()
            assert maker.exitcode == 0, name
        link_runs(pathlib.Path("a/run"), pathlib.Path("many"), 1000)
        lengthen(pathlib.Path("a/run"), pathlib.Path("long"), 100_000)
    timed("runs, 1,000 runs", "runs", "many")
    timed("report, 100,000 steps", "report", "long")
    print(f"its page: {os.path.getsize('long/report.html'):,} bytes")
    timed("compare, two corpora of ten million documents", "compare", "a/corpus", "b/corpus")
    timed("compare, the runs made of them", "compare", "a/run", "b/run")


if __name__ == "__main__":
    BINARY = os.path.abspath(sys.argv[1])
    folder = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    main()
