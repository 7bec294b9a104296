"""Small versions of models: real files, a base of two layers, figures of the test's choice."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping.resolver.calibrate import Calibrator
from mapping.resolver.prompt import prompt_version
from tests.training.small_set import small_set
from training.datasets.store import save
from training.registry import Base, Ingredients, ModelName, ModelPackage, build
from training.registry.adapter import sha256_of, shapes_in

save_file = pytest.importorskip("safetensors.numpy").save_file  # of the extra `model`
ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "mapping" / "artifacts" / "calibrators" / "model.json"
MODULES = tuple(
    f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")
)
WIDTH, RANK = 8, 2


def base_model(folder: Path, width: int = WIDTH) -> Path:
    """A base model's folder, named SmolLM2-135M-Instruct as the configuration's is."""
    place = folder / "SmolLM2-135M-Instruct"
    place.mkdir(parents=True)
    weights = {f"{name}.weight": np.zeros((width, width), np.float32) for name in MODULES}
    save_file(weights, place / "model.safetensors")
    (place / "config.json").write_text("{}")
    return place


def adapter(folder: Path, seed: int = 0, **config: Any) -> Path:
    """An adapter's folder; another seed gives other weights."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    tensors = {
        f"base_model.model.{name}.lora_{half}.weight": chance.normal(size=shape).astype(np.float32)
        for name in MODULES
        for half, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    content = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 4,
        "base_model_name_or_path": "/somewhere/else/SmolLM2", **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def data_set_digest() -> str:
    """Of the small real data set that every version here names."""
    return str(small_set().manifest["digest"])


def evaluation(**changed: Any) -> dict[str, Any]:
    """One that passes every gate as it is."""
    figures = {
        "accepted": 0.86, "parent": 0.91, "micro_f1": 0.85, "macro_f1": 0.8, "ece": 0.03,
        "hit_at_5": 0.95, "abstained": 0.08,
        "intervals": {"micro_f1": [0.82, 0.88], "parent": [0.88, 0.94]},
    }  # fmt: skip
    content: dict[str, Any] = {
        "protocol": "held-out detectors", "data_set": data_set_digest(),
        "split": "test", "rows": 240,
        "described": figures, "label_alone": {**figures, "micro_f1": 0.78, "ece": 0.05},
        "by_detector": {
            "garak": {"rows": 120, "accepted": 0.8, "parent": 0.9},
            "presidio": {"rows": 110, "accepted": 0.92, "parent": 0.95},
            "tiny": {"rows": 9, "accepted": 0.5, "parent": 0.5},
        },
        "latency_ms": {"p50": 21.0, "p95": 48.0}, "schema_valid": 1.0,
    }  # fmt: skip
    return {**content, **changed}


def ingredients(
    folder: Path,
    name: ModelName,
    *,
    seed: int = 0,
    figures: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Ingredients:
    """What a version is made of, in `folder`. `figures`: evaluation.json; none: a draft."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = data_set_digest()
    base = folder / "SmolLM2-135M-Instruct"
    if not base.exists():
        base_model(folder)
    made = adapter(folder / f"adapter-{seed}-{len(list(folder.iterdir()))}", seed)
    base_sha256 = sha256_of(base / "model.safetensors")
    calibrator = json.loads(SHIPPED.read_text())
    calibrator["identity"] |= {
        "adapter": name.served, "adapter_digest": sha256_of(made / "adapter_model.safetensors"),
        "base": base.name, "base_digest": base_sha256, "prompt": prompt_version(),
    }  # fmt: skip
    files = {
        "calibrator": calibrator,
        "run": {
            "profile": "smollm2", "seed": seed, "data_set": digest,
            "base": {"name": base.name, "sha256": base_sha256}, "steps": 30, **(run or {}),
        },
        "evaluation": figures,
    }  # fmt: skip
    for file, content in files.items():
        if content is not None:
            (made / f"{file}.json").write_text(json.dumps(content))
    found = Calibrator.load(made / "calibrator.json")
    given: dict[str, Any] = {
        "adapter": made, "calibrator": made / "calibrator.json", "training": made / "run.json",
        "environment": {"python": "3.11", "packages": {"peft": "0.21.0"}},
        "base": Base(base.name, base_sha256), "data_set": digest, "prompt": prompt_version(),
        "edition": found.edition, "encoder": found.encoder, "shapes": shapes_in(base),
        "evaluation": None if figures is None else made / "evaluation.json",
    }  # fmt: skip
    return Ingredients(**{**given, **changed})


def version(
    models: Path, text: str, work: Path, *, figures: Mapping[str, Any] | None, **more: Any
) -> ModelPackage:
    """A packed version; `more` as `ingredients` takes it."""
    name = ModelName.parse(text)
    return build(ingredients(work, name, figures=figures, **more), name, models)


def data_set(folder: Path) -> str:
    """A real small one under `folder`/datasets; its digest."""
    built = small_set()
    return save(folder / "datasets", built.files, built.manifest).digest
