#!/usr/bin/env bash
# Measures training on a GPU, in one command that needs neither Rust nor a network there:
#
#     tests/gpu/check.sh pack          here: makes .gpu/, below 60 MiB to copy
#     .gpu/check.sh run                there: below 590 s; the table is .gpu/out/table.md
#
# `run` takes, each under its own limit and kept in out/result.jsonl as it comes: versions and what
# the GPU reaches in a copy and a product; conformance of every operation; memcheck; tokens a second
# and memory at 35M, 124M and 500M against the ceilings of `dataprep doctor`; 200 steps on real
# text, killed at 100 and continued, whose checkpoint must have the bytes of a run that never
# stopped; the losses of the same run in PyTorch; the PyTorch baseline, compiled and eager. Without a
# GPU it says "skipped". It fails where a step fails, after the table. Where the environment's OUT is
# a folder, four files there have after each step what is to be kept: result.jsonl, baseline.jsonl,
# logs.tar.gz and at last table.md.
#
#     --device cpu --tiny              both halves on the CPU with a tiny model, in under a minute:
#                                      what proves this script
#     --no-torch                       without the steps that PyTorch takes
#     --out DIR                        the folder of pack [default: .gpu], or of run's results
#
# DATAPREP_BINARY: a binary to pack instead of building one. PYTHON: whose torch is measured.
# The baseline is bench/baseline_torch.py of DATAPREP_SHARED [default: ../shared], packed if there.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

device=cuda tiny=0 torch=1 out="" action="${1:-}"
[[ $# -gt 0 ]] && shift
arguments=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        --device) device="$2"; shift 2 ;;
        --tiny) tiny=1; shift ;;
        --no-torch) torch=0; shift ;;
        --out) out="$2"; shift 2 ;;
        *) arguments+=("$1"); shift ;;
    esac
done
usage() { echo "usage: $0 pack|run [--device cpu --tiny] [--out DIR]" >&2; exit 2; }
[[ "$device" == cuda || "$device" == cpu ]] || usage
python="${PYTHON:-python3}"

# What is measured, and how long: at full size, then tiny.
sizes=(35m 124m 500m) vocabularies=(16384 50304 32768) sequences=(1024 1024 2048)
speed_tokens=1500000 speed_steps=20 step_tokens=65536 steps=200 baseline_sizes="35m,124m,500m"
text_vocabulary=4096 text_tokens=3300k
if [[ $tiny == 1 ]]; then
    sizes=(tiny) vocabularies=(512) sequences=(64)
    speed_tokens=20000 speed_steps=8 step_tokens=256 steps=16 baseline_sizes=tiny
    text_vocabulary=512 text_tokens=all
fi

# ---------------------------------------------------------------- pack

# The binary and the library's tests, without symbols.
binaries() {
    local features=() binary="${DATAPREP_BINARY:-}" tests=""
    if [[ "$device" == cuda ]]; then
        features=(--features cuda)
        CUDA_HOME="$(scripts/cuda-toolkit.sh)"
        export CUDA_HOME
    fi
    if [[ -z "$binary" ]]; then
        cargo build --release "${features[@]}"
        binary="${CARGO_TARGET_DIR:-target}/release/dataprep"
    fi
    if [[ $tiny == 0 ]]; then
        tests="$(cargo test --release --lib --no-run --message-format=json "${features[@]}" |
            sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)"
        install_stripped "$tests" "$1/tests"
        if readelf -d "$binary" | grep NEEDED | grep -Eq 'cuda|cublas|nvrtc|curand'; then
            echo "$0: $binary needs a CUDA library to start:" >&2
            readelf -d "$binary" | grep NEEDED >&2
            return 1
        fi
    fi
    install_stripped "$binary" "$1/dataprep"
}
install_stripped() { # one file, compressed: two of these are most of the pack
    local level=6
    [[ $tiny == 0 ]] || level=0
    cp "$1" "$2"
    strip "$2"
    "$python" -c 'import lzma, shutil, sys
shutil.copyfileobj(open(sys.argv[1], "rb"), lzma.open(sys.argv[1] + ".xz", "wb", preset=int(sys.argv[2])))' \
        "$2" $level
    rm "$2"
}
unpacked() { # FILE.xz → FILE, to be run
    "$python" -c 'import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1] + ".xz"), open(sys.argv[2], "wb"))' "$1" "$2"
    chmod +x "$2"
}

