"""Writes fixtures/source/predicates.jsonl: verdicts of SQL conditions, by DuckDB.

Run: pip install duckdb==2.0.0; python tests/golden/make_predicates.py

The first line is a small table; every other one a condition and its value for each row: T, F or U
(unknown). A condition is given to DuckDB as it stands, or in DuckDB's words where ours differ:

- NaN: DuckDB holds it for equal to itself and greater than every number; for us it is null. So the
  conditions run on a view that reads NaN as NULL, and inf - inf and inf % x are put to NULL.
- x / 0 is infinite and x % 0 an error in DuckDB; null for us: NULLIF.
- CAST fails in DuckDB where there is no value; null for us: TRY_CAST.
- octet_length is strlen; regexp_like is regexp_matches; `metadata.x` is spelled out by type.
- Literals with a point are decimals in DuckDB, doubles for us: no condition here depends on it.
"""

import json
import math
import pathlib

import duckdb

INF, NAN = math.inf, math.nan
BIG = 2**53 + 1
MAX = 2**63 - 1

# id, n, i, f, s, t, b, "a b", metadata
ROWS = [
    (0, 3, 5, 2.5, "en", "The quick brown fox", True, 1, '{"score": 3, "url": "http://a.org"}'),
    (1, None, None, None, None, None, None, None, None),
    (2, 0, 0, 0.0, "", "", False, 0, "{}"),
    (3, -1, -7, -0.0, "de", "Straße", True, 2, '{"score": 2.5, "url": "http://b.com/ü"}'),
    (4, 4, BIG, NAN, "EN", "50% off_today", False, 3, '{"score": "3", "url": 7}'),
    (5, 5, BIG - 1, INF, "fr", "a\nb", None, 4, '{"score": null, "url": null}'),
    (6, 2, MAX, -INF, "en-GB", "ΟΔΟΣ", True, 5, '{"score": -1e2, "url": ""}'),
    (7, 1, -MAX - 1, 1e300, "日本", "naïve café", False, 6, '{"ok": true, "deep": {"a": 1}}'),
    (8, 3, 3, 3.0, "En", "\\back\\slash", True, 7, '{"ok": false, "deep": {"a": "x"}}'),
    (9, 2, 2, 2.9999999999999996, "zz", "👍🏽 ok", None, 8, '{"score": 3, "score": 9}'),
    (10, 5, -5, 0.1, "a%b", "%", True, 9, "not json"),
    (11, 4, 100, 1e-320, "a_b", "_", False, None, '{"score": 3'),
    (12, 3, -100, -2.5, "É", "résumé", True, -1, '[1, 2]'),
    (13, 1, 1, 0.30000000000000004, "é", "Résumé", None, 0, '{"url": "a\\u00e9\\n\\"q\\""}'),
    (14, 0, None, NAN, " en ", " 3.5 ", False, 1, '{"score": 0.1, "url": "en", "ok": 1}'),
    (15, None, 7, None, "12", "-7", None, 2, '{"score": 9007199254740993}'),
]
COLUMNS = ["id", "n", "i", "f", "s", "t", "b", "a b", "metadata"]
TYPES = ["BIGINT", "BIGINT", "BIGINT", "DOUBLE", "VARCHAR", "VARCHAR", "BOOLEAN", "BIGINT", "VARCHAR"]


def field(path, types, cast=None):
    # DuckDB fails on malformed JSON, and finds nothing in what is no object.
    kinds = ", ".join(f"'{kind}'" for kind in types)
    # The last of equal keys counts for us, the first for DuckDB: such rows are named below.
    text = "CASE WHEN json_valid(metadata) THEN metadata END"
    value = f"json_extract_string({text}, '$.{path}')"
    value = f"TRY_CAST({value} AS {cast})" if cast else value
    return f"(CASE WHEN json_type({text}, '$.{path}') IN ({kinds}) THEN {value} END)"


def number(path):
    return field(path, ["BIGINT", "UBIGINT", "DOUBLE"], "DOUBLE")


def text(path):
    return field(path, ["VARCHAR"])


def boolean(path):
    return field(path, ["BOOLEAN"], "BOOLEAN")


