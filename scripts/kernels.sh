#!/usr/bin/env bash
# Compiles kernels/*.cu for every GPU that is supported, which needs no GPU, and keeps what the
# compiler says of them:
#
#     scripts/kernels.sh check    fails where a kernel spills registers to memory, or where
#                                 kernels/registers.txt is not what the compiler says now
#     scripts/kernels.sh write    writes kernels/registers.txt
#
# One compressed fatbin a file: machine code for A100 (80), RTX 3090 (86), RTX 4090 (89), H100 and
# H200 (90a), RTX 5090 (120), and PTX of 80 for GPUs to come. About 2 minutes of one core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

action="${1:-}"
[[ "$action" == check || "$action" == write ]] || { echo "usage: $0 check|write" >&2; exit 2; }
nvcc="$(scripts/cuda-toolkit.sh)/bin/nvcc"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

targets=(80 86 89 90a 120)
code=()
for target in "${targets[@]}"; do code+=("-gencode=arch=compute_$target,code=sm_$target"); done
code+=("-gencode=arch=compute_80,code=compute_80")

for file in kernels/*.cu; do
    name="$(basename "$file" .cu)"
    "$nvcc" -std=c++17 -O3 -fatbin -Xfatbin -compress-all --threads 2 "${code[@]}" \
        -Xptxas -v,-warn-spills -o "$work/$name.fatbin" "$file" 2>"$work/$name.log" ||
        { cat "$work/$name.log" >&2; exit 1; }
done

python3 - "$work" "${targets[@]}" >"$work/registers.txt" <<'PYTHON'
"""The table of registers by kernel and target, from what ptxas says."""
import pathlib
import re
import sys

work, targets = pathlib.Path(sys.argv[1]), sys.argv[2:]
registers, bytes_spilled = {}, []
for log in sorted(work.glob("*.log")):
    kernel = target = None
    for line in log.read_text().splitlines():
        if found := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            kernel, target = found.groups()
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            if found.group(2) != "0":
                bytes_spilled.append(f"{kernel} for sm_{target}: {found.group(2)} bytes")
        elif found := re.search(r"Used (\d+) registers", line):
            registers[kernel, target] = found.group(1)
if bytes_spilled:
    sys.exit("registers spilled to memory:\n" + "\n".join(bytes_spilled))
print("# Registers a thread, by ptxas of CUDA 13.0: written by scripts/kernels.sh, never by hand.")
print(f"{'kernel':<24}" + "".join(f"{'sm_' + target:>8}" for target in targets))
for kernel in sorted({kernel for kernel, _ in registers}):
    row = "".join(f"{registers[kernel, target]:>8}" for target in targets)
    print(f"{kernel:<24}{row}")
PYTHON

if [[ "$action" == write ]]; then
    cp "$work/registers.txt" kernels/registers.txt
elif ! diff -u kernels/registers.txt "$work/registers.txt"; then
    echo "kernels/registers.txt is old: see what changed, then scripts/kernels.sh write" >&2
    exit 1
fi
du -bc "$work"/*.fatbin | tail -1 | awk '{print "fatbins: " $1 " bytes"}'
