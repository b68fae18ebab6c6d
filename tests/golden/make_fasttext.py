"""Writes fixtures/fasttext/: tiny models trained by the PyPI package fastText, and what it predicts with them.

Run: python tests/golden/make_fasttext.py LANGUAGE_ID_DIR   (needs fasttext-wheel 0.9.2, pyarrow)
The texts are the Universal Declaration of Human Rights (public domain) and edge cases. Training
with one thread repeats on one machine; the Rust tests read the committed files only.
"""

import json
import pathlib
import sys
import tempfile

import fasttext
import pyarrow.parquet as parquet

HERE = pathlib.Path(__file__).resolve().parents[2] / "fixtures/fasttext"
LANGUAGES = "eng fra deu_1901 spa ita por_PT nld swe dan pol ces fin hun tur ell_monotonic rus ukr".split()
LANGUAGES += "arb heb hin ben tha jpn kor cmn_hans vie".split()
EDGE = [
    "", " ", "</s>", "all human </s> beings are born free", "\u00a0", "all\u00a0human beings", "\x00", "all\x00human\x00",
    "all\x0bhuman\x0cbeings\rare\tborn", "__label__eng all human beings", "__label__unknown all human", "__label__",
    "x" * 700, "free " * 300, "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301\u0327", "unseenword anotherunseen",
    "\u2028 \x85 \x1c all human", "<b> </s > < >", "a", "\u4eba", "all human beings", "All human beings  are   born ",
]


def texts_of(folder):
    rows = parquet.read_table(folder / "000_00000.parquet").to_pylist()
    truth = dict((line.split("\t")[0], line.rstrip("\n").split("\t")[1:]) for line in open(folder / "truth.tsv"))
    found = {}
    for row in rows:
        language, kind = truth[row["id"]]
        if kind == "udhr" and language in LANGUAGES:
            found[language] = [line.strip() for line in row["text"].split("\n") if len(line.strip()) > 40]
    return found


def write_model(name, lines, quantize=None, **settings):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write("\n".join(lines) + "\n")
    model = fasttext.train_supervised(file.name, thread=1, seed=1, verbose=0, **settings)
    if quantize is not None:
        model.quantize(file.name, verbose=0, thread=1, **quantize)
    path = HERE / (name + (".bin" if quantize is None else ".ftz"))
    model.save_model(str(path))
    return path


def predictions(path, texts):
    """For each text: the three best, the best, those above 0.2, and the sum over all labels."""
    model = fasttext.load_model(str(path))
    cases = []
    for text in texts:
        # The binding below the Python wrapper: the wrapper's only addition is the line end.
        found = [model.f.predict(text + "\n", k, least, "strict") for k, least in ((3, 0.0), (1, 0.0), (-1, 0.2), (-1, 0.0))]
        found = [[[label, float("%.9g" % score)] for score, label in pairs] for pairs in found]
        cases.append(found[:3] + [sum(score for _, score in found[3])])
    return cases


def main():
    found = texts_of(pathlib.Path(sys.argv[1]))
    HERE.mkdir(exist_ok=True)
    lines, held_out = [], []
    for language, texts in sorted(found.items()):
        lines += [f"__label__{language} {text}" for text in texts[4:24]]
        held_out.append(texts[26][:120])
    two = [line.replace("__label__eng", "__label__hq") for line in lines if line.startswith("__label__eng")]
    two += ["__label__cc " + line.split(" ", 1)[1] for line in lines if line.startswith(("__label__fra", "__label__deu"))]
    many = [f"__label__{i} {word}" for i, word in enumerate(sorted({w for line in lines for w in line.split()[1:]})[:1300:5])]
    common = dict(epoch=20, lr=0.5)
    paths = [
        write_model("words", two, dim=5, minCount=2, **common),
        write_model("bigrams", two, dim=6, minCount=2, wordNgrams=2, bucket=100, **common),
        write_model("trigrams_negative", two, dim=4, minCount=3, wordNgrams=3, bucket=60, loss="ns", **common),
        write_model("hierarchical", lines, dim=8, minCount=12, minn=2, maxn=4, bucket=400, loss="hs", **common),
        write_model("one_vs_all", lines, dim=4, minCount=15, minn=1, maxn=3, wordNgrams=2, bucket=300, loss="ova", **common),
        write_model("quantized", lines, quantize=dict(dsub=2), dim=5, minCount=12, minn=2, maxn=3, bucket=400, loss="hs", **common),
        write_model("quantized_pruned", lines, quantize=dict(qnorm=True, cutoff=280, dsub=3), dim=8, minCount=12, minn=2, maxn=4, bucket=500, wordNgrams=2, **common),
        write_model("quantized_words", lines, quantize=dict(qnorm=True, cutoff=260, dsub=2), dim=4, minCount=2, **common),
        write_model("quantized_output", many, quantize=dict(qout=True, qnorm=True, dsub=2), dim=5, minCount=1, minn=2, maxn=2, bucket=50, **common),
    ]
    texts = EDGE + held_out
    golden = {"texts": texts, "models": {path.name: predictions(path, texts) for path in paths}}
    with open(HERE / "predictions.json", "w") as file:
        json.dump(golden, file, ensure_ascii=True, separators=(",", ":"))


main()
