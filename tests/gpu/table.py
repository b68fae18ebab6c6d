#!/usr/bin/env python3
"""Records of check.sh, and the table that is made of them.

    table.py speed RUN PLAN.json SIZE PEAK_MIB GPU    a record of one size, from the run's timing;
                                                      GPU "unknown": no ceiling is known
    table.py table OUT                                the markdown for benches/results/
"""

import json
import math
import pathlib
import statistics
import sys

# Steps that fill caches, buffers and the driver's own tables.
WARM = 4

# How far losses may lie from PyTorch's in fp32, in nats: of the first step, from equal weights, and
# of any. On the CPU both are fp32, and what differs is the order of sums. A GPU computes in bf16,
# whose 8 bits move a mean over 16,384 tokens by some thousandths; runs then part slowly. A mistake
# in a gradient, a mask or a moment is tenths within the first steps of the fastest descent.
APART = {"cpu": (1e-3, 2e-2), "cuda": (2e-2, 1e-1)}


def judged(differences: list, device: str) -> str:
    """What is wrong with a run whose losses differ so from its twin's; "" where nothing is."""
    if not differences:
        return "no step of the run has a loss to compare"
    first, largest = APART[device]
    if not differences[0] <= first:
        return f"the first losses are {differences[0]:.2e} nats apart, {first:g} at most"
    worst = max(differences, key=lambda apart: math.inf if math.isnan(apart) else apart)
    return "" if worst <= largest else f"losses are {worst:.2e} nats apart, {largest:g} at most"


def lines(path: pathlib.Path) -> list:
    """The records of a file; what a step that was ended has left unfinished is none."""
    records = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def speed(run: str, plan: str, size: str, peak: str, gpu: str) -> dict:
    timing = lines(pathlib.Path(run, "timing.jsonl"))
    if len(timing) <= WARM:
        sys.exit(f"{size}: {len(timing)} steps were timed, and {WARM} are left out")
    plan = next(record for record in lines(pathlib.Path(plan)) if record["type"] == "plan")
    rate = statistics.median(step["tokens_per_second"] for step in timing[WARM:])
    feed = sum(step["feed_seconds"] for step in timing[WARM:])
    known = {
        "ceiling": plan["tokens_per_second"],
        "mfu": plan["mfu"] * rate / plan["tokens_per_second"],
    }
    return (known if gpu != "unknown" else {}) | {
        "step": "speed",
        "size": size,
        "steps": len(timing) - WARM,
        "tokens_per_second": rate,
        "feed": feed / sum(step["seconds"] for step in timing[WARM:]),
        "peak_gib": int(peak) / 1024 if peak.isdecimal() else 0,
        "planned_gib": plan["memory_total"] / 2**30,
    }


def row(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells) -> list:
    return ["", row(cells), "|" + " --- |" * len(cells)]


def speeds(records: list, baseline: list) -> list:
    text = head(
        "size", "by", "tokens/s", "MFU (PaLM)", "of the ceiling", "peak GiB", "planned GiB", "feed"
    )
    for record in (record for record in records if record["step"] == "speed"):
        rate, feed = record["tokens_per_second"], f"{record['feed']:.2%}"
        share = f"{rate / record['ceiling']:.1%}" if "ceiling" in record else "–"
        mfu = f"{record['mfu']:.1%}" if "mfu" in record else "–"
        peak = f"{record['peak_gib']:.1f}" if record["peak_gib"] else "–"
        cells = [record["size"], "dataprep", f"{rate:,.0f}", mfu, share, peak]
        text.append(row([*cells, f"{record['planned_gib']:.1f}", feed]))
    for record in (record for record in baseline if "tok_s" in record):
        mfu = f"{record['mfu_palm']}%" if record.get("mfu_palm") else "–"
        peak = record.get("peak_alloc_gib", "–")
        cells = [record["size"], f"PyTorch, {record['mode']}", f"{record['tok_s']:,.0f}", mfu]
        text.append(row([*cells, "–", peak, "–", "–"]))
    return text


def table(out: str) -> str:
    folder = pathlib.Path(out)
    records = [record for record in lines(folder / "result.jsonl") if "step" in record]
    found = {record["step"]: record for record in records}
    version = found.get("versions", {})
    text = [f"# Training on {version.get('gpu', 'an unknown GPU')}", ""]
    text.append(f"- commit: {version.get('commit', 'unknown')}")
    if ceilings := found.get("ceilings"):
        copy, product = ceilings["copy_bytes_per_second"], ceilings["product_flops"]
        text.append(f"- torch: {ceilings['torch']}, CUDA {ceilings.get('cuda', 'none')}")
        text.append(f"- measured: copy {copy / 1e12:.2f} TB/s, product {product / 1e12:.1f} TFLOP/s")
    if resume := found.get("resume"):
        equal = "equal" if resume["equal"] == "true" else "DIFFERENT"
        text.append(
            f"- {resume['steps']} steps killed at {resume['killed_at']} and continued: {equal} "
            f"parameters and moments ({resume['parameters']})"
        )
    if twin := found.get("twin"):
        text.append(
            f"- losses of {twin['steps']} steps against PyTorch in fp32: first {twin['first']:.1e}, "
            f"last {twin['last']:.1e}, largest {twin['largest']:.1e} nats apart"
        )
    text += speeds(records, lines(folder / "baseline.jsonl"))
    text += head("step", "outcome", "seconds")
    for record in (record for record in records if record["step"] == "status"):
        text.append(row([record["name"], record["status"], record["seconds"]]))
    return "\n".join(text)


def main() -> None:
    if len(sys.argv) == 7 and sys.argv[1] == "speed":
        print(json.dumps(speed(*sys.argv[2:])))
    elif len(sys.argv) == 3 and sys.argv[1] == "table":
        print(table(sys.argv[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