# Real text for the run that is killed, random tokens of each vocabulary for speed.
shards() {
    local to="$1" binary="$2" text=() vocabulary source
    for source in openstax us-gov-web wikipedia techdocs; do
        text+=("$source=fixtures/corpora/$source")
    done
    [[ $tiny == 0 ]] || text=("wikipedia=fixtures/corpora/wikipedia")
    "$binary" tokenize "${text[@]}" --vocab $text_vocabulary --out "$to/data/text" -q
    "$binary" mix "text=$to/data/text:1" --out "$to/data/mix" --tokens $text_tokens -q
    for vocabulary in "${vocabularies[@]}"; do
        "$python" tests/gpu/random_tokens.py "$vocabulary" $speed_tokens "$to/work/$vocabulary"
        "$binary" import --from nanogpt --tokenizer "$to/work/$vocabulary/tokenizer.json" \
            "$to/work/$vocabulary/train.bin" --out "$to/data/shards-$vocabulary" --set holdout=0 -q
        "$binary" mix "random=$to/data/shards-$vocabulary:1" --out "$to/data/mix-$vocabulary" \
            --tokens all -qq
    done
    rm -rf "$to/work"
}

# The shape of the run on real text: heads of 64, for which there are kernels; small enough for its
# twin in fp32, with GPT-2's schedule.
configs() {
    local to="$1" width=512 layers=8 batch=16384 sequence=1024 size
    [[ $tiny == 0 ]] || { width=128 layers=2 batch=256 sequence=64; }
    mkdir -p "$to/configs"
    for size in "${sizes[@]}"; do
        [[ ! -f "configs/model/$size.toml" ]] || cp "configs/model/$size.toml" "$to/configs/"
    done
    cat >"$to/configs/real.toml" <<TOML
[model]
d_model = $width
n_layer = $layers
n_head = $((width / 64))
n_kv_head = $((width / 64))
d_ff = $((width * 11 / 4))

[train]
steps = $steps
batch_tokens = $batch
micro_batch = $((batch / sequence))
sequence = $sequence
learning_rate = 6e-4
warmup_steps = $((steps / 5))
checkpoint_every = $((steps / 2))
eval_every = 0
sample_every = 0
TOML
    [[ $tiny == 0 ]] || sed '/\[train\]/,$d' "$to/configs/real.toml" >"$to/configs/tiny.toml"
}

pack() {
    local to="${out:-.gpu}" baseline binary bytes
    cd "$here/../.."
    rm -rf "$to"
    mkdir -p "$to/work"
    to="$(cd "$to" && pwd)"
    binaries "$to"
    binary="$to/work/dataprep"
    unpacked "$to/dataprep" "$binary"
    shards "$to" "$binary"
    configs "$to"
    cp "$here"/{check.sh,ceilings.py,twin.py,table.py} "$to/"
    baseline="${DATAPREP_SHARED:-../shared}/bench/baseline_torch.py"
    [[ ! -f "$baseline" ]] || cp "$baseline" "$to/"
    git rev-parse --short=12 HEAD >"$to/commit" 2>/dev/null || echo unknown >"$to/commit"
    bytes="$(du -sb "$to" | cut -f1)"
    echo "packed $to: $((bytes / 1048576)) MiB"
    [[ $bytes -lt $((60 * 1048576)) ]] || { echo "$0: more than 60 MiB" >&2; return 1; }
}

# ---------------------------------------------------------------- run