def any_of(path, cast=None):
    return field(path, ["BIGINT", "UBIGINT", "DOUBLE", "VARCHAR", "BOOLEAN"], cast)


PLAIN = """
n >= 3 AND s = 'en'
n >= 3 | n > 3 | n < 3 | n <= 3 | n = 3 | n <> 3 | n != 3 | NOT n = 3 | 3 <= n | NOT (n < 3)
f >= 3 | f > 3 | f < 3 | f <= 3 | f = 3 | f <> 3 | NOT (f < 3) | NOT (f >= 3) | f = f | f <> f
f = 0 | f = -0.0 | f < 0 | f > 0 | f >= 1e300 | f <= -1e300 | f = 3.0 | f > 2.999999999999 | -f > 0
i = 9007199254740993 | i = 9007199254740992 | i > 9007199254740992 | i < 9007199254740993
i >= 9223372036854775807 | i = -9223372036854775808 | i <= -9223372036854775807 | i < 0 | -n > 0
i = CAST(9007199254740993 AS DOUBLE) | i > f | i = f | f < i | n = i | n <> i | n < "a b"
i IN (3, 5, 9007199254740993) | i NOT IN (3, 5, 9007199254740993) | n IN (3, NULL)
n NOT IN (3, NULL) | f IN (0, 3, 0.1) | f NOT IN (0, 3) | s IN ('en', 'de', '') | s NOT IN ('en')
s IN ('en', NULL) | s IN ('EN') OR n IN (1, 2) | n IN (i, 3) | n NOT IN (i, "a b") | b IN (TRUE)
s = 'en' | s <> 'en' | s < 'en' | s <= 'en' | s > 'en' | s >= 'en' | s = '' | s > '' | s = 'É'
s > 'é' | s < t | s = lower(s) | lower(t) = 'résumé' | lower(t) = 'straße' | lower(s) = 'en'
s LIKE 'en' | s LIKE 'en%' | s LIKE '%n' | s LIKE '%n%' | s LIKE '_' | s LIKE '__' | s LIKE '%'
s LIKE '' | s NOT LIKE 'en%' | NOT s LIKE 'en%' | t LIKE '%o%o%' | t LIKE 'a_b' | t LIKE 'T%x'
t LIKE '%50\\%%' | t LIKE '%50!%%' ESCAPE '!' | s LIKE 'a!_b' ESCAPE '!' | s LIKE 'a_b'
s LIKE 'a%b' | t LIKE '!%' ESCAPE '!' | t LIKE '%$_%' ESCAPE '$' | t LIKE '%\\%' | t LIKE '\\%'
t LIKE '__ ok' | t LIKE '%é' | t LIKE '%%e%%' | t NOT LIKE '%_%'
s ILIKE 'EN' | s ILIKE 'e%' | s NOT ILIKE 'e%' | t ILIKE '%QUICK%' | t ILIKE '%É%' | t ILIKE 'RÉSUMÉ'
t ILIKE '%caf_' | t ILIKE 'stra_e' | s ILIKE 'é'
n IS NULL | n IS NOT NULL | f IS NULL | f IS NOT NULL | s IS NULL | b IS NULL | (n > 3) IS NULL
b | NOT b | b = TRUE | b <> TRUE | b IS TRUE | b IS FALSE | b IS NOT TRUE | b IS NOT FALSE
(f > 0) IS TRUE | (f > 0) IS NOT TRUE | (f > 0) IS FALSE | NOT ((f > 0) IS TRUE)
b AND n > 2 | b OR n > 2 | NOT (b AND n > 2) | NOT (b OR n > 2) | b AND f > 0 | b OR f > 0
b AND NULL | b OR NULL | NOT NULL | n = NULL | n <> NULL | TRUE | FALSE | 1 < 2 | 'a' = 'b' AND b
n > 1 AND n < 4 AND b OR s = 'fr' | (n > 1 OR b) AND (f < 1 OR s LIKE 'e%') | NOT NOT b
n BETWEEN 1 AND 3 | n NOT BETWEEN 1 AND 3 | f BETWEEN -1 AND 1 | f NOT BETWEEN -1 AND 1
s BETWEEN 'a' AND 'f' | n BETWEEN 3 AND 1 | n BETWEEN NULL AND 3 | n NOT BETWEEN NULL AND 3
n BETWEEN 0 AND "a b" | 3 BETWEEN n AND "a b"
n + 1 = 4 | n - "a b" > 0 | n * 2 >= 8 | n * n - 1 > 3 | n / 2 = 1.5 | f * 2 > 5
f + 1 > f | i % 2 = 0 | i % 2 = -1 | i % 7 = 0 | -n < -2 | - (n + 1) < -4 | f / 2 < 1 | n + f > 3
2 * n + 1 > 3 * "a b" | +n = 3
length(s) = 2 | length(t) > 5 | length(t) = 0 | length(lower(t)) = 4 | abs(n) = 1 | abs(f) = 2.5
abs(f) > 1e299 | length(s) + length(t) > 10 | length(t) / 2 > 3
starts_with(t, 'R') | ends_with(t, 'é') | contains(t, 'o') | contains(t, '%') | starts_with(t, s)
contains(t, '') | NOT contains(t, 'o') | contains('den', s) | starts_with(s, 'en') AND n > 2
coalesce(n, 0) = 0 | coalesce(f, i, 1) > 1 | coalesce(s, 'en') = 'en' | coalesce(n, f) >= 3
n IS DISTINCT FROM 3 | n IS NOT DISTINCT FROM NULL | f IS DISTINCT FROM 0 | s IS NOT DISTINCT FROM t
CAST(n AS VARCHAR) = '3' | CAST(b AS VARCHAR) = 'true' | CAST(n AS DOUBLE) / 2 = 1.5
CAST(b AS BIGINT) = 1 | CAST(f AS VARCHAR) = '2.5' | CAST(n AS VARCHAR) LIKE '%1'
"a b" > 2 | "a b" = n | N > 2 | "N" > 2 | "id" < 4 | id % 2 = 1 AND "A B" > 3
"""

