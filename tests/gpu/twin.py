#!/usr/bin/env python3
"""Trains dataprep's twin in PyTorch, from the same weights on the same rows, and compares losses.

    twin.py RUN0 TOKENS.bin RUN STEPS cuda|cpu

RUN0: a run stopped at step 0, whose checkpoint holds the initial weights in Hugging Face's form for
Llama, and whose config.toml the schedule. TOKENS.bin: the mix as nanoGPT's u16 tokens, of which row
i is tokens [i·T, i·T + T] with the targets one further. RUN: what dataprep trained from there.
fp32 here, attention inside documents, AdamW as in torch.optim. Prints one JSON record, and fails
where the losses lie further apart than `table.py` allows.
"""

import json
import math
import pathlib
import struct
import sys
import tomllib

import torch
import torch.nn.functional as F

from table import judged

# Rows at once: what plain attention in fp32 keeps of them fits into 12 GB.
ROWS = 4


def tensors(path: pathlib.Path, device: str) -> dict:
    """A safetensors file: a length, a JSON header, f32 numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", f"{name} is {entry['dtype']}"
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        numbers = torch.frombuffer(bytearray(data[start:end]), dtype=torch.float32)
        found[name] = numbers.reshape(entry["shape"]).to(device)
    return found


def norm(x, weight, epsilon):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def turned(x, positions, theta):
    """Rotary embedding of [rows, heads, tokens, h], halves against halves."""
    half = x.shape[-1] // 2
    speeds = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions[:, None, :, None] * speeds
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), -1)


def loss_of(p, c, tokens, targets):
    """The mean nats of a batch of rows [B, T]; documents begin at token 0."""
    rows, length = tokens.shape
    heads, key_heads, h = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    starts = tokens == 0
    starts[:, 0] = True
    segments = starts.cumsum(1)
    places = torch.arange(length, device=tokens.device).expand(rows, -1)
    first = torch.where(starts, places, torch.zeros_like(places)).cummax(1).values
    positions = (places - first).float()
    sees = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
    x = p["model.embed_tokens.weight"][tokens]
    for layer in range(c["num_hidden_layers"]):
        at = lambda name: p[f"model.layers.{layer}.{name}.weight"]
        y = norm(x, at("input_layernorm"), c["rms_norm_eps"])
        split = lambda name, count: (y @ at(name).T).view(rows, length, count, h).transpose(1, 2)
        q, k = split("self_attn.q_proj", heads), split("self_attn.k_proj", key_heads)
        v = split("self_attn.v_proj", key_heads).repeat_interleave(heads // key_heads, 1)
        q, k = (turned(z, positions, c["rope_theta"]) for z in (q, k))
        k = k.repeat_interleave(heads // key_heads, 1)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(h)).masked_fill(~sees, -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, heads * h)
        x = x + mixed @ at("self_attn.o_proj").T
        y = norm(x, at("post_attention_layernorm"), c["rms_norm_eps"])
        gated = F.silu(y @ at("mlp.gate_proj").T) * (y @ at("mlp.up_proj").T)
        x = x + gated @ at("mlp.down_proj").T
    x = norm(x, p["model.norm.weight"], c["rms_norm_eps"])
    head = p.get("lm_head.weight", p["model.embed_tokens.weight"])[: c["vocab_size"]]
    return F.cross_entropy((x @ head.T).flatten(0, 1), targets.flatten())


def rate(train, step, steps):
    """Linear warm-up, then half a cosine to a share of the peak."""
    peak, warm = train["learning_rate"], train["warmup_steps"]
    if step < warm:
        return peak * (step + 1) / warm
    done = min((step - warm) / max(steps - warm, 1), 1.0)
    floor = train["learning_rate_min"]
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def main() -> None:
    run0, file, run, steps, device = sys.argv[1:]
    checkpoint = pathlib.Path(run0, "checkpoints/step-000000")
    c = json.loads((checkpoint / "config.json").read_text())
    train = tomllib.loads(pathlib.Path(run0, "config.toml").read_text())["train"]
    assert train["schedule"] == "cosine", "the twin knows the cosine schedule"
    p = tensors(checkpoint / "model.safetensors", device)
    groups = [
        {"params": [t for t in p.values() if (t.dim() > 1) == matrix], "weight_decay": decay}
        for matrix, decay in ((True, train["weight_decay"]), (False, 0.0))
    ]
    for tensor in p.values():
        tensor.requires_grad_()
    betas = (train["beta1"], train["beta2"])
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=train["epsilon"])
    length, rows = train["sequence"], train["batch_tokens"] // train["sequence"]
    words = bytearray(pathlib.Path(file).read_bytes())
    tokens = torch.frombuffer(words, dtype=torch.uint16).to(torch.int64)
    ours = [json.loads(line) for line in pathlib.Path(run, "metrics.jsonl").open()]
    ours = {record["step"]: record["loss"] for record in ours}
    differences, loss = [], 0.0
    for step in range(int(steps)):
        begin = step * rows * length
        part = tokens[begin : begin + rows * length + 1].to(device)
        if len(part) <= rows * length:
            sys.exit(f"{file} has rows for {step} steps of {steps}")
        batch, targets = part[:-1].view(rows, length), part[1:].view(rows, length)
        for group in optimizer.param_groups:
            group["lr"] = rate(train, step, int(steps))
        loss = 0.0
        for some, wanted in zip(batch.split(ROWS), targets.split(ROWS)):
            part = loss_of(p, c, some, wanted) * (len(some) / rows)
            part.backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(p.values(), train["clip_norm"])
        optimizer.step()
        optimizer.zero_grad()
        if step + 1 in ours:
            differences.append(abs(loss - ours[step + 1]))
    if differences:
        record = {"step": "twin", "steps": len(differences), "loss": loss, "first": differences[0]}
        record |= {"largest": max(differences), "last": differences[-1]}
        print(json.dumps(record))
    sys.exit(judged(differences, device) or 0)


if __name__ == "__main__":
    main()