record() { "$python" -c 'import json, sys
pairs = (pair.split("=", 1) for pair in sys.argv[1:])
number = lambda text: json.loads(text) if text.replace(".", "", 1).isdigit() else text
print(json.dumps({key: number(value) for key, value in pairs}))' "$@" >>"$out/result.jsonl"; }

# The most memory that the GPU has held while a command ran, sampled five times a second.
watch_memory() {
    [[ "$device" == cuda ]] || return 0
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$1" 2>&1 &
    watcher=$!
}
peak_mib() {
    [[ "$device" == cuda ]] || { echo 0; return; }
    kill "$watcher" 2>/dev/null || true
    sort -n "$1" | tail -1
}

versions() {
    # First what later steps read, then what may fail.
    if [[ "$device" == cuda ]]; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader |
            tee "$out/gpu.txt"
    else
        uname -sm >"$out/gpu.txt"
    fi
    record step=versions "gpu=$(head -1 "$out/gpu.txt")" "commit=$(cat "$here/commit")"
    "$dataprep" doctor | tee "$out/doctor.txt"
}

has_torch() { [[ $torch == 1 ]] && "$python" -c 'import torch' 2>/dev/null; }

ceilings() {
    has_torch || { echo "no torch in $python, or not asked for"; return 77; }
    local flags=()
    [[ $tiny == 0 ]] || flags=(--tiny)
    "$python" "$here/ceilings.py" "$device" "${flags[@]}" | tee -a "$out/result.jsonl"
}

# Runs the library's tests of a name, maybe under a command; there must be some.
tests_of() {
    local filter="$1" name="$2" passed
    shift 2
    [[ -x "$here/tests" ]] || { echo "no tests are packed"; return 77; }
    "$@" "$here/tests" "$filter" --test-threads=1 --nocapture 2>&1 | tee "$out/$name.txt"
    passed="$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' "$out/$name.txt")"
    [[ "${passed:-0}" -gt 0 ]] || { echo "no test is called $filter"; return 1; }
    ! grep -o 'skipped: .*' "$out/$name.txt" || return 77
    record "step=$name" "passed=$passed"
}
conformance() { tests_of cuda::conformance::on_a_gpu conformance; }
memcheck() {
    command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer"; return 77; }
    tests_of cuda::conformance::on_a_gpu::ops memcheck \
        compute-sanitizer --tool memcheck --error-exitcode 9
}

# The name that `doctor --on` knows this GPU by: those whose figures it has, and no relative of them.
gpu_name() {
    case "$(head -1 "$out/gpu.txt" 2>/dev/null | cut -d, -f1)" in
        "NVIDIA H200") echo h200 ;;
        "NVIDIA H100 80GB HBM3") echo h100 ;;
        "NVIDIA A100-SXM4-80GB") echo a100 ;;
        "NVIDIA GeForce RTX 5090") echo 5090 ;;
        "NVIDIA GeForce RTX 4090") echo 4090 ;;
        "NVIDIA GeForce RTX 3090") echo 3090 ;;
        "NVIDIA GeForce RTX 4070") echo 4070 ;;
        *) echo unknown ;;
    esac
}

# One size: random tokens, no checkpoint; the process is ended when it has taken its steps.
speed() {
    local size="$1" vocabulary="$2" sequence="$3" run="$out/speed-$1" plan="$out/plan-$1.json"
    local rows=4 count process gpu on
    gpu="$(gpu_name)" on="$gpu"
    [[ "$gpu" != unknown ]] || on=4070 # the rows that fit the least memory; no ceiling is shown
    "$dataprep" doctor --model "$here/configs/$size.toml" --vocab "$vocabulary" \
        --sequence "$sequence" --on "$on" --json >"$plan"
    "$dataprep" doctor --model "$here/configs/$size.toml" --vocab "$vocabulary" \
        --sequence "$sequence" --on "$on" >"$out/plan-$size.txt"
    [[ $tiny == 1 ]] || rows="$(sed -n 's/.*"rows":\([0-9]*\),"sequence".*/\1/p' "$plan" | head -1)"
    watch_memory "$out/memory-$size.txt"
    "$dataprep" train --data "$here/data/mix-$vocabulary" --config "$here/configs/$size.toml" \
        --set "train.steps=$((speed_tokens / step_tokens))" --set "train.batch_tokens=$step_tokens" \
        --set "train.micro_batch=$rows" --set "train.sequence=$sequence" \
        --set train.eval_every=0 --set train.sample_every=0 --set train.checkpoint_every=1000000 \
        --device "$device" --out "$run" --json -q >"$out/speed-$size.txt" 2>&1 &
    process=$!
    while kill -0 $process 2>/dev/null; do
        count="$(wc -l 2>/dev/null <"$run/timing.jsonl" || echo 0)"
        [[ $count -lt $speed_steps ]] || break
        sleep 0.2
    done
    kill -9 $process 2>/dev/null || true
    wait $process 2>/dev/null || true
    "$python" "$here/table.py" speed "$run" "$plan" "$size" "$(peak_mib "$out/memory-$size.txt")" \
        "$gpu" >>"$out/result.jsonl" || { tail -5 "$out/speed-$size.txt"; return 1; }
    rm -rf "$run"
}

