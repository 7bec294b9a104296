"""One step of the optimizer, on one device or several; and what a model says of held-out rows."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.lora import attention
from training.lora.base import DTYPES, inner
from training.lora.batches import Batch
from training.lora.linear import speed_up
from training.lora.profiles import Profile


def rate_at(profile: Profile, step: int, steps: int) -> float:
    """Learning rate of a step, from 0."""
    warm = max(1, round(profile.warm_up * steps))
    if step < warm:
        return profile.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    share = {
        "cosine": 0.5 + 0.5 * math.cos(math.pi * done),
        "linear": 1 - done,
        "constant": 1.0,
    }[profile.schedule]
    return profile.learning_rate * share


def compiles(profile: Profile, device: torch.device) -> bool:
    """Whether layers are compiled: `auto` does on a GPU."""
    if profile.compile == "auto":
        return device.type == "cuda" and not profile.load_in_8bit
    return profile.compile == "on"


class Seen(NamedTuple):
    """Sums over rows that were held out."""

    loss: float
    mass: float  # probability on any offered letter
    chosen: dict[int, tuple[int, bool]]  # sample -> number of the chosen option, whether right


class Stepper:
    """A model with its adapter and optimizer.

    Loss: cross-entropy over the whole vocabulary where the answer begins, and there alone; the last
    layer reads no other place. Its mean is over all samples of a step, of all passes and processes.
    Gradients are summed over processes once a step, in one piece.
    """

    def __init__(
        self, model: Any, profile: Profile, accelerator: Any, *, checkpointing: bool
    ) -> None:
        self.model, self.profile, self.accelerator = model, profile, accelerator
        self.device: torch.device = accelerator.device
        self._inner: Any = inner(model)
        speed_up(model)
        config = self._inner.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = (config.num_attention_heads, config.num_key_value_heads, size)
        kind = attention.chosen(profile.attention, self.device, DTYPES[profile.precision], heads)
        self.attention = kind
        attention.use(self._inner, kind)
        if checkpointing:
            self._inner.gradient_checkpointing_enable({"use_reentrant": False})
        self.compiled = compiles(profile, self.device)
        if self.compiled:
            for layer in self._inner.model.layers:
                layer.compile(dynamic=False)
        self.weights = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.weights, lr=profile.learning_rate, weight_decay=profile.weight_decay,
            fused=self.device.type == "cuda",
        )  # fmt: skip
        # float16 has few exponents: small gradients vanish unless they are scaled up.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=profile.precision == "fp16", init_scale=2.0**12
        )

    def logits(self, batch: Batch) -> Tensor:
        """Over the vocabulary where the answers begin: n x vocabulary, float32."""
        extra = attention.inputs(self.attention, batch.owners, batch.bounds, batch.longest)
        states = self._inner.model(
            input_ids=batch.ids, position_ids=batch.positions, use_cache=False, **extra
        ).last_hidden_state
        last = states.flatten(0, 1).index_select(0, batch.places)
        scores: Tensor = self._inner.lm_head(last).float()
        return scores

    def loss(self, batch: Batch) -> Tensor:
        """Sum over the batch's samples."""
        logs = self.logits(batch).log_softmax(-1).gather(1, batch.options)
        return -(logs * batch.shares).sum()

    def step(self, batches: Iterable[Batch], samples: int, rate: float) -> tuple[Tensor, Tensor]:
        """Loss and norm of the gradient, on the device: reading them waits for it.

        `batches`: of this process; `samples`: of all processes; `rate`: the learning rate.
        """
        self.model.train()
        total = torch.zeros((), device=self.device)
        for batch in batches:
            loss = self.loss(batch.to(self.device)) / samples
            self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.accelerator.num_processes > 1:
            total = self._sum(total)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.profile.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total, norm

    def _sum(self, total: Tensor) -> Tensor:
        """Gradients and losses of all processes, added."""
        parts = [
            (torch.zeros_like(one) if one.grad is None else one.grad).flatten()
            for one in self.weights
        ]
        flat = self.accelerator.reduce(torch.cat([*parts, total.view(1)]), reduction="sum")
        at = 0
        for one in self.weights:
            one.grad = flat[at : at + one.numel()].view_as(one)
            at += one.numel()
        return flat[-1].clone()

    @torch.no_grad()
    def see(self, batches: Iterable[Batch]) -> Seen:
        """What the model answers, as it is now."""
        self.model.eval()
        sums = torch.zeros(2, device=self.device, dtype=torch.float64)
        answers: list[tuple[list[int], Tensor, Tensor]] = []
        # Compiled code is for one shape and for training: the few passes here do without.
        with torch.compiler.set_stance("force_eager"):
            for batch in batches:
                moved = batch.to(self.device)
                logs = self.logits(moved).log_softmax(-1).gather(1, moved.options)
                sums[0] -= (logs * moved.shares).sum()
                logs = logs.masked_fill(~moved.offered, -math.inf)
                sums[1] += logs.exp().sum()
                chosen = logs.argmax(-1)
                right = moved.shares.gather(1, chosen[:, None])[:, 0] > 0
                answers.append((batch.numbers, chosen, right))
        found = {
            number: (int(option), bool(good))
            for numbers, chosen, right in answers
            for number, option, good in zip(numbers, chosen.tolist(), right.tolist(), strict=True)
        }
        return Seen(float(sums[0]), float(sums[1]), found)
