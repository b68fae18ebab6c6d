"""Holds GGUF exports against llama.cpp itself: its reader, its tokenizer, what it writes.

    python tests/golden/check_llama_cpp.py BINARY RUN WORK

Needs xllamacpp (llama.cpp with its server, as a wheel) and tokenizers. Exports RUN in every type
into the folder WORK, lets llama.cpp load each, and compares the tokens of a probe text in many
scripts with those of the run's own tokenizer.json, and greedy texts with those of the binary. Prints
a line a check and ends with status 1 where one fails, and the speed of both: tokens for each second
of the processor, one thread each, which other work on the machine leaves alone. Made for people, not
for tests.
"""

import json
import resource
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import xllamacpp
from tokenizers import Tokenizer

binary, run, work = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), Path(sys.argv[3])
PROBE = [
    "The cell is the unit of life; it's 1984, isn't it? I'LL say: don't!",
    "größer als 語、こんにちは世界。안녕하세요 세계", "Привет, мир! Γειά σου Κόσμε", "مرحبا بالعالم 123456",
    "नमस्ते दुनिया ไทยภาษา မြန်မာ ខ្មែរ", "a\n\nb\r\n  c\t\td   \n", "x=1;\nfor(i=0;i<10;++i){}\n\n\n",
    "🙂👩‍👩‍👧‍👦 e\u0301 \u00a0\u2003 ﬁ ½ ²", "CamelCase HTTPServer2 it’s l’été 3.14159 1,000,000", "",
    "<|endoftext|> is text here", "\u0001\u007f\ufeff\ufffd",
]
PROMPTS = ["The cell", "It is 1984, said", "Water and"]
failed = []


def check(what, ok):
    print(("ok      " if ok else "FAILED  ") + what, flush=True)
    if not ok:
        failed.append(what)


def post(address, path, body):
    request = urllib.request.Request(
        address + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def ours(prompt, tokens):
    command = [binary, "generate", run, "--prompt", prompt, "--temperature", "0", "--json",
               "--max-tokens", str(tokens), "--threads", "1"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def rate(write):
    """Tokens for each second of the processor: of many less few, so that nobody pays for its start."""
    def spent(tokens):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = time.process_time() + children.ru_utime + children.ru_stime
        written = write(tokens)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime - before, written
    best = 0
    for _ in range(3):
        (few, some), (many, all_) = spent(8), spent(200)
        best = max(best, (all_ - some) / max(many - few, 1e-9))
    return best


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.port = 0
    params.warmup = False
    params.cpuparams.n_threads = 1
    return xllamacpp.Server(params)


tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
for dtype in "f32", "f16", "bf16", "q8_0", "q4_0":
    out = work / dtype
    subprocess.run([binary, "export", run, "--to", "gguf", "--dtype", dtype, "--out", out, "-q"],
                   check=True)
    server = serve(out / "model.gguf")
    address = server.listening_address
    for text in PROBE:
        # Text that spells a special token stays text, as in our own encoding.
        asked = {"content": text, "add_special": False, "parse_special": False}
        found = post(address, "/tokenize", asked)["tokens"]
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        if text.startswith("<|"):
            expected = found  # the package `tokenizers` always makes the token of it
        check(f"{dtype}: tokens of {text[:24]!r}", found == expected)
        if found != expected:
            print("       ", found, expected)
    equal = 0
    for prompt in PROMPTS:
        answer = post(address, "/completion", {
            "prompt": prompt, "n_predict": 48, "temperature": 0, "top_k": 1, "cache_prompt": False})
        equal += answer["content"] == ours(prompt, 48)["text"]
    if dtype == "f32":
        check(f"{dtype}: greedy texts are equal", equal == len(PROMPTS))
        theirs = lambda tokens: post(address, "/completion", {
            "prompt": PROMPTS[0], "n_predict": tokens, "temperature": 0, "top_k": 1,
            "ignore_eos": True, "cache_prompt": False})["tokens_predicted"]
        both = rate(theirs), rate(lambda tokens: ours(PROMPTS[0], tokens)["tokens"])
        print("        llama.cpp {:.0f} tokens/s, dataprep {:.0f} tokens/s".format(*both))
    else:
        print(f"        {dtype}: {equal} of {len(PROMPTS)} greedy texts are those of f32")
    del server
sys.exit(1 if failed else 0)
