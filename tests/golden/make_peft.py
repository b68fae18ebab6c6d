"""Makes fixtures/twin/peft.json: how `peft` trains adapters beside a Llama, on some targets alone.

    python tests/golden/make_peft.py

Needs torch (CPU), transformers and peft; made with 2.15, 5.24 and 0.21. The model, its rows and its
mask are those of make_twin.py; every third target counts in no loss, and the second row holds a
prompt alone. A and B begin as exact functions of their names, B small but not 0, so that both learn
from the first step. Kept beside the losses: the first logits after the last step, of the model with
adapters and of the merged one.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

import make_twin as twin

STEPS, RANK, ALPHA, RATE = 16, 4, 12.0, 5e-3
TARGETS = ["q_proj", "v_proj", "o_proj", "down_proj"]
PREFIX = "base_model.model."

base = twin.llama()
model = get_peft_model(base.model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS,
                                              lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"))
trained = []
for name, p in model.named_parameters():
    if p.requires_grad:
        ours = name.removeprefix(PREFIX).replace(".default", "")
        p.data.copy_(twin.weight(ours, tuple(p.shape)))
        trained.append(p)
counts = torch.arange(twin.ROWS * twin.T) % 3 != 0
counts[twin.T : 2 * twin.T] = False


def logits(ids):
    layout = twin.Layout()
    return model(input_ids=ids, attention_mask=layout.mask(), position_ids=layout.positions).logits


optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), weight_decay=twin.DECAY)
losses = []
for step in range(STEPS):
    ids, targets = twin.rows(step)
    loss = F.cross_entropy(logits(ids).view(-1, twin.V)[counts], targets.flatten()[counts])
    losses.append(loss.item())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
with torch.no_grad():
    ids, _ = twin.rows(STEPS)
    beside = logits(ids)[0, 0, :8].tolist()
    model.merge_adapter()
    merged = logits(ids)[0, 0, :8].tolist()
names = sorted(name.replace(".default", "") for name, p in model.named_parameters() if p.requires_grad)
out = Path(__file__).resolve().parents[2] / "fixtures/twin/peft.json"
lora = f"rank = {RANK}\nalpha = {ALPHA}\ntargets = {json.dumps(TARGETS)}"
made = {"lora": lora, "learning_rate": RATE, "losses": losses, "beside": beside, "merged": merged,
        "names": names}
out.write_text(json.dumps(made, indent=1) + "\n")
print(losses[0], losses[-1], max(abs(a - b) for a, b in zip(beside, merged)))
