#!/usr/bin/env python3
"""Whether dataprep and Python agree on the Hub: the same files, and one cache for both.

Needs huggingface_hub and pyarrow, and for the last check datasets, from PyPI:

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install huggingface_hub datasets
    cargo build --release --bin dataprep --example hub_server
    /tmp/venv/bin/python tests/golden/check_hub.py target/release

The folder holds both binaries. The server is that of the tests (`tests/support/hub/`), so nothing
outside this machine is asked. `--figures MB` downloads one file of that size with dataprep,
huggingface_hub and curl instead, five times each, and prints medians.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

REPO = "datasets/o/n"


class Server:
    """The tests' Hub, driven by lines on its stdin."""

    def __init__(self, binary):
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.endpoint = self.process.stdout.readline().strip()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stored_bytes(self):
        return sum(seen["sent"] for seen in json.loads(self.tell("seen")) if seen["at_storage"])


def tree(folder):
    """Every file below a folder by name, with its sha256; what dataprep adds is left out."""
    files = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in ("manifest.json", "run.json"):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def make_files(folder):
    """Parquet, JSON Lines, small files that git holds, names that have to be encoded."""
    import pyarrow
    import pyarrow.parquet

    draw = random.Random(1)
    for part in range(3):
        texts = [f"text {part} {draw.random()} " * 20 for _ in range(500)]
        table = pyarrow.table({"id": [f"{part}-{n}" for n in range(500)], "text": texts})
        path = folder / "sample" / f"00{part}_00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table, path)
    (folder / "README.md").write_text("# A data set\n")
    (folder / "other").mkdir()
    (folder / "other" / "ein Wört & more.jsonl").write_text('{"text": "x"}\n' * 500)
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (folder / "empty.txt").write_text("")