# ours, DuckDB's
PAIRS = [
    ("f / n > 0", "f / nullif(n, 0) > 0"),
    ("n / 0 = 1", "n / nullif(0, 0) = 1"),
    ("i % n = 0", "i % nullif(n, 0) = 0"),
    ("f % n < 1", "CASE WHEN isfinite(f) THEN f % nullif(n, 0) END < 1"),
    ("f % 2 = 0.5", "CASE WHEN isfinite(f) THEN f % 2 END = 0.5"),
    ("f - f = 0", "CASE WHEN isfinite(f) THEN f - f END = 0"),
    ("octet_length(t) > length(t)", "strlen(t) > length(t)"),
    ("octet_length(s) = 2", "strlen(s) = 2"),
    ("regexp_like(t, '^[A-Z]')", "regexp_matches(t, '^[A-Z]')"),
    ("regexp_matches(t, 'o|é')", "regexp_matches(t, 'o|é')"),
    ("NOT regexp_like(s, '^e')", "NOT regexp_matches(s, '^e')"),
    ("regexp_like(t, '(?i)résumé')", "regexp_matches(t, '(?i)résumé')"),
    ("CAST(s AS DOUBLE) > 3", "TRY_CAST(s AS DOUBLE) > 3"),
    ("CAST(t AS DOUBLE) IS NOT NULL", "TRY_CAST(t AS DOUBLE) IS NOT NULL"),
    ("CAST(t AS BIGINT) < 0", "TRY_CAST(t AS BIGINT) < 0"),
    ("CAST(f AS BIGINT) = 3", "TRY_CAST(f AS BIGINT) = 3"),
    ("CAST(f AS BIGINT) = 2", "TRY_CAST(f AS BIGINT) = 2"),
    ("CAST(f AS BIGINT) IS NULL", "TRY_CAST(f AS BIGINT) IS NULL"),
    ("TRY_CAST(f * 3 AS BIGINT) > 0", "TRY_CAST(f * 3 AS BIGINT) > 0"),
    ("b IS UNKNOWN", "b IS NULL"),
    ("(f > 0) IS NOT UNKNOWN", "(f > 0) IS NOT NULL"),
    ("metadata.score >= 3", f"{number('score')} >= 3"),
    ("NOT (metadata.score >= 3)", f"NOT ({number('score')} >= 3)"),
    ("metadata.score < 3", f"{number('score')} < 3"),
    ("metadata.score = '3'", f"{text('score')} = '3'"),
    ("metadata.score = 0.1", f"{number('score')} = 0.1::DOUBLE"),
    ("metadata.score BETWEEN 0 AND 3", f"{number('score')} BETWEEN 0 AND 3"),
    ("metadata.score IN (3, 2.5)", f"{number('score')} IN (3, 2.5)"),
    ("metadata.score IS NULL", f"{any_of('score')} IS NULL"),
    ("metadata.score IS NOT NULL", f"{any_of('score')} IS NOT NULL"),
    ("metadata.score + 1 > n", f"{number('score')} + 1 > n"),
    ("metadata.score >= 3 OR metadata.score < 3", f"{number('score')} IS NOT NULL OR NULL"),
    ("CAST(metadata.score AS DOUBLE) >= 3", f"{any_of('score', 'DOUBLE')} >= 3"),
    ("CAST(metadata.score AS VARCHAR) = '3'", f"{any_of('score')} = '3'"),
    ("CAST(metadata.score AS BIGINT) = 9007199254740993", f"{any_of('score', 'BIGINT')} = 9007199254740993"),
    ("metadata.url = 'en'", f"{text('url')} = 'en'"),
    ("metadata.url = s", f"{text('url')} = s"),
    ("metadata.url LIKE 'http://%'", f"{text('url')} LIKE 'http://%'"),
    ("metadata.url ILIKE '%Ü'", f"{text('url')} ILIKE '%Ü'"),
    ("metadata.url <> ''", f"{text('url')} <> ''"),
    ("length(metadata.url) = 7", f"length({text('url')}) = 7"),
    ("contains(metadata.url, '\"')", f"contains({text('url')}, '\"')"),
    ("metadata.ok", boolean("ok")),
    ("NOT metadata.ok", f"NOT {boolean('ok')}"),
    ("metadata.ok IS NOT TRUE", f"{boolean('ok')} IS NOT TRUE"),
    ("metadata.ok = FALSE", f"{boolean('ok')} = FALSE"),
    ("metadata.deep.a = 1", f"{number('deep.a')} = 1"),
    ("metadata.deep.a = 'x'", f"{text('deep.a')} = 'x'"),
    ("metadata.deep.a IS NULL AND metadata.deep IS NOT NULL", "FALSE"),
    ("metadata.Score >= 3", "NULL::BOOLEAN"),
    ("metadata.url LIKE 'http%' AND metadata.score > 2.5 AND n = 3",
     f"{text('url')} LIKE 'http%' AND {number('score')} > 2.5 AND n = 3"),
    ("coalesce(metadata.score, 0) < 1", f"coalesce({number('score')}, 0) < 1"),
]
# The row with two equal keys: the last counts for us, the first for DuckDB.
TWICE = 9


