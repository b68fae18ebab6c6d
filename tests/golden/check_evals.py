#!/usr/bin/env python3
"""Holds an evaluation by dataprep against lm-evaluation-harness on the same model, item by item.

    python3 -m venv /tmp/harness && /tmp/harness/bin/pip install lm_eval torch transformers pyarrow
    dataprep eval MODEL --tasks hellaswag,arc_easy,winogrande,piqa --evals EVALS --limit 1000 --out OUT
    /tmp/harness/bin/python tests/golden/check_evals.py MODEL OUT EVALS/lm-eval-requests
    /tmp/harness/bin/python tests/golden/check_evals.py MODEL OUT fixtures/evals/lm-eval-requests \\
        --record fixtures/evals/harness.json

In: a model in Hugging Face's form (a checkpoint of a run is one), the evaluation that dataprep made
of it, and the harness's own request files. Out: for each task the largest difference of a
log-likelihood, the items whose answer differs (by `acc`, and by `acc_norm`), and the harness's speed
by the clock and by seconds of the processor (with OMP_NUM_THREADS=1: what other work on the machine
leaves alone); exit status 1 where a log-likelihood differs by more than 1e-3 or an answer differs.
`--record` writes what the harness gives, for the test in `src/eval/tests.rs`. Everything is local:
f32 on the CPU, one request at a time unless `--batch-size` says otherwise; nothing is downloaded.
"""
import argparse
import gzip
import json
import os
import pathlib
import time

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pyarrow.parquet as parquet
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

CLOSE = 1e-3


def requests(path, items):
    """(item, choice, context, continuation, gold) of the first `items` items."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if row["doc_id"] < items]


def harness(model, rows):
    pairs = [(row["context"], row["continuation"]) for row in rows]
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=number)
        for number, pair in enumerate(pairs)
    ]
    return model.loglikelihood(instances, disable_tqdm=True)


def is_long(model, row):
    if len(row["continuation"]) <= model.max_length:
        return False
    _, continuation = model._encode_pair(row["context"], row["continuation"])
    return len(continuation) > model.max_length


def answers(scores, lengths):
    """The first choice of the greatest score over its length, by item."""
    best = {}
    for (item, choice), score in scores.items():
        value = score / lengths[item, choice]
        if item not in best or value > best[item][0]:
            best[item] = (value, choice)
    return {item: choice for item, (_, choice) in best.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("evaluation")
    parser.add_argument("requests", type=pathlib.Path)
    parser.add_argument("--record")
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    model = HFLM(
        pretrained=options.model, dtype="float32", device="cpu", batch_size=options.batch_size
    )
    table = parquet.read_table(pathlib.Path(options.evaluation) / "items.parquet").to_pylist()
    record, failed = {}, False
    for task in dict.fromkeys(row["task"] for row in table):
        own = {(row["item"], row["choice"]): row for row in table if row["task"] == task}
        items = 1 + max(item for item, _ in own)
        rows = requests(options.requests / f"{task}.jsonl.gz", items)
        # The harness refuses a continuation that is longer than the model reads at once.
        long = {row["doc_id"] for row in rows if is_long(model, row)}
        own = {key: row for key, row in own.items() if key[0] not in long}
        rows = [row for row in rows if row["doc_id"] not in long]
        begin, busy = time.perf_counter(), time.process_time()
        scores = harness(model, rows)
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        keys = [(row["doc_id"], row["choice"]) for row in rows]
        assert keys == list(own), f"{task}: other items than those that were evaluated"
        theirs = {key: score for key, (score, _) in zip(keys, scores)}
        ours = {key: own[key]["loglikelihood"] for key in keys}
        greedy = sum(own[key]["is_greedy"] != is_greedy for key, (_, is_greedy) in zip(keys, scores))
        gold = sum(own[row["doc_id"], row["choice"]]["gold"] != (row["choice"] == row["gold"]) for row in rows)
        worst = max(abs(ours[key] - theirs[key]) for key in keys)
        ones = {key: 1 for key in keys}
        characters = {key: max(1, len(row["continuation"].removeprefix(" "))) for key, row in zip(keys, rows)}
        differ = [
            sum(answers(ours, lengths)[item] != choice for item, choice in answers(theirs, lengths).items())
            for lengths in (ones, characters)
        ]
        print(
            f"{task}: {items - len(long)} items ({len(long)} too long for the harness), {len(keys)} choices, largest difference {worst:.2e}, answers that "
            f"differ {differ[0]} (acc) {differ[1]} (acc_norm), greedy {greedy}, gold {gold}; harness "
            f"{(items - len(long)) / seconds:.1f} items/s, {(items - len(long)) / busy:.1f} a second of "
            "the processor",
            flush=True,
        )
        failed |= worst > CLOSE or any(differ) or greedy > 0 or gold > 0
        record[task] = [[score, is_greedy] for score, is_greedy in scores]
    if options.record:
        text = json.dumps(record).replace("]], ", "]],\n").replace("], [", "],\n[")
        pathlib.Path(options.record).write_text(text + "\n")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
