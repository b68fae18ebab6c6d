"""Makes fixtures/pretrained/classes: a tiny random model of every class that is read, and its logits.

    python tests/golden/make_classes.py

Needs torch (CPU), transformers and safetensors; made with 2.15 and 5.24. Each folder is what
`save_pretrained` writes, in BF16, with `logits.json`: tokens, and the logits of each in F32.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import (
    GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM,
    MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
)

target = Path(__file__).resolve().parents[2] / "fixtures/pretrained/classes"
common = dict(
    vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=None, initializer_range=0.4,
    max_position_embeddings=64,
)
llama3 = dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=16)
linear = dict(rope_type="linear", rope_theta=1e4, factor=2.0)
pattern = ["sliding_attention", "full_attention", "sliding_attention"]
MODELS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(
        vocab_size=60, n_embd=16, n_layer=3, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0,
        initializer_range=0.4)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(
        **common, use_sliding_window=True, sliding_window=5, layer_types=pattern)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**common, head_dim=6, tie_word_embeddings=True)),
    "gemma": (GemmaForCausalLM, GemmaConfig(**common, head_dim=6)),
    "mistral": (MistralForCausalLM, MistralConfig(**common, sliding_window=5)),
    "llama3": (LlamaForCausalLM, LlamaConfig(
        **common, rope_parameters=llama3, attention_bias=True, mlp_bias=True)),
    "linear": (LlamaForCausalLM, LlamaConfig(**common, rope_parameters=linear, tie_word_embeddings=True)),
}


@torch.no_grad()
def main():
    shutil.rmtree(target, ignore_errors=True)
    for name, (kind, config) in MODELS.items():
        torch.manual_seed(21)
        model = kind(config)
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases that are not all alike
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.to(torch.bfloat16).save_pretrained(target / name)
        # Read anew: `to` rounds the rotary tables too.
        model = kind.from_pretrained(target / name, dtype=torch.float32).eval()
        tokens = [(7 * i * i + 3 * i) % 60 for i in range(20)]
        logits = model(torch.tensor([tokens])).logits[0]
        facts = {"tokens": tokens, "logits": [[round(x, 5) for x in row] for row in logits.tolist()]}
        (target / name / "logits.json").write_text(json.dumps(facts, separators=(",", ":")) + "\n")


main()
