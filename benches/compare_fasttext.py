"""Compares fastText models as dataprep evaluates them with the PyPI package on the same texts.

Run: python benches/compare_fasttext.py FOLDER PARQUET... [-- COMMAND...]   (needs fasttext-wheel 0.9.2, numpy<2, pyarrow)
FOLDER holds the models, and is filled where they are missing: `language.bin` with the settings of lid.176 (dim 16,
minn 2, maxn 4, hierarchical softmax, 176 labels) and `classifier.bin` with those of DCLM's (dim 100, bigrams, two
labels), trained on lines of the texts under labels that mean nothing: their shape decides the speed. COMMAND is ours,
by default `cargo bench --no-default-features --bench filter --`. A line a model: MB of text a CPU second of both, each
the median of three runs, in alternation, and the ratio. The texts go whole, line feeds as spaces.
"""

import pathlib
import statistics
import subprocess
import sys
import time

import fasttext
import pyarrow.parquet as parquet

RUNS = 3
MODELS = {
    "language.bin": (176, dict(dim=16, minn=2, maxn=4, loss="hs", bucket=2_000_000)),
    "classifier.bin": (2, dict(dim=100, wordNgrams=2, loss="softmax", bucket=2_000_000)),
}


def texts_of(paths):
    for path in paths:
        yield from parquet.read_table(path, columns=["text"])["text"].to_pylist()


def train(folder, name, texts):
    labels, settings = MODELS[name]
    lines = [line for text in texts for line in text.split("\n") if len(line) > 80][:100_000]
    training = folder / "training.txt"
    training.write_text("".join(f"__label__l{number % labels} {line}\n" for number, line in enumerate(lines)))
    model = fasttext.train_supervised(str(training), thread=1, seed=1, epoch=1, minCount=2, verbose=0, **settings)
    model.save_model(str(folder / name))
    training.unlink()


def theirs(path, texts):
    """MB of text a CPU second."""
    model = fasttext.load_model(str(path))
    joined = [text.replace("\n", " ") + "\n" for text in texts]
    start = time.process_time()
    for text in joined:
        # The binding below the Python wrapper, whose only addition is the line end.
        model.f.predict(text, 1, 0.0, "strict")
    seconds = time.process_time() - start
    return sum(len(text.encode()) for text in texts) / 1e6 / seconds


def ours(command, path, paths):
    kind = f"{path.stem} {path.name}"
    told = subprocess.run([*command, *map(str, paths), str(path), f"only={kind}"], capture_output=True, text=True, check=True)
    line = next(line for line in told.stdout.splitlines() if line.startswith(kind))
    return float(line[len(kind):].split()[0])


def main():
    arguments, command = sys.argv[1:], "cargo bench --no-default-features --bench filter --".split()
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1:]
    folder, paths = pathlib.Path(arguments[0]), [pathlib.Path(path).resolve() for path in arguments[1:]]
    folder.mkdir(exist_ok=True)
    texts = list(texts_of(paths))
    for name in MODELS:
        path = (folder / name).resolve()
        if not path.exists():
            train(folder, name, texts)
        runs = [(ours(command, path, paths), theirs(path, texts)) for _ in range(RUNS)]
        own, other = (statistics.median(column) for column in zip(*runs))
        print(f"{name}: ours {own:.1f} MB/s, fastText {other:.1f} MB/s, {own / other:.1f} times", flush=True)


main()