# Killed behind the first checkpoint and continued by the same command: the same bytes.
resume() {
    local whole="$out/whole" cut="$out/cut" half last process file attempt equal=true
    half="$(printf 'checkpoints/step-%06d' $((steps / 2)))"
    last="$(printf 'checkpoints/step-%06d' "$steps")"
    "${on_text[@]}" --out "$whole"
    for attempt in 1 2 3; do # a fast machine may be over before it can be killed
        rm -rf "$cut"
        "${on_text[@]}" --out "$cut" &
        process=$!
        while kill -0 $process 2>/dev/null && [[ ! -d "$cut/$half" ]]; do sleep 0.01; done
        kill -9 $process 2>/dev/null || true
        wait $process 2>/dev/null || true
        [[ -d "$cut/$last" ]] || break
        [[ $attempt -lt 3 ]] || { echo "it is over before it can be killed"; return 1; }
    done
    "${on_text[@]}" --out "$cut"
    for file in model.safetensors optimizer.safetensors; do
        (cd "$whole/$last" && sha256sum "$file") | tee "$out/whole-$file.txt"
        (cd "$cut/$last" && sha256sum "$file") | tee "$out/cut-$file.txt"
        cmp -s "$out/whole-$file.txt" "$out/cut-$file.txt" || equal=false
    done
    record step=resume "steps=$steps" "killed_at=$((steps / 2))" "equal=$equal" \
        "parameters=$(cut -c1-16 "$out/whole-model.safetensors.txt")"
    [[ $equal == true ]]
}

twin() {
    has_torch || { echo "no torch in $python, or not asked for"; return 77; }
    [[ -d "$out/whole" ]] || { echo "the run on real text is missing"; return 1; }
    "${on_text[@]}" --out "$out/begin" --stop-after 0
    "$dataprep" export "$here/data/mix" --to nanogpt --out "$out/tokens" -q
    "$python" "$here/twin.py" "$out/begin" "$out/tokens/train.bin" "$out/whole" "$steps" "$device" |
        tee -a "$out/result.jsonl"
}

baseline() {
    local mode="$1" seconds="$2"
    has_torch || { echo "no torch in $python, or not asked for"; return 77; }
    [[ -f "$here/baseline_torch.py" ]] || { echo "the baseline is not packed"; return 77; }
    TORCHINDUCTOR_CACHE_DIR="$out/inductor" "$python" "$here/baseline_torch.py" \
        --sizes "$baseline_sizes" --modes "$mode" --device "$device" --seconds 5 \
        --budget "$((seconds * 2 / 3))" --out "$out/baseline.jsonl"
}

