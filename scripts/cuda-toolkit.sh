#!/usr/bin/env bash
# Makes a CUDA toolkit that compiles device code, without root, driver or GPU, from PyPI's wheels:
#
#     home="$(scripts/cuda-toolkit.sh)" && "$home/bin/nvcc" -arch=sm_90 -cubin kernel.cu
#
# Prints its folder, everything else goes to stderr. From nothing about 10 s, 100 MB down, 140 MB on
# disk; a second call finds it. It lies in ${DATAPREP_CUDA_DIR:-~/.cache/dataprep/cuda}, one folder a
# set of wheels, and is published by one rename, so two calls at once are fine. Needs Linux on
# x86-64, python3 with pip, and the C++ compiler that nvcc calls (gcc up to 15).
#
# A toolkit that is installed already is taken instead where CUDA_HOME names it.
set -euo pipefail

say() { echo "cuda-toolkit: $*" >&2; }

if [[ -n "${CUDA_HOME:-}" ]]; then
    [[ -x "$CUDA_HOME/bin/nvcc" ]] || { say "CUDA_HOME is $CUDA_HOME, which has no bin/nvcc"; exit 1; }
    echo "$CUDA_HOME"
    exit
fi
[[ "$(uname -sm)" == "Linux x86_64" ]] || {
    say "makes a toolkit on Linux x86_64 only: install one, and set CUDA_HOME"
    exit 1
}

# CUDA 13.0: its machine code and PTX load on every driver from 580 on; PTX of 13.1 and later does
# not load on the drivers of 13.0. The CUDA 12 wheels have no nvcc.
wheels='
nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
'
root="${DATAPREP_CUDA_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/dataprep/cuda}"
home="$root/13.0.88-$(sha256sum <<<"$wheels" | cut -c1-8)"

# Downloads the wheels and joins them in folder $1 as nvcc expects them.
unpack() {
    local build="$1" wheel
    say "downloading 100 MB of wheels"
    mkdir "$build/wheels" "$build/unpacked"
    echo "$wheels" >"$build/requirements.txt"
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --platform manylinux_2_12_x86_64 --platform manylinux2010_x86_64 \
        -d "$build/wheels" -r "$build/requirements.txt" >&2
    for wheel in "$build"/wheels/*.whl; do
        python3 -m zipfile -e "$wheel" "$build/unpacked"
    done
    mkdir "$build/home"
    mv "$build"/unpacked/nvidia/cu13/{bin,include,nvvm} "$build/home/"
    # What zipfile does not keep, what the library of run-time compilation needs (60 MB).
    chmod +x "$build"/home/bin/* "$build"/home/nvvm/bin/*
    rm -rf "$build"/home/nvvm/lib64
    # nvcc names this folder to the linker; nothing is linked here.
    mkdir "$build/home/lib64"
}

# One kernel, so that a broken set of wheels is found here.
probe() {
    local build="$1"
    echo '__global__ void probe(float* x) { x[threadIdx.x] = 1.f; }' >"$build/probe.cu"
    "$build/home/bin/nvcc" -cubin -arch=sm_80 "$build/probe.cu" -o "$build/probe.cubin" >&2
}

if [[ ! -d "$home" ]]; then
    mkdir -p "$root"
    build="$(mktemp -d "$root/build.XXXXXX")"
    trap 'rm -rf "$build"' EXIT
    unpack "$build"
    probe "$build"
    # Another call may have been faster: its folder is the same.
    mv -T "$build/home" "$home" 2>/dev/null || [[ -d "$home" ]]
    say "made $home"
fi
echo "$home"