def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def main():
    connection = duckdb.connect()
    names = ", ".join(f'"{name}" {kind}' for name, kind in zip(COLUMNS, TYPES))
    connection.execute(f"CREATE TABLE raw ({names})")
    rows = []
    for row in ROWS:
        row = list(row)
        if row[0] == TWICE:
            row[8] = '{"score": 9}'
        rows.append(row)
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(f"INSERT INTO raw VALUES ({marks})", rows)
    connection.execute(
        "CREATE VIEW documents AS "
        "SELECT * REPLACE (CASE WHEN isnan(f) THEN NULL ELSE f END AS f) FROM raw"
    )
    conditions = []
    for line in PLAIN.strip().splitlines():
        conditions += [(one.strip(), one.strip()) for one in line.replace("\\\\", "\\").split(" | ")]
    conditions += PAIRS
    lines = [json.dumps({name: [plain(row[at]) for row in ROWS] for at, name in enumerate(COLUMNS)})]
    for ours, theirs in conditions:
        found = connection.execute(f"SELECT ({theirs})::BOOLEAN FROM documents ORDER BY id").fetchall()
        verdicts = "".join({True: "T", False: "F", None: "U"}[value] for (value,) in found)
        lines.append(json.dumps({"where": ours, "verdicts": verdicts}, ensure_ascii=False))
    home = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "source"
    (home / "predicates.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(len(conditions), "conditions")


main()
