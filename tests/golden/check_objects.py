#!/usr/bin/env python3
"""Whether dataprep reads what other people's object stores serve: S3's dialect and Azure's.

Servers that are not ours hold the same files: moto's S3 and Microsoft's azurite. (Of Google's XML
dialect, which `gs://` speaks, the registries have no server; `tests/remote.rs` has its own.)
Each is asked by the real address (`s3://`, `az://`), and the corpus that comes out must be
that of the same files here, byte for byte; of a wide Parquet file less than half is fetched; a key
where nothing lies and an object that was replaced between two runs are noticed.

    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install 'moto[server]' boto3 azure-storage-blob pyarrow
    npm install --prefix /tmp/azurite azurite
    cargo build --release --features cloud
    /tmp/venv/bin/python tests/golden/check_objects.py target/release/dataprep \\
        --azurite /tmp/azurite/node_modules/.bin/azurite-blob
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time

BUCKET = "corpus"
# The account that azurite and every client of it know: https://learn.microsoft.com/azure/storage
ACCOUNT = "devstoreaccount1"
KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextlib.contextmanager
def running(command, port):
    """A server, once it takes connections; it ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        else:
            sys.exit(f"{command[0]} does not answer on port {port}")
        yield
    finally:
        process.terminate()
        process.wait()


def make_files(folder):
    """A wide Parquet file of many row groups, JSON Lines beside it, and names that need quoting."""
    import pyarrow
    import pyarrow.parquet

    draw = random.Random(1)
    words = ["river", "stone", "leaf", "über", "日本", "letter", "engine", "moon"]
    text = lambda n: " ".join(draw.choice(words) for _ in range(n))
    rows = 400
    table = pyarrow.table(
        {
            "id": [f"p{row}" for row in range(rows)],
            "text": [text(40) for _ in range(rows)],
            "html": [draw.randbytes(2000).hex() for _ in range(rows)],
        }
    )
    (folder / "a b").mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "a b" / "0.parquet", row_group_size=20)
    lines = (json.dumps({"id": f"j{row}", "text": text(30)}) for row in range(300))
    (folder / "lines+1.jsonl").write_text("\n".join(lines) + "\n")


def keys(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"data/{path.relative_to(folder)}", path.read_bytes()


class S3:
    scheme = "s3"

    def __init__(self, arguments):
        self.port = free_port()
        binary = pathlib.Path(sys.executable).parent / "moto_server"
        self.command = [binary, "-H", "127.0.0.1", "-p", str(self.port)]
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def put(self, objects):
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket=BUCKET)
        for key, body in objects:
            client.put_object(Bucket=BUCKET, Key=key, Body=body)


class Azure:
    scheme = "az"

    def __init__(self, arguments):
        self.port = free_port()
        self.command = [
            arguments.azurite, "--blobHost", "127.0.0.1", "--blobPort", str(self.port),
            "--inMemoryPersistence", "--skipApiVersionCheck", "--silent",
        ]
        self.url = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        self.environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self.port}",
        }

    def put(self, objects):
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import BlobServiceClient

        service = BlobServiceClient(self.url, credential=KEY)
        with contextlib.suppress(ResourceExistsError):
            service.create_container(BUCKET)
        for key, body in objects:
            service.get_blob_client(BUCKET, key).upload_blob(body, overwrite=True)


def dataprep(binary, work, command, environment=None, expect=0):
    """Runs `command` in `work`; its stdout and stderr."""
    own = {**os.environ, "NO_COLOR": "1", **(environment or {})}
    done = subprocess.run(
        [binary, *command, "--progress", "none"], cwd=work, env=own, capture_output=True, text=True
    )
    if done.returncode != expect:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def parts(folder):
    found = sorted(folder.glob("part-*.parquet"))
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in found]


def check(store, binary, work):
    files = work / "data"
    options = ["--columns", "id", "--holdout", "0.1", "--set", "unit_bytes=30kB"]
    address = f"{store.scheme}://{BUCKET}/data"
    out = f"kept-{store.scheme}"
    run = lambda command, expect=0: dataprep(binary, work, command, store.environment, expect)
    store.put(keys(files))
    run(["ingest", address, "--out", out, *options])
    if parts(work / out) != parts(work / "here"):
        sys.exit(f"{address}: other bytes than the files here")
    report = run(["verify", out])
    assert "remote inputs by their hash" in report, report
    again = run(["ingest", address, "--out", out, *options])
    assert "up to date" in again, again
    one = run(["inspect", f"{address}/*/*.parquet", "--json"])
    assert '"documents":400' in one, one
    nothing = run(["ingest", f"{store.scheme}://{BUCKET}/nowhere", "--out", "none"], expect=2)
    assert "nothing lies at" in nothing, nothing
    # Another object under the same key is another input.
    changed = files / "lines+1.jsonl"
    before = changed.read_bytes()
    try:
        changed.write_bytes(before + b'{"id": "new", "text": "one more"}\n')
        store.put(keys(files))
    finally:
        changed.write_bytes(before)
    other = run(["ingest", address, "--out", out, *options], expect=2)
    assert "another fingerprint" in other or "--fresh" in other, other
    print(f"{store.scheme}: the same corpus as from here, {len(parts(work / out))} parts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--azurite", help="azurite-blob, from npm; without it Azure is left out")
    arguments = parser.parse_args()
    stores = [S3, Azure] if arguments.azurite else [S3]
    with tempfile.TemporaryDirectory() as held:
        work = pathlib.Path(held)
        make_files(work / "data")
        options = ["--columns", "id", "--holdout", "0.1", "--set", "unit_bytes=30kB"]
        dataprep(arguments.binary, work, ["ingest", "data", "--out", "here", *options])
        for kind in stores:
            store = kind(arguments)
            with running(store.command, store.port):
                check(store, arguments.binary, work)


if __name__ == "__main__":
    main()