class Check:
    def __init__(self, binaries, work):
        self.binaries, self.work = binaries, work
        self.server = Server(binaries / "examples" / "hub_server")
        self.files = work / "files"
        make_files(self.files)
        self.commit = self.server.tell(f"commit {REPO} {self.files}")

    def environment(self, home, **more):
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | {
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HOME": str(self.work / home),
            "HF_TOKEN": "hf_secret",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        } | more

    def dataprep(self, line, home, **more):
        command = [self.binaries / "dataprep", *line.split()]
        environment = self.environment(home, **more)
        return subprocess.Popen(command, cwd=self.work, env=environment, stdout=subprocess.PIPE)

    def python(self, code, home, **more):
        environment = self.environment(home, **more)
        return subprocess.Popen(
            [sys.executable, "-c", code], cwd=self.work, env=environment,
            stdout=subprocess.PIPE, text=True,
        )

    def same_files(self):
        done(self.dataprep("download hf://datasets/o/n --out ours", "home-1"))
        code = (
            "from huggingface_hub import snapshot_download\n"
            "print(snapshot_download('o/n', repo_type='dataset'))"
        )
        theirs = done(self.python(code, "home-2")).strip()
        expected = tree(self.files)
        assert tree(self.work / "ours") == expected
        assert tree(theirs) == expected
        print(f"same files: {len(expected)}, by both")

    def python_finds_ours(self):
        code = (
            "from huggingface_hub import snapshot_download, hf_hub_download, scan_cache_dir\n"
            "print(snapshot_download('o/n', repo_type='dataset'))\n"
            "hf_hub_download('o/n', 'sample/000_00000.parquet', repo_type='dataset')\n"
            "report = scan_cache_dir()\n"
            "assert not report.warnings, report.warnings\n"
            "print(report.size_on_disk)"
        )
        before = self.server.tell("seen")
        found, size = done(self.python(code, "home-1", HF_HUB_OFFLINE="1")).split("\n")[:2]
        assert found.endswith(f"snapshots/{self.commit}"), found
        assert tree(found) == tree(self.files)
        assert self.server.tell("seen") == before
        print(f"Python finds what dataprep has fetched, offline: {size} bytes, no warnings")

    def dataprep_finds_theirs(self):
        before = self.server.tell("seen")
        done(self.dataprep("download hf://datasets/o/n --out theirs", "home-2", HF_HUB_OFFLINE="1"))
        assert tree(self.work / "theirs") == tree(self.files)
        assert self.server.tell("seen") == before
        print("dataprep finds what Python has fetched, offline")

    def at_once(self):
        """Both want one file of one cache: the lock lets one fetch it."""
        large = self.work / "large"
        large.mkdir()
        (large / "x.bin").write_bytes(random.Random(2).randbytes(1 << 20))
        self.server.tell(f"commit datasets/o/large {large}")
        self.server.tell("fault drip:12 /store/ 1")
        before = self.server.stored_bytes()
        code = (
            "from huggingface_hub import hf_hub_download\n"
            "print(hf_hub_download('o/large', 'x.bin', repo_type='dataset'))"
        )
        first = self.dataprep("download hf://datasets/o/large --out at-once", "home-3")
        second = self.python(code, "home-3")
        path = done(second).strip()
        done(first)
        assert pathlib.Path(path).read_bytes() == (large / "x.bin").read_bytes()
        assert (self.work / "at-once/x.bin").read_bytes() == (large / "x.bin").read_bytes()
        fetched = self.server.stored_bytes() - before
        assert fetched == 1 << 20, fetched
        print("at once, in one cache: fetched once")

    def with_datasets(self):
        code = (
            "from datasets import load_dataset\n"
            "rows = load_dataset('o/n', data_files='sample/*.parquet', split='train')\n"
            "print(len(rows), rows[0]['id'])\n"
        )
        theirs = done(self.python(code, "home-4")).strip().split("\n")[-1]
        code = (
            "from datasets import load_dataset\n"
            "rows = load_dataset('parquet', data_files='ours/sample/*.parquet', split='train')\n"
            "print(len(rows), rows[0]['id'])\n"
        )
        ours = done(self.python(code, "home-4", HF_HUB_OFFLINE="1")).strip().split("\n")[-1]
        assert theirs == ours == "1500 0-0", (theirs, ours)
        print("datasets: the same rows from the server and from what dataprep has fetched")

    def figures(self, megabytes):
        large = self.work / "figures"
        large.mkdir()
        with open(large / "x.bin", "wb") as file:
            for seed in range(megabytes):
                file.write(random.Random(seed).randbytes(1_000_000))
        commit = self.server.tell(f"commit datasets/o/figures {large}")
        url = f"{self.server.endpoint}/datasets/o/figures/resolve/{commit}/x.bin"
        code = (
            "from huggingface_hub import hf_hub_download\n"
            "hf_hub_download('o/figures', 'x.bin', repo_type='dataset')"
        )
        one = "download hf://datasets/o/figures --out figures-out --connections"
        tools = {
            "dataprep, 8 connections": lambda: self.dataprep(f"{one} 8", "home-5"),
            "dataprep, 1 connection": lambda: self.dataprep(f"{one} 1", "home-5"),
            "huggingface_hub": lambda: self.python(code, "home-5"),
            "curl (no hash)": lambda: subprocess.Popen(
                ["curl", "-sL", url, "-o", self.work / "curl.bin"], stdout=subprocess.PIPE
            ),
        }
        runs = {name: [] for name in tools}
        for _ in range(5):
            for name, start in tools.items():
                for path in ("home-5", "figures-out"):
                    shutil.rmtree(self.work / path, ignore_errors=True)
                before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
                done(start())
                wall = time.monotonic() - begin
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
                runs[name].append((wall, user + system, user))
        for name, values in runs.items():
            wall, cpu, user = (statistics.median(column) for column in zip(*values))
            print(f"{name:26} {megabytes / wall:7.0f} MB/s  {megabytes / cpu:7.0f} MB per "
                  f"CPU-second ({user:.2f} s of {cpu:.2f} s not the kernel's)")


def done(process):
    out, _ = process.communicate()
    if process.returncode != 0:
        sys.exit(f"failed: {process.args}\n{out}")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--figures", type=int, metavar="MB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        check = Check(arguments.binaries.resolve(), pathlib.Path(work))
        if arguments.figures:
            check.figures(arguments.figures)
            return
        check.same_files()
        check.python_finds_ours()
        check.dataprep_finds_theirs()
        check.at_once()
        check.with_datasets()


if __name__ == "__main__":
    main()
