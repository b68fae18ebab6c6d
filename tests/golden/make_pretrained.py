"""Makes fixtures/pretrained: what `transformers` saves, and the logits that it has.

    python tests/golden/make_pretrained.py BINARY

Needs torch (CPU), transformers and safetensors; made with 2.15 and 5.24. `llama/` is a tiny random
model as `save_pretrained` writes it: BF16, in shards, with the tokenizer of the kept run.
`llama.json` holds tokens, the logits of the last one in F32, and the greedy tokens behind them;
`kept.json` the same of an export of the run in fixtures/formats/1.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

repository = Path(__file__).resolve().parents[2]
target = repository / "fixtures/pretrained"
kept = repository / "fixtures/formats/1/run"


@torch.no_grad()
def record(path, name):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokens = AutoTokenizer.from_pretrained(path)("Of the cells")["input_ids"]
    ids = torch.tensor([tokens])
    logits = model(ids).logits[0, -1]
    greedy = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=299)
    facts = {
        "tokens": tokens,
        "logits": [round(x, 6) for x in logits.tolist()],
        "greedy": greedy[0, len(tokens) :].tolist(),
    }
    (target / f"{name}.json").write_text(json.dumps(facts) + "\n")


def main():
    shutil.rmtree(target, ignore_errors=True)
    (target / "llama").mkdir(parents=True)
    torch.manual_seed(20)
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, rope_theta=500000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, initializer_range=0.4,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(target / "llama", max_shard_size="8KB")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "export"
        subprocess.run([sys.argv[1], "export", kept, "--out", out, "-q"], check=True)
        for name in "tokenizer.json", "tokenizer_config.json":
            shutil.copy(out / name, target / "llama" / name)
        record(out, "kept")
    record(target / "llama", "llama")


main()