# step NAME SECONDS COMMAND…: this script again under a limit, within what is left of all.
step() {
    local name="$1" limit="$2" start=$SECONDS status=0 left=$((deadline - SECONDS)) what
    shift 2
    [[ $tiny == 0 ]] || limit=$((4 * limit)) # a machine that does other things too
    if [[ $left -lt 5 ]]; then
        record step=status "name=$name" "status=not started: the time is over" seconds=0
        failed+=("$name")
        return
    fi
    [[ $limit -lt $left ]] || limit=$left
    echo "=== $name ($limit s)"
    local flags=(--device "$device" --out "$out")
    [[ $tiny == 0 ]] || flags+=(--tiny)
    [[ $torch == 1 ]] || flags+=(--no-torch)
    # KILL, to all that it has started: at TERM a run would still write its checkpoint, beside the
    # next step.
    timeout -s KILL "$limit" bash "$here/check.sh" step "${flags[@]}" "$@" 2>&1 |
        tee "$out/$name.log" || status=$?
    case $status in
        0) what=passed ;;
        77) what="skipped: $(tail -1 "$out/$name.log")" ;;
        124 | 137) what="over its $limit s" failed+=("$name") ;;
        *) what="failed: $(tail -1 "$out/$name.log")" failed+=("$name") ;;
    esac
    echo "=== $name: $what"
    record step=status "name=$name" "status=$what" "seconds=$((SECONDS - start))"
    keep
}

# What is to be had of a machine that is given back, also where this script is cut off.
keep() {
    [[ -d "${OUT:-}" ]] || return 0
    local file
    for file in result.jsonl baseline.jsonl table.md; do
        [[ ! -f "$out/$file" ]] || cp "$out/$file" "$OUT/"
    done
    (cd "$out" && tar -czf "$OUT/logs.tar.gz" -- *.log *.txt) 2>/dev/null || true
}

# The binary, unpacked; torch's CUDA libraries, so that both sides multiply with the same ones.
prepare() {
    local name
    for name in dataprep tests; do
        [[ ! -f "$here/$name.xz" || -x "$here/$name" ]] || unpacked "$here/$name" "$here/$name"
    done
    dataprep="$here/dataprep"
    # The run on real text; where it goes is still to be said.
    on_text=("$dataprep" train --data "$here/data/mix" --config "$here/configs/real.toml"
        --device "$device" -q)
    if [[ "$device" == cpu ]]; then
        export OMP_NUM_THREADS=1 # torch's threads wait for each other by spinning, which a test shares
        return
    fi
    local wheels
    wheels="$("$python" -c 'import nvidia, os
print(os.path.join(list(nvidia.__path__)[0], "cu13", "lib"))' 2>/dev/null || true)"
    export LD_LIBRARY_PATH="${wheels:+$wheels:}${LD_LIBRARY_PATH:-}"
}

has_gpu() { [[ "$device" == cpu ]] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; }

run() {
    local at
    if ! has_gpu; then
        echo "skipped: no NVIDIA GPU answers to nvidia-smi"
        return
    fi
    if [[ ! -f "$here/commit" ]]; then
        echo "$0: this is not a packed folder: \`tests/gpu/check.sh pack\` makes one" >&2
        return 2
    fi
    out="${out:-$here/out}"
    rm -rf "$out"
    mkdir -p "$out"
    out="$(cd "$out" && pwd)"
    : >"$out/result.jsonl"
    deadline=575 failed=() # seconds since this script began, unpacking among them
    step versions 20 versions
    step ceilings 20 ceilings
    step conformance 70 conformance
    step memcheck 45 memcheck
    for at in "${!sizes[@]}"; do
        step "speed ${sizes[$at]}" 60 speed "${sizes[$at]}" "${vocabularies[$at]}" "${sequences[$at]}"
    done
    step resume 90 resume
    step twin 60 twin
    [[ $tiny == 1 ]] || step "baseline compiled" 160 baseline compile 160
    step "baseline eager" 80 baseline eager 80
    rm -rf "$out"/{whole,cut,begin,tokens}
    "$python" "$here/table.py" table "$out" | tee "$out/table.md"
    keep
    [[ ${#failed[@]} -eq 0 ]] || { echo "failed: ${failed[*]}" >&2; return 1; }
}

case "$action" in
    pack) pack ;;
    run) prepare; run ;;
    step) prepare; "${arguments[@]}" ;;
    *) usage ;;
esac
