"""Writes tlds.rs: the names of DCLM's list of top-level domains.

  python3 make_tables.py CHECKOUT      # of github.com/mlfoundations/dclm at 361714b

The list is IANA's root zone as DCLM keeps it (`baselines/mappers/iana_tlds.txt`): one name a line in lower case, some with a
left-to-right mark at their end, which is kept, because DCLM's pattern has it too.
"""
import pathlib
import sys

source = pathlib.Path(sys.argv[1]) / "baselines/mappers/iana_tlds.txt"
HEAD = """//! Top-level domains as DCLM's own list has them (IANA's root zone, `baselines/mappers/
//! iana_tlds.txt` at commit 361714b): written by a script, never by hand; sorted by bytes.

/// The names.
pub const TLDS: &[&str] = &[
"""
names = sorted(set(source.read_text(encoding="utf-8").split("\n")) - {""}, key=str.encode)
lines, line = [], "   "
for name in names:
    if len(line) + len(name) + 4 > 96:
        lines.append(line)
        line = "   "
    line += f' "{name}",'
(pathlib.Path(__file__).parent / "tlds.rs").write_text(HEAD + "\n".join([*lines, line]) + "\n];\n", encoding="utf-8")
