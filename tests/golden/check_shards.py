#!/usr/bin/env python3
"""Reads token shards, and a mix of them, with the libraries that promise to.

    pip install pyarrow polars duckdb
    tests/golden/check_shards.py SHARDS [MIX]

pyarrow, polars and DuckDB (through Arrow) must give the same documents and tokens, one row a
document; each record batch holds one source. Of a mix, every document must follow the one before.
"""

import json
import sys
from pathlib import Path

import duckdb
import polars
import pyarrow.ipc


def rows(table):
    return list(zip(*(column.to_pylist() for column in table.columns)))


def check_shard(path):
    file = pyarrow.ipc.open_file(path)
    table = file.read_all()
    assert table.column_names == ["tokens", "document", "source", "held_out", "bytes"], table.schema
    for index in range(file.num_record_batches):
        sources = set(file.get_batch(index).column("source").to_pylist())
        assert len(sources) == 1, (path, index, sources)
    by_arrow = rows(table)
    by_polars = polars.read_ipc(path)
    assert by_polars.columns == table.column_names
    assert by_polars.rows() == [tuple(row) for row in by_arrow], path
    total = sum(len(tokens) for tokens, *_ in by_arrow)
    connection = duckdb.connect()
    connection.register("shard", table)
    sums = connection.sql(
        "select count(*), sum(len(tokens)), sum(list_sum(tokens)), count(distinct document) from shard"
    ).fetchall()[0]
    expected = (
        len(by_arrow),
        total,
        sum(sum(tokens) for tokens, *_ in by_arrow),
        len({row[1] for row in by_arrow}),
    )
    assert sums == expected, (path, sums, expected)
    return by_arrow


def check_mix(mix, shards):
    """Every document stands where the ones before it end, or where a budget cut one of them."""
    record = json.loads((mix / "mix.json").read_text())
    order = pyarrow.ipc.open_file(mix / "order.arrow").read_all().to_pylist()
    ends = [row["first_token"] for row in order[1:]] + [record["tokens"]]
    cut = 0
    for row, end in zip(order, ends):
        tokens, _, _, held_out, _ = shards[record["shards"][row["shard"]]["file"]][row["row"]]
        assert not held_out, f"a held-out document is trained on: {row}"
        length = end - row["first_token"]
        assert 1 <= length <= 1 + len(tokens), row
        cut += length < 1 + len(tokens)
    budgets = len(record["sources"]) * len(record["phases"])
    assert cut <= budgets, f"{cut} documents are cut by {budgets} budgets"
    print(f"{len(order)} documents of the mix, {record['tokens']} tokens, {cut} documents cut")


def main():
    shards = {path.name: check_shard(path) for path in sorted(Path(sys.argv[1]).glob("shard-*.arrow"))}
    assert shards, f"no shards in {sys.argv[1]}"
    documents = sum(len(rows) for rows in shards.values())
    tokens = sum(len(row[0]) for rows in shards.values() for row in rows)
    print(f"{len(shards)} shards, {documents} documents, {tokens} tokens: equal in all three")
    if len(sys.argv) > 2:
        check_mix(Path(sys.argv[2]), shards)


if __name__ == "__main__":
    main()
