"""A training run in its folder: plan, steps, evaluations, checkpoints, and how it ends."""

import contextlib
import json
import math
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from mapping.evaluation.metrics import parent_right
from training.lora import checkpoint, packing
from training.lora.base import inner, needs_checkpointing
from training.lora.batches import Layout, ahead
from training.lora.metrics import Metrics
from training.lora.packing import Step
from training.lora.profiles import Profile
from training.lora.refusals import Stopped
from training.lora.rows import Row
from training.lora.stepper import Stepper, rate_at
from training.lora.tokens import Sample

CHECKPOINTS: Final = "checkpoints"
ADAPTER: Final = "adapter"
CANCEL: Final = "cancel"


class Held(NamedTuple):
    """Held-out rows and how they read."""

    rows: Sequence[Row]
    samples: Sequence[Sample]


class Best(NamedTuple):
    """The evaluation that chose the adapter."""

    step: int
    accuracy: float
    parent_accuracy: float
    loss: float

    def told(self) -> dict[str, Any]:
        """As JSON, which has no NaN."""
        return {
            name: None if math.isnan(value) else value for name, value in self._asdict().items()
        }

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Best":
        """Of what `told` gave."""
        return cls._make(math.nan if told[name] is None else told[name] for name in cls._fields)

    def beats(self, other: "Best | None") -> bool:
        """More right answers; or as many, with more probability on them."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


class Trainer:
    """Trains until the plan is done, the held-out rows gain no more, or it is told to stop."""

    def __init__(
        self, folder: Path, *, profile: Profile, model: Any, accelerator: Any, filler: int,
        train: Sequence[Sample], variations: Sequence[Sequence[int]], held: Held,
        metrics: Metrics, card: Callable[[], dict[str, Any]],
    ) -> None:  # fmt: skip
        """`variations`: see packing.plan. `card`: what training.json tells of the run."""
        self.folder, self.profile, self.metrics = folder, profile, metrics
        self.accelerator, self._card = accelerator, card
        self._held = held
        self.main: bool = accelerator.is_main_process
        self.processes: int = accelerator.num_processes
        self.recomputes = needs_checkpointing(inner(model).config, profile, accelerator.device)
        self.stepper = Stepper(model, profile, accelerator, checkpointing=self.recomputes)
        self.plan = packing.plan(
            [len(one.tokens) for one in train],
            epochs=profile.epochs, max_length=profile.max_length,
            batch_tokens=profile.batch_tokens, packing=profile.packing,
            passes_a_step=profile.accumulation * self.processes, seed=profile.seed,
            max_steps=profile.max_steps, variations=variations,
        )  # fmt: skip
        # Each process drops out other numbers; the adapter has been made, the same in all of them.
        torch.manual_seed(profile.seed + accelerator.process_index)
        settings: dict[str, Any] = {
            "filler": filler, "max_length": profile.max_length,
            "batch_tokens": profile.batch_tokens, "pinned": accelerator.device.type == "cuda",
        }  # fmt: skip
        self._layout = Layout(train, fixed=self.stepper.compiled, **settings)
        self._held_layout = Layout(held.samples, fixed=False, **settings)
        self.best: Best | None = None
        self._stale = 0  # evaluations since the best
        self._done = 0  # steps
        self._tokens = 0
        self._seconds = 0.0  # of training alone
        self._losses: list[float] = []  # since the last line of metrics
        self._unread: list[torch.Tensor] = []  # losses still on the device
        self._window = (0, 0.0)  # tokens, seconds since the last line
        self._norm = torch.zeros(())
        self._told = False  # to stop
        self._started = time.monotonic()

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> str:
        """Train on; the outcome: done, stopped_early or cancelled. Raises Stopped."""
        with self._signals():
            if self._done == 0:
                self._evaluate()
                self._save()
            if self._enough():
                return self._end("stopped_early")
            packs = ahead(self._prepared, self.plan[self._done :])
            with contextlib.closing(packs):  # type: ignore[type-var]
                for step, batches in packs:
                    self._one(step, batches)
                    if self._tend():
                        return self._end("stopped_early")
                    if self._cancelled():
                        return self._cancel()
        return self._end("done")

    def _prepared(self, step: Step) -> tuple[Step, list[Any]]:
        mine = step.passes[self.accelerator.process_index :: self.processes]
        return step, [self._layout.batch(packs) for packs in mine]

    def _one(self, step: Step, batches: list[Any]) -> None:
        begun = time.monotonic()
        rate = rate_at(self.profile, self._done, len(self.plan))
        loss, self._norm = self.stepper.step(batches, step.samples, rate)
        self._unread.append(loss)
        self._done += 1
        self._tokens += step.tokens
        if self._due(self.profile.log_every) or self._done == len(self.plan):
            self._read()  # waits for the device, so that its time is counted
        spent = time.monotonic() - begun
        self._seconds += spent
        self._window = (self._window[0] + step.tokens, self._window[1] + spent)

    def _tend(self) -> bool:
        """What is due after a step; whether the held-out rows gain no more."""
        last = self._done == len(self.plan)
        ended = last or self.plan[self._done].epoch != self.plan[self._done - 1].epoch
        if self._due(self.profile.log_every) or last:
            self._report()
        every = self.profile.evaluate_every
        gained = False
        if last or (self._due(every) if every else ended):
            gained = self._evaluate()
        every = self.profile.checkpoint_every
        if gained or last or (self._due(every) if every else ended):
            self._save()
        if gained:
            self.publish()
        return self._enough() and not last

    def _due(self, every: int) -> bool:
        return self._done % every == 0

    def _enough(self) -> bool:
        return 0 < self.profile.early_stop <= self._stale

    def _end(self, outcome: str) -> str:
        if outcome == "stopped_early":
            self.metrics.message(
                f"Stopped after step {self._done}: {self._stale} evaluations without a gain."
            )
        return outcome

    # -- what is told -------------------------------------------------------------------------

    def _read(self) -> None:
        """Losses from the device. Raises Stopped for one that is no number."""
        if not self._unread:
            return
        found = torch.stack(self._unread).tolist()
        first = self._done - len(found) + 1
        self._unread = []
        for number, loss in enumerate(found):
            if not math.isfinite(loss):
                raise Stopped(
                    f"The loss of step {first + number} is no number ({loss}). The last checkpoint "
                    "is from before. A lower learning_rate, or precision bf16 or fp32, may mend it."
                )
        self._losses += found

    def _report(self) -> None:
        self._read()
        tokens, seconds = self._window
        rate = tokens / seconds if seconds else 0.0
        left = sum(step.tokens for step in self.plan[self._done :])
        self.metrics.step(
            step=self._done, steps=len(self.plan), epoch=round(self._epoch(), 4),
            loss=sum(self._losses) / len(self._losses),
            learning_rate=rate_at(self.profile, self._done - 1, len(self.plan)),
            gradient_norm=float(self._norm), tokens=self._tokens,
            tokens_per_second=round(rate, 1), seconds=round(self._seconds, 2),
            seconds_left=round(left / rate, 1) if rate else 0.0,
        )  # fmt: skip
        self._losses = []
        self._window = (0, 0.0)

    def _epoch(self) -> float:
        epoch = self.plan[self._done - 1].epoch
        numbers = [at for at, step in enumerate(self.plan) if step.epoch == epoch]
        # The plan may have been cut by max_steps: then the share is of what is left of the epoch.
        return epoch + (self._done - numbers[0]) / len(numbers)

    def _evaluate(self) -> bool:
        """Whether this is the best so far. Without held-out rows the last step is the best."""
        samples = self._held.samples
        if not samples:
            self.best = Best(self._done, math.nan, math.nan, math.nan)
            return True
        passes = packing.passes_of(
            [len(one.tokens) for one in samples], range(len(samples)),
            self.profile.max_length, self.profile.batch_tokens, self.profile.packing,
        )  # fmt: skip
        mine = passes[self.accelerator.process_index :: self.processes]
        begun = time.monotonic()
        seen = self.stepper.see(map(self._held_layout.batch, mine))
        letters = sum(good for _, good in seen.chosen.values())
        rows = [(self._held.rows[number], option) for number, (option, _) in seen.chosen.items()]
        right = sum(row.names[option] in row.answers for row, option in rows)
        near = sum(parent_right([row.names[option]], row.answers) for row, option in rows)
        sums = [seen.loss, seen.mass, float(letters), float(right), float(near)]
        if self.processes > 1:
            sums = self.accelerator.reduce(
                torch.tensor(sums, device=self.stepper.device), reduction="sum"
            ).tolist()
        loss, mass, letters_right, accuracy, near_share = (one / len(samples) for one in sums)
        if not math.isfinite(loss):
            raise Stopped(
                f"The held-out loss after step {self._done} is no number ({loss}): the base "
                "model's weights, or what was learned, cannot be computed with in this precision."
            )
        found = Best(self._done, accuracy, near_share, loss)
        self.metrics.evaluation(
            **found._asdict(), letter_accuracy=letters_right, letter_mass=mass, rows=len(samples),
            seconds=round(time.monotonic() - begun, 2),
        )  # fmt: skip
        gained = found.beats(self.best)
        self.best = found if gained else self.best
        self._stale = 0 if gained else self._stale + 1
        return gained

    # -- what is kept -------------------------------------------------------------------------

    def _save(self) -> None:
        self._read()
        randoms = self._randoms()
        if self.main:
            folder = self.folder / CHECKPOINTS
            checkpoint.save(
                folder, self._done, adapter=adapter_files(self.stepper.model),
                tensors={
                    "optimizer": self.stepper.optimizer.state_dict(),
                    "scaler": self.stepper.scaler.state_dict(),
                    "random": randoms,
                },
                state={
                    "best": self.best.told() if self.best else None, "stale": self._stale,
                    "tokens": self._tokens, "seconds": round(self._seconds, 2),
                    "losses": self._losses, "processes": self.processes,
                },
            )  # fmt: skip
            checkpoint.tidy(folder, self.best.step if self.best else -1)
        self.accelerator.wait_for_everyone()

    def _randoms(self) -> list[dict[str, torch.Tensor]]:
        """States of the random numbers of every process."""
        from accelerate.utils import gather_object

        mine = {"cpu": torch.get_rng_state()}
        if self.stepper.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self.stepper.device)
        return gather_object([mine]) if self.processes > 1 else [mine]

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Stand where a checkpoint stood."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.stepper.model, found.adapter())
        tensors, state = found.tensors(), found.state
        self.stepper.optimizer.load_state_dict(tensors["optimizer"])
        self.stepper.scaler.load_state_dict(tensors["scaler"])
        mine = tensors["random"][self.accelerator.process_index]
        torch.set_rng_state(mine["cpu"])
        if "cuda" in mine and self.stepper.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"], self.stepper.device)
        self.best = Best.of(state["best"]) if state["best"] else None
        self._stale, self._tokens = state["stale"], state["tokens"]
        self._seconds, self._losses = state["seconds"], list(state["losses"])
        self._done = found.step

    def publish(self) -> None:
        """Put the best checkpoint's adapter into adapter/, with training.json."""
        if not self.main or self.best is None:
            return
        found = checkpoint.read(self.folder / CHECKPOINTS / f"step-{self.best.step}")
        if found is None:
            self.metrics.message("The best checkpoint is damaged: adapter/ stays.", "warning")
            return
        files = {name: (found.folder / name).read_bytes() for name in checkpoint.ADAPTER_FILES}
        card = {**self._card(), "chosen": self.best.told(), "steps_done": self._done}
        files["training.json"] = json.dumps(card, indent=2).encode()
        checkpoint.publish(self.folder / ADAPTER, files)

    # -- being told to stop -------------------------------------------------------------------

    def _cancelled(self) -> bool:
        asked = self._told or (self.folder / CANCEL).exists()
        if self.processes == 1:
            return asked
        if not self._due(self.profile.log_every):
            return False  # all must know at the same step, and asking waits for the device
        flag = torch.tensor(float(asked), device=self.stepper.device)
        return bool(self.accelerator.reduce(flag, reduction="sum") > 0)

    def _cancel(self) -> str:
        self._save()
        self.metrics.message(
            f"Cancelled after step {self._done}: the checkpoint is kept.", "warning"
        )
        if self.main:
            (self.folder / CANCEL).unlink(missing_ok=True)
        return "cancelled"

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def told(number: int, frame: Any) -> None:
            self._told = True

        before = {one: signal.signal(one, told) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def adapter_files(model: Any) -> dict[str, bytes]:
    """The adapter as PEFT writes it: the same bytes for the same weights."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: one.detach().cpu().contiguous() for name, one in sorted(weights.items())}
    with tempfile.TemporaryDirectory() as folder:
        model.peft_config["default"].save_pretrained(folder)
        config = json.loads(Path(folder, "adapter_config.json").read_text("utf-8"))
    config["inference_mode"] = True
    for name in ("target_modules", "exclude_modules", "modules_to_save"):
        if isinstance(config.get(name), list):
            config[name].sort()  # a set inside PEFT
    return {
        "adapter_config.json": (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        "adapter_model.safetensors": save(weights, metadata={"format": "pt"}),
    }
