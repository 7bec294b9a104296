"""Profiles: how an adapter is trained. One YAML file each, checked when it is read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.lora.refusals import Refused

FOLDER: Final = Path(__file__).parent
Switch = Literal["auto", "on", "off"]


_SWITCHES: Final = ("gradient_checkpointing", "compile")


class Profile(BaseModel):
    """How an adapter is trained. Steps are the optimizer's; tokens are those of prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    description: str = ""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    rslora: bool = True  # scale by alpha / sqrt(rank) instead of alpha / rank
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] = "all-linear"

    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = 2e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: Annotated[float, Field(ge=0, le=0.5)] = 0.05  # share of the steps
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0  # norm of the gradient
    epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    max_steps: Annotated[int, Field(ge=0)] = 0  # 0: as many as the epochs have
    max_rows: Annotated[int, Field(ge=0)] = 0  # of the data set's training rows; 0: all

    max_length: Annotated[int, Field(ge=16)] = 2048  # tokens of a row, and so of a sample
    packing: bool = True  # several samples in a row
    batch_tokens: Annotated[int, Field(ge=16)] = 8192  # of one pass, filler counted, a process
    accumulation: Annotated[int, Field(ge=1)] = 1  # passes a step, a process

    precision: Literal["bf16", "fp16", "fp32"] = "bf16"  # of the frozen weights and the products
    load_in_8bit: bool = False
    gradient_checkpointing: Switch = "auto"  # auto: if memory would not do without
    attention: Literal["auto", "sdpa", "flex", "varlen"] = "auto"
    compile: Switch = "auto"  # auto: on a GPU

    evaluate_every: Annotated[int, Field(ge=0)] = 0  # steps; 0: after each epoch
    evaluation_rows: Annotated[int, Field(ge=0)] = 0  # of the validation split; 0: all
    early_stop: Annotated[int, Field(ge=0)] = 0  # evaluations without a gain; 0: never
    checkpoint_every: Annotated[int, Field(ge=0)] = 0  # steps; 0: after each epoch
    log_every: Annotated[int, Field(ge=1)] = 10  # steps
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    deterministic: bool = False  # slower kernels on a GPU that always give the same bits

    @model_validator(mode="after")
    def _rows_fit(self) -> "Profile":
        if self.batch_tokens < self.max_length:
            raise ValueError("batch_tokens must be at least max_length: a row must fit")
        return self


def profiles(folder: Path = FOLDER) -> list[Profile]:
    """All that come with the trainer, by name."""
    return [profile(path.stem, folder=folder) for path in sorted(folder.glob("*.yaml"))]


def profile(name: str, changes: Iterable[str] = (), *, folder: Path = FOLDER) -> Profile:
    """A profile by name, or by the path of a .yaml file, with `key=value` changes.

    Raises Refused, which names what is wrong.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml")))
        raise Refused(
            f"There is no profile {name}: choose one of {known}, or name a file."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} is no profile: it must be a mapping of fields.")
    return checked(
        {"name": path.stem, **content, **dict(_change(one) for one in changes)}, str(path)
    )


def checked(content: dict[str, Any], source: str) -> Profile:
    """The profile that these fields make. Raises Refused, which names each field at fault."""
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'profile'}: {one['msg']}"
            for one in error.errors(include_url=False, include_context=False)
        )
        raise Refused(f"{source}: {faults}.") from None


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise Refused(f"--set takes key=value, not {text!r}.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise Refused(f"--set {key}: {value!r} cannot be read.") from None
    # YAML reads "on" and "off" as booleans, and 1e-4 as a text.
    if key.strip() in _SWITCHES and isinstance(parsed, bool):
        parsed = "on" if parsed else "off"
    return key.strip(), parsed
