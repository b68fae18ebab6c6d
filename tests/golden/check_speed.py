"""How fast `dataprep generate` writes beside `transformers`: the same model, greedy, f32 on the CPU.

    python tests/golden/check_speed.py BINARY MODEL [--threads 2] [--tokens 256]

Needs torch (CPU) and transformers; MODEL is a directory in Hugging Face's form, such as a checkpoint
of a run. Both continue the same prompt by a few tokens and by many; the difference is what the many
take, so neither pays for its start. Checks that the tokens are equal, prints both speeds and their
ratio. The measurements alternate, and of three each the fastest counts. On a machine that does other
work too, `--threads 1 --processor` counts the seconds of the processor, which that work leaves alone
(with more threads PyTorch's wait for each other by counting, which is no work).
"""

import argparse
import json
import os
import resource
import subprocess
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("model")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--tokens", type=int, default=200)
parser.add_argument("--prompt", default="The cell")
parser.add_argument("--processor", action="store_true", help="count seconds of the processor")
options = parser.parse_args()
FEW = 8


def now():
    if not options.processor:
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


torch.set_num_threads(options.threads)
tokenizer = AutoTokenizer.from_pretrained(options.model)
model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
ids = tokenizer(options.prompt, return_tensors="pt").input_ids
context = model.config.max_position_embeddings
many = min(options.tokens, context - ids.shape[1])


def theirs(tokens):
    """Seconds, and the tokens."""
    began = now()
    with torch.inference_mode():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             max_new_tokens=tokens, min_new_tokens=tokens,
                             pad_token_id=model.config.eos_token_id)
    return now() - began, out[0, ids.shape[1]:]


def ours(tokens):
    command = [options.binary, "generate", options.model, "--prompt", options.prompt, "--json",
               "--max-tokens", str(tokens), "--temperature", "0", "--threads", str(options.threads)]
    began = now()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return now() - began, json.loads(printed.splitlines()[-1])


best = {}
for _ in range(3):
    for name, one in ("transformers", theirs), ("dataprep", ours):
        took = one(many)[0] - one(FEW)[0]
        best[name] = min(best.get(name, took), took)
written = ours(many)[1]
expected = tokenizer.decode(theirs(written["tokens"])[1])
print("texts", "equal" if written["text"] == expected else "DIFFER")
if written["tokens"] < many:
    print(f"the model ended the text after {written['tokens']} tokens: give another --prompt")
rates = {name: (many - FEW) / seconds for name, seconds in best.items()}
for name, rate in rates.items():
    print(f"{name}: {rate:.0f} tokens/s")
print(f"ratio {rates['dataprep'] / rates['transformers']:.1f}")
