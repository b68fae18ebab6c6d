"""Holds exported models against `transformers`: equal logits, equal greedy tokens, equal prompts.

    python tests/golden/check_export.py BINARY WORK [SHAPE…]

Needs torch (CPU), transformers, tokenizers, safetensors, gguf. Trains small models on the kept mix
with the given binary in the folder WORK, exports them in every way, and checks each against
`transformers` in fp32; then saves models with `transformers` and generates from them with the
binary. Prints a line a check and ends with status 1 where one fails. Made for people, not for
tests: those stand on what `make_pretrained.py` recorded.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

binary, work = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
repository = Path(__file__).resolve().parents[2]
mix = repository / "fixtures/formats/1/mix"
prompts = ["The cell", "", "It is 1984, said O'Brien: größer als 語\n\n  x"]
failed = []

SHAPES = {
    "tied": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 tied=true init_std=0.2",
    "untied": "d_model=48 n_layer=2 n_head=6 n_kv_head=0 d_ff=80 tied=false rope_theta=500000.0 "
    "norm_eps=0.000001 init_std=0.3",
    "gpt2": "d_model=64 n_layer=3 n_head=4 n_kv_head=0 d_ff=96 norm=layernorm positions=learned "
    "context=64 activation=gelu bias=all init_std=0.2",
    "qwen3": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 qk_norm=true d_head=32 init_std=0.2",
    "qwen2": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 bias=qkv window=6 window_pattern=SL "
    "init_std=0.2",
    "mistral": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 window=6 init_std=0.2",
    "gemma": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 norm=gemma activation=geglu "
    "scale_embedding=true d_head=24 init_std=0.2",
    "biased": "d_model=64 n_layer=3 n_head=4 n_kv_head=2 d_ff=96 bias=all tied=false init_std=0.2",
}
IN_GGUF = ["tied", "untied", "qwen3"]


def run(*arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stderr}")
    return done.stdout


def check(what, holds, detail=""):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}  {detail}", flush=True)
    if not holds:
        failed.append(what)


def greedy(path, prompt, tokens):
    """What the binary continues a prompt with, as text."""
    arguments = ["generate", path, "--prompt", prompt, "--max-tokens", tokens, "--temperature", 0]
    return json.loads(run(*arguments, "--json").splitlines()[-1])


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(path)


@torch.no_grad()
def continues_equally(what, path, loaded=None, end=0):
    """Greedy tokens of `transformers` and of the binary, a prompt each."""
    model, tokenizer = load(path) if loaded is None else loaded
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        output = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        if end in output:
            output = output[: output.index(end)]
        ours = greedy(path, prompt, 24)
        theirs = tokenizer.decode(output)
        check(f"{what}: greedy {prompt!r}", ours["text"] == theirs and ours["tokens"] == len(output))


@torch.no_grad()
def same_logits(what, one, other, ids):
    delta = (one(ids).logits - other(ids).logits).abs().max().item()
    check(f"{what}: max |Δ logit| {delta:.1e}", delta <= 1e-4)


def exported(checkpoint, out, *more):
    run("export", checkpoint, "--out", out, "-q", *more)
    return out


def check_hugging_face(name, checkpoint, model, tokenizer):
    """Every type and sharding against the checkpoint itself."""
    texts = torch.tensor([tokenizer(" ".join(prompts) * 2)["input_ids"]])
    texts = texts[:, : getattr(model.config, "n_positions", None)]  # learned positions end
    whole = exported(checkpoint, work / f"{name}-hf")
    one, its_tokenizer = load(whole)
    same_logits(f"{name} export", model, one, texts)
    same = all(tokenizer(p)["input_ids"] == its_tokenizer(p)["input_ids"] for p in prompts)
    check(f"{name} export: same ids", same)
    continues_equally(f"{name} export", whole, (one, its_tokenizer))
    shards = exported(checkpoint, work / f"{name}-shards", "--set", "shard_bytes=40000")
    check(f"{name} shards: several", len(list(shards.glob("model-*.safetensors"))) > 1)
    same_logits(f"{name} shards", model, load(shards)[0], texts)
    for dtype, torch_type in ("bf16", torch.bfloat16), ("f16", torch.float16):
        out = exported(checkpoint, work / f"{name}-{dtype}", "--dtype", dtype)
        auto = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
        pairs = zip(auto.parameters(), model.parameters())
        equal = all(torch.equal(a, b.to(torch_type)) for a, b in pairs)
        check(f"{name} {dtype}: rounded as torch does", equal and auto.dtype == torch_type)
        continues_equally(f"{name} {dtype}", out)
    sum_of_ids = len(tokenizer("a", "b")["input_ids"])
    check(f"{name} export: a pair is opened twice", sum_of_ids == 4)


GGUF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
}


def hugging_face_name(name):
    parts = name.removesuffix(".weight").split(".")
    known = GGUF_NAMES[parts[-1]]
    return f"model.layers.{parts[1]}.{known}.weight" if parts[0] == "blk" else f"{known}.weight"


def check_gguf(name, checkpoint, model, tokenizer):
    """Tensors and keys as the package `gguf` reads them."""
    state = load_file(Path(checkpoint) / "model.safetensors")
    for dtype, tolerance in ("f32", 0), ("f16", 1e-3), ("bf16", 1e-2), ("q8_0", 1e-2), ("q4_0", 0.13):
        out = exported(checkpoint, work / f"{name}-gguf-{dtype}", "--to", "gguf", "--dtype", dtype)
        reader = gguf.GGUFReader(out / "model.gguf")
        worst, seen = 0.0, set()
        for tensor in reader.tensors:
            read = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type)))
            theirs = hugging_face_name(tensor.name)
            seen.add(theirs)
            expected = state[theirs].float()
            heads = {"attn_q": model.config.num_attention_heads,
                     "attn_k": model.config.num_key_value_heads}.get(tensor.name.split(".")[-2])
            if heads and model.config.model_type == "llama":  # llama.cpp's own `permute`
                rows, columns = expected.shape
                pairs = expected.reshape(heads, 2, rows // heads // 2, columns)
                expected = pairs.swapaxes(1, 2).reshape(rows, columns)
            read = read.reshape(expected.shape).float()
            worst = max(worst, ((read - expected).abs().max() / expected.abs().max()).item())
        check(f"{name} gguf {dtype}: tensors, off by {worst:.1e}", worst <= tolerance)
        check(f"{name} gguf {dtype}: all of them", seen == set(state))
        key = lambda key: reader.get_field(key).contents()
        kind = model.config.model_type
        shape = [key(f"{kind}.{k}") for k in ("block_count", "embedding_length", "context_length")]
        config = model.config
        equal = shape == [config.num_hidden_layers, config.hidden_size, 64]
        check(f"{name} gguf {dtype}: shape", equal and key(f"{kind}.vocab_size") == len(tokenizer))
        tokens = key("tokenizer.ggml.tokens")
        check(f"{name} gguf {dtype}: tokens", tokens == tokenizer.convert_ids_to_tokens(range(len(tokens))))
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        check(f"{name} gguf {dtype}: merges", key("tokenizer.ggml.merges") == [" ".join(m) for m in merges])
        check(f"{name} gguf {dtype}: opener", key("tokenizer.ggml.bos_token_id") == 0
              and key("tokenizer.ggml.add_bos_token") and key("tokenizer.ggml.pre") == "llama-bpe")


def check_import(tokenizer):
    """Models that `transformers` made and saved, continued by the binary."""
    for name, keys, dtype in [
        ("llama", dict(tie_word_embeddings=False, rope_theta=500000.0), torch.float32),
        ("smollm", dict(tie_word_embeddings=True, num_key_value_heads=1), torch.bfloat16),
        ("half", dict(tie_word_embeddings=False, num_key_value_heads=2), torch.float16),
    ]:
        torch.manual_seed(7)
        config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=112,
                             num_hidden_layers=3, num_attention_heads=4, bos_token_id=0,
                             eos_token_id=0, initializer_range=0.3, **keys)
        path = work / f"import-{name}"
        LlamaForCausalLM(config).to(dtype).save_pretrained(path, max_shard_size="60KB")
        tokenizer.save_pretrained(path)
        continues_equally(f"import {name}", path)


def main():
    work.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:] or SHAPES:
        shape = SHAPES[name]
        out = work / name
        sets = [part for key in shape.split() for part in ("--set", f"model.{key}")]
        sets += ["--set", "train.steps=4", "--set", "train.batch_tokens=256"]
        sets += ["--set", "train.micro_batch=4", "--set", "train.sequence=64", "-q"]
        run("train", "--data", mix, "--out", out, *sets)
        checkpoint = out / "checkpoints/step-000004"
        # GPT-2's tensors have other names, which an export gives them.
        readable = (checkpoint / "config.json").is_file()
        model, tokenizer = load(checkpoint if readable else exported(checkpoint, work / f"{name}-first"))
        check(f"{name}: vocabulary", model.config.vocab_size == len(tokenizer))
        check(f"{name}: opener", all(tokenizer(p)["input_ids"][0] == 0 for p in prompts))
        check(f"{name}: end", tokenizer.eos_token_id == model.generation_config.eos_token_id == 0)
        continues_equally(f"{name} checkpoint", checkpoint, (model, tokenizer))
        check_hugging_face(name, checkpoint, model, tokenizer)
        if name in IN_GGUF:
            check_gguf(name, checkpoint, model, tokenizer)
    check_import(tokenizer)


main()
print(f"{len(failed)} checks failed" if failed else "all checks hold")
sys.exit(bool(failed))
