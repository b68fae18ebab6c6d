"""Makes fixtures/twin/curves.json: how PyTorch's loss falls from the same weights on the same rows.

    python tests/golden/make_twin.py                    # the fixture: 24 steps
    python tests/golden/make_twin.py --steps 100 --out FILE

Needs torch (CPU) and transformers; made with 2.15 and 5.24. The families are the classes of
`transformers` themselves (eager attention, float32); knobs that none of them has are in a decoder of
sixty lines below, which is first held against `LlamaForCausalLM`. Each family is trained by each
optimizer under both packings: rows that cut documents wherever they fall (`concat`), and rows that
whole documents fill (`best_fit`); the other curves have two documents a row. A mask keeps attention
inside a document, positions begin anew. Weights and tokens are exact functions of name and index, so
the test makes the same. With `--steps 100` the same
test compares a longer run: `DATAPREP_TWIN=FILE cargo test --release --lib runtime::twin`.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import (
    GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM,
    Qwen3Config, Qwen3ForCausalLM,
)

V, D, L, H, K, FF, ROWS, T, CUT = 96, 32, 2, 4, 2, 64, 4, 24, 9
PEAK, DECAY = 5e-3, 0.1
torch.manual_seed(0)
# Muon orthogonalises in float32.
plain_to = torch.Tensor.to
torch.Tensor.to = lambda tensor, *args, **kw: (
    tensor.clone() if kw.get("dtype") is torch.bfloat16 else plain_to(tensor, *args, **kw)
)


def mixed(seed, index):
    x = (seed + index * 2654435761) % 2**32
    x = ((x ^ (x >> 16)) * 0x45D9F3B) % 2**32
    return x ^ (x >> 16)


def weight(name, dims, one=1.0):
    """Uniform in ±1/4 on a grid for matrices; near 1 (or 0) for norms, small for biases."""
    seed = 0
    for byte in name.encode():
        seed = (seed * 31 + byte) % 2**32
    count = math.prod(dims)
    units = [((mixed(seed, i) >> 8) - 2**23) / 2**23 for i in range(count)]
    if name.endswith(".bias"):
        values = [u / 16 for u in units]
    elif len(dims) == 1:
        values = [one + u / 8 for u in units]
    else:
        values = [u / 4 for u in units]
    return torch.tensor(values, dtype=torch.float64).float().reshape(dims)


def rows(step):
    flat = [mixed(step * 7919 + 5, i) % V for i in range(ROWS * T + 1)]
    # Every second token follows from the one before, so there is something to learn.
    flat = [(3 * flat[i - 1] + 1) % V if i % 2 else token for i, token in enumerate(flat)]
    ids = torch.tensor(flat)
    return ids[:-1].reshape(ROWS, T), ids[1:].reshape(ROWS, T)


class Layout:
    """Where documents begin in each row: of each token the first of its document."""

    def __init__(self, packing="", step=0):
        begins = {"": lambda row: [0, CUT], "best_fit": lambda row: [0, 5, 13],
                  "concat": lambda row: [0, 1 + mixed(step, row) % (T - 1)]}[packing]
        first = [[max(b for b in begins(row) if b <= at) for at in range(T)] for row in range(ROWS)]
        self.first = torch.tensor(first)
        self.positions = torch.arange(T) - self.first

    def mask(self, window=0):
        at = torch.arange(T)
        seen = (at[:, None] >= at) & (self.first[:, :, None] == self.first[:, None, :])
        if window:
            seen &= at[:, None] - at < window
        return torch.zeros(ROWS, 1, T, T).masked_fill(~seen[:, None], torch.finfo(torch.float32).min)


class Knobs(torch.nn.Module):
    """A decoder with every knob, under our names."""

    def __init__(self, tied=True, parallel=False, relu2=False, softcap=0.0, z_loss=0.0, residual=1.0,
                 pattern=(0, 0), mup=0, layernorm=False):
        super().__init__()
        self.tied, self.parallel, self.relu2, self.softcap = tied, parallel, relu2, softcap
        self.z_loss, self.residual, self.pattern, self.layernorm = z_loss, residual, pattern, layernorm
        self.ratio = mup / D if mup else 1.0
        h = D // H
        shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
        if not tied:
            shapes["lm_head.weight"] = (V, D)
        for layer in range(L):
            block = {"self_attn.q_proj": (D, D), "self_attn.k_proj": (K * h, D),
                     "self_attn.v_proj": (K * h, D), "self_attn.o_proj": (D, D),
                     "mlp.up_proj": (FF, D), "mlp.down_proj": (D, FF), "input_layernorm": (D,)}
            if not relu2:
                block["mlp.gate_proj"] = (FF, D)
            if not parallel:
                block["post_attention_layernorm"] = (D,)
            for part, dims in block.items():
                shapes[f"model.layers.{layer}.{part}.weight"] = dims
        self.p = {name: torch.nn.Parameter(weight(name, dims)) for name, dims in shapes.items()}

    def ours(self):
        return self.p

    def gradients(self, loss):
        loss.backward()

    def norm(self, x, name):
        if self.layernorm:
            return F.layer_norm(x, (D,), self.p[name], None, 1e-5)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.p[name]

    def turned(self, x, heads, positions):
        x = x.view(ROWS, T, heads, D // H).transpose(1, 2)
        half = D // H // 2
        angle = positions[:, None, :, None] * 10000.0 ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def attention(self, x, w, layer, layout):
        q = self.turned(x @ w("self_attn.q_proj").T, H, layout.positions)
        k = self.turned(x @ w("self_attn.k_proj").T, K, layout.positions)
        v = (x @ w("self_attn.v_proj").T).view(ROWS, T, K, D // H).transpose(1, 2)
        k, v = k.repeat_interleave(H // K, 1), v.repeat_interleave(H // K, 1)
        scores = q @ k.transpose(2, 3) / math.sqrt(D // H) + layout.mask(self.pattern[layer])
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(ROWS, T, D)
        return mixed @ w("self_attn.o_proj").T

    def loss(self, ids, targets, layout):
        x = self.p["model.embed_tokens.weight"][ids]
        for layer in range(L):
            w = lambda part: self.p[f"model.layers.{layer}.{part}.weight"]
            normed = self.norm(x, f"model.layers.{layer}.input_layernorm.weight")
            x = x + self.residual * self.attention(normed, w, layer, layout)
            if not self.parallel:
                normed = self.norm(x, f"model.layers.{layer}.post_attention_layernorm.weight")
            up = normed @ w("mlp.up_proj").T
            active = F.relu(up) ** 2 if self.relu2 else F.silu(normed @ w("mlp.gate_proj").T) * up
            x = x + self.residual * (active @ w("mlp.down_proj").T)
        x = self.norm(x, "model.norm.weight") * self.ratio
        head = self.p["model.embed_tokens.weight" if self.tied else "lm_head.weight"]
        logits = x @ head.T
        if self.softcap:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        sums = logits.logsumexp(-1)
        return F.cross_entropy(logits.view(-1, V), targets.flatten()) + self.z_loss * (sums**2).mean()


class Theirs:
    """A class of `transformers` whose weights are ours, which alone are trained: GPT-2 keeps queries,
    keys and values in one matrix, and turned round."""

    def __init__(self, model, one=1.0):
        self.model = model.eval()
        self.model.config._attn_implementation = "eager"
        self.own, self.parts = {}, []
        for name, p in model.named_parameters():
            for ours, part, turned in ours_of(name):
                dims = self.part(p, name, part, turned).shape
                first = 1.0 if "q_norm" in ours or "k_norm" in ours else one
                self.own[ours] = torch.nn.Parameter(weight(ours, tuple(dims), first))
                self.parts.append((self.own[ours], p, name, part, turned))

    def part(self, tensor, name, part, turned):
        view = tensor.T if turned else tensor
        rows = view.shape[0] // (3 if "c_attn" in name else 1)
        return view[part * rows : (part + 1) * rows]

    def ours(self):
        return self.own

    def loss(self, ids, targets, layout):
        for own, p, *where in self.parts:
            self.part(p.data, *where).copy_(own.data)
        logits = self.model(ids, attention_mask=layout.mask(), position_ids=layout.positions).logits
        return F.cross_entropy(logits.view(-1, V), targets.flatten())

    def gradients(self, loss):
        self.model.zero_grad()
        loss.backward()
        for own, p, *where in self.parts:
            own.grad = self.part(p.grad, *where).clone()


def ours_of(name):
    """(our name, which third, turned round) of a parameter of theirs."""
    if not name.startswith("transformer."):
        return [(name, 0, False)]
    parts = name.split(".")
    end = parts[-1]
    whole = {"wte": "model.embed_tokens", "wpe": "model.embed_positions", "ln_f": "model.norm"}
    if parts[1] in whole:
        return [(f"{whole[parts[1]]}.{end}", 0, False)]
    layer, inner = parts[2], ".".join(parts[3:-1])
    known = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm",
             "attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
    turned = end == "weight" and not inner.startswith("ln")
    if inner == "attn.c_attn":
        return [(f"model.layers.{layer}.self_attn.{p}_proj.{end}", i, turned) for i, p in enumerate("qkv")]
    return [(f"model.layers.{layer}.{known[inner]}.{end}", 0, turned)]


common = dict(vocab_size=V, hidden_size=D, intermediate_size=FF, num_hidden_layers=L,
              num_attention_heads=H, num_key_value_heads=K, max_position_embeddings=T)


def llama(tied=True):
    config = LlamaConfig(**common, tie_word_embeddings=tied, rms_norm_eps=1e-5)
    return Theirs(LlamaForCausalLM(config))


def scaled():
    rope = dict(rope_type="llama3", rope_theta=1e4, factor=4.0, low_freq_factor=1.0,
                high_freq_factor=4.0, original_max_position_embeddings=16)
    config = LlamaConfig(**common, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=rope,
                         attention_bias=True, mlp_bias=True)
    return Theirs(LlamaForCausalLM(config))


def qwen3():
    config = Qwen3Config(**common, head_dim=12, tie_word_embeddings=True, rms_norm_eps=1e-5)
    return Theirs(Qwen3ForCausalLM(config))


def gemma():
    config = GemmaConfig(**common, head_dim=12, rms_norm_eps=1e-5, pad_token_id=None)
    return Theirs(GemmaForCausalLM(config), one=0.0)


def gpt2():
    config = GPT2Config(vocab_size=V, n_positions=T, n_embd=D, n_layer=L, n_head=H, n_inner=FF,
                        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return Theirs(GPT2LMHeadModel(config))


KEYS = {"gpt2": "norm = 'layernorm'\npositions = 'learned'\ncontext = 24\nactivation = 'gelu'\n"
                "bias = 'all'\nn_kv_head = 0",
        "gemma": "norm = 'gemma'\nactivation = 'geglu'\nscale_embedding = true\nd_head = 12",
        "qwen3": "qk_norm = true\nd_head = 12",
        "scaled": "bias = 'all'\nrope_scaling = { kind = 'llama3', factor = 4.0, low_frequency = 1.0, "
                  "high_frequency = 4.0, original_context = 16 }"}


class Lion(torch.optim.Optimizer):
    """google/automl, `lion_pytorch.py`."""

    def __init__(self, groups, **defaults):
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((mean * 0.9 + p.grad * 0.1).sign_(), alpha=-group["lr"])
                mean.mul_(0.95).add_(p.grad, alpha=1 - 0.95)


def optimizers(kind, model):
    named = model.ours()
    decayed = [p for p in named.values() if p.dim() >= 2]
    plain = [p for p in named.values() if p.dim() < 2]
    adamw = lambda params, decay: torch.optim.AdamW(params, lr=PEAK, betas=(0.9, 0.95), weight_decay=decay)
    if kind == "adamw":
        return [adamw(decayed, DECAY), adamw(plain, 0.0)]
    if kind == "lion":
        return [Lion(decayed, lr=PEAK / 10, weight_decay=DECAY), Lion(plain, lr=PEAK / 10, weight_decay=0.0)]
    if kind == "sgd":
        sgd = lambda params, decay: torch.optim.SGD(params, lr=PEAK * 10, momentum=0.9, weight_decay=decay)
        return [sgd(decayed, DECAY), sgd(plain, 0.0)]
    blocks = [p for name, p in named.items() if ".layers." in name and p.dim() == 2]
    rest = [p for name, p in named.items() if ".layers." not in name and p.dim() == 2]
    muon = torch.optim.Muon(blocks, lr=PEAK, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    return [muon, adamw(rest, DECAY), adamw(plain, 0.0)]


def curve(model, kind, steps, packing=""):
    own = optimizers(kind, model)
    params = list(model.ours().values())
    losses = []
    for step in range(steps):
        loss = model.loss(*rows(step), Layout(packing, step))
        for p in params:
            p.grad = None
        model.gradients(loss)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        for optimizer in own:
            optimizer.step()
        losses.append(round(loss.item(), 7))
    return losses


def knobs(text, **keys):
    return (text, "adamw", lambda: Knobs(**keys))


RUNS = [
    ("tied = false", "adamw", lambda: llama(False)), (KEYS["scaled"], "adamw", scaled),
    knobs("parallel = true\nactivation = 'relu2'", parallel=True, relu2=True),
    knobs("logit_softcap = 5.0\nz_loss = 1e-3\ntied = false", softcap=5.0, z_loss=1e-3, tied=False),
    knobs("window = 4\nwindow_pattern = 'SL'\nresidual_scale = 0.5", pattern=(4, 0), residual=0.5),
    knobs("norm = 'layernorm'", layernorm=True),
]
FAMILIES = [("", llama), (KEYS["gpt2"], gpt2), (KEYS["qwen3"], qwen3), (KEYS["gemma"], gemma)]
RATES = {"adamw": PEAK, "muon": PEAK, "lion": PEAK / 10, "sgd": PEAK * 10}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=24)
    fixture = Path(__file__).resolve().parents[2] / "fixtures/twin/curves.json"
    parser.add_argument("--out", type=Path, default=fixture)
    arguments = parser.parse_args()
    same = [curve(model, "adamw", 3) for model in (llama(), Knobs())]
    assert all(abs(a - b) < 1e-5 for a, b in zip(*same)), same
    runs = [(text, kind, make, packing) for text, make in FAMILIES for kind in RATES
            for packing in ("concat", "best_fit")]
    curves = []
    for text, kind, make, packing in runs + [(*run, "") for run in RUNS]:
        losses = curve(make(), kind, arguments.steps, packing)
        print(f"{kind:6} {losses[0]:.4f} → {losses[-1]:.4f}  {packing:8} {text!r}")
        curves.append({"model": text, "optimizer": kind, "packing": packing,
                       "learning_rate": RATES[kind], "losses": losses})
    arguments.out.write_text(json.dumps(curves, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
