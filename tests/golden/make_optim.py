"""Makes fixtures/optim/steps.json: twenty steps of each optimizer, as PyTorch takes them.

    python tests/golden/make_optim.py

Needs torch (CPU); made with 2.15. AdamW, SGD and Muon are `torch.optim`'s own, Muon with its products
in float32 instead of bfloat16. torch has no Lion and no Polar Express: Lion is the reference of its
authors (google/automl, `lion_pytorch.py`), the Polar Express nanochat's (`optim.py`), both in float32.
Parameters and gradients are exact small fractions of their index and step, so the test makes the same.
"""

import json
from pathlib import Path

import torch

target = Path(__file__).resolve().parents[2] / "fixtures/optim/steps.json"
SHAPES = {
    "model.embed_tokens.weight": (5, 4),
    "model.layers.0.mlp.down_proj.weight": (4, 6),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
}
STEPS, PEAK = 20, 0.02
# Muon orthogonalises in float32.
plain_to = torch.Tensor.to
torch.Tensor.to = lambda tensor, *args, **kw: (
    tensor.clone() if kw.get("dtype") is torch.bfloat16 else plain_to(tensor, *args, **kw)
)


def numbers(name, step):
    """Element i of a parameter (step 0) or of its gradient: an exact fraction."""
    count = torch.Size(SHAPES[name]).numel()
    seed = list(SHAPES).index(name)
    exact = [((i * i * 37 + i * 11 + step * 61 + seed * 17) % 101 - 50) / 64 for i in range(count)]
    return torch.tensor(exact).reshape(SHAPES[name])


def rate(step):
    """A schedule that is exact too."""
    return PEAK * (4 - step % 4) / 4


class Lion(torch.optim.Optimizer):
    def __init__(self, groups, lr, betas, weight_decay):
        super().__init__(groups, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                p.data.add_((mean * beta1 + p.grad * (1 - beta1)).sign_(), alpha=-group["lr"])
                mean.mul_(beta2).add_(p.grad, alpha=1 - beta2)


EXPRESS = [
    (8.15655, -22.48329, 15.87877), (4.04293, -2.80892, 0.50002), (3.89167, -2.77248, 0.50606),
    (3.28575, -2.36813, 0.46449), (2.34654, -1.70978, 0.42324),
]


class PolarExpress(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay, momentum):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                x = p.grad.lerp(mean, group["momentum"])
                tall = x.size(0) > x.size(1)
                x = x.mT if tall else x
                x = x / (x.norm() * 1.01 + 1e-6)
                for a, b, c in EXPRESS:
                    square = x @ x.mT
                    x = a * x + (b * square + c * square @ square) @ x
                x = x.mT if tall else x
                scale = 0.2 * max(p.shape) ** 0.5
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                p.data.add_(x, alpha=-group["lr"] * scale)


def adamw(params, lr=PEAK, betas=(0.9, 0.95), decay=0.1):
    return torch.optim.AdamW(params, lr=lr, betas=betas, eps=1e-8, weight_decay=decay)


def split(parameters):
    matrices = [p for p in parameters.values() if p.dim() == 2]
    return matrices, [p for p in parameters.values() if p.dim() == 1]


def muon(adjust=None, express=False, **more):
    def make(p):
        blocks = [p[name] for name in p if ".layers." in name]
        embedding, norm = p["model.embed_tokens.weight"], p["model.norm.weight"]
        if express:
            first = PolarExpress(blocks, lr=PEAK, weight_decay=0.1, momentum=0.95)
        else:
            first = torch.optim.Muon(blocks, lr=PEAK, weight_decay=0.1, adjust_lr_fn=adjust, **more)
        return [first, adamw([embedding]), adamw([norm], decay=0.0)]

    return make


def lion(p):
    matrices, norms = split(p)
    common = dict(lr=PEAK, betas=(0.9, 0.95))
    return [Lion(matrices, weight_decay=0.1, **common), Lion(norms, weight_decay=0.0, **common)]


def sgd(momentum, nesterov):
    def make(p):
        matrices, norms = split(p)
        common = dict(lr=PEAK, momentum=momentum, nesterov=nesterov)
        return [torch.optim.SGD(matrices, weight_decay=0.1, **common), torch.optim.SGD(norms, **common)]

    return make


def groups(p):
    matrices = [p[name] for name in p if ".layers." in name]
    embedding = adamw([p["model.embed_tokens.weight"]], 3 * PEAK, (0.5, 0.95), 0.0)
    return [adamw(matrices), embedding, adamw([p["model.norm.weight"]], decay=0.0)]


def plain(p):
    matrices, norms = split(p)
    return [adamw(matrices), adamw(norms, decay=0.0)]


CASES = {
    "kind = 'adamw'": plain,
    "[[groups]]\nparameters = '*embed*'\nlearning_rate = 0.06\nweight_decay = 0.0\nbeta1 = 0.5": groups,
    "kind = 'lion'": lion,
    "kind = 'sgd'": sgd(0.9, False),
    "kind = 'sgd'\nmomentum = 0.8\nnesterov = true": sgd(0.8, True),
    "kind = 'muon'": muon("match_rms_adamw"),
    "kind = 'muon'\nscale = 'original'": muon("original"),
    "kind = 'muon'\nscale = 'original'\nnesterov = false\nmomentum = 0.9\niterations = 3": muon(
        "original", nesterov=False, momentum=0.9, ns_steps=3
    ),
    "kind = 'muon'\ncoefficients = 'polar-express'": muon(express=True),
}


def record(make):
    parameters = {name: torch.nn.Parameter(numbers(name, 0)) for name in SHAPES}
    optimizers = make(parameters)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["factor"] = group["lr"] / PEAK
    kept = {}
    for step in range(1, STEPS + 1):
        for name, parameter in parameters.items():
            parameter.grad = numbers(name, step)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(step) * group["factor"]
            optimizer.step()
        if step in (1, 10, STEPS):
            flat = {name: p.detach().flatten().tolist() for name, p in parameters.items()}
            kept[step] = {name: [round(x, 8) for x in of] for name, of in flat.items()}
    return kept


cases = [{"optimizer": text, "steps": record(make)} for text, make in CASES.items()]
target.write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")
print(f"{target}: {target.stat().st_size} bytes")
