#!/usr/bin/env bash
# Runs benches and keeps what they print, with the machine, the commit, the compiler and the command,
# as benches/results/DATE-MACHINE.md:
#
#     benches/keep.sh filter read          these benches; all that need no arguments, without a name
#
# MACHINE is the processor's model, or what DATAPREP_MACHINE says. Run it on a machine with nothing
# else to do: the file says the load before and after.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
benches=("$@")
[[ $# -gt 0 ]] || benches=(read filter train_step)

model="$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -1)"
model="${model:-$(sysctl -n machdep.cpu.brand_string 2>/dev/null || uname -m)}"
machine="${DATAPREP_MACHINE:-$(tr -cs 'A-Za-z0-9' '-' <<<"$model" | sed 's/^-*//; s/-*$//')}"
file="benches/results/$(date -u +%F)-$machine.md"
changed="$(git status --porcelain -- src benches Cargo.toml Cargo.lock)"

head_of_file() {
    echo "# Benches of $(date -u +%F) on $machine"
    echo
    echo "- machine: $model, $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)"
    echo "- commit: $(git rev-parse --short=12 HEAD)${changed:+, with changes}"
    echo "- compiler: $(rustc --version), release profile of Cargo.toml"
    echo "- load before: $(cut -d' ' -f1-3 /proc/loadavg)"
}

mkdir -p benches/results
written="$(mktemp)"
trap 'rm -f "$written"' EXIT
head_of_file > "$written"
for bench in "${benches[@]}"; do
    cargo bench --quiet --bench "$bench" --no-run
    printf '\n## %s\n\n`cargo bench --bench %s`\n\n```text\n' "$bench" "$bench" >> "$written"
    cargo bench --quiet --bench "$bench" 2>/dev/null | tee -a "$written"
    echo '```' >> "$written"
done
printf '\nLoad after: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)" >> "$written"
cp "$written" "$file"
echo "kept in $file"
