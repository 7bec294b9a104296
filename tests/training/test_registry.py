"""Versions of models as files: whole, checked, never changed, and refused if anything is wrong."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.support import model_versions as made
from training.registry import (
    Base,
    CorruptError,
    ExistsError,
    ModelName,
    ModelPackage,
    RegistryError,
    build,
    next_version,
    read,
)
from training.registry.card import front_matter

load_file = pytest.importorskip("safetensors.numpy").load_file
save_file = made.save_file
FIRST = "mapper-lora@v0.2.0"


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return made.version(tmp_path / "models", FIRST, tmp_path / "work", figures=made.evaluation())


class TestNames:
    def test_both_spellings_are_one_version(self) -> None:
        name = ModelName.parse("mapper-lora@v1.12.3")
        assert name == ModelName.parse("mapper-lora-1.12.3")
        assert (str(name), name.served, name.version) == (
            "mapper-lora@v1.12.3", "mapper-lora-1.12.3", "1.12.3",
        )  # fmt: skip

    @pytest.mark.parametrize(
        "text",
        ["mapper-lora", "mapper-lora@1.2.3", "mapper-lora@v1.2", "mapper-lora@v1.02.3",
         "mapper-lora@v1.2.3-rc1", "../x@v1.2.3", "Mapper@v1.2.3", "mapper-lora@v1.2.3\n",
         "mapper-lora@v1.2.٣", ""],
    )  # fmt: skip
    def test_a_bad_version_is_refused(self, text: str) -> None:
        with pytest.raises(RegistryError, match=r"Write it like mapper-lora@v1\.2\.3"):
            ModelName.parse(text)

    def test_the_next_one_follows_the_highest_as_numbers(self) -> None:
        known = [ModelName.parse(f"mapper-lora@v0.{minor}.1") for minor in (9, 10, 2)]
        assert str(next_version(known)) == "mapper-lora@v0.11.0"
        assert str(next_version(known, part="patch")) == "mapper-lora@v0.10.2"
        assert str(next_version(known, part="major")) == "mapper-lora@v1.0.0"
        assert str(next_version(known, "other")) == "other@v0.1.0"


class TestMaking:
    def test_a_version_holds_what_it_was_made_of(self, package: ModelPackage) -> None:
        again = read(package.folder)
        assert again.manifest == package.manifest
        assert package.manifest["data_set"] == made.data_set_digest()
        assert package.adapter.modules == len(made.MODULES)
        assert package.adapter.parameters == 2 * len(made.MODULES) * made.RANK * made.WIDTH
        assert package.calibrator["identity"]["adapter"] == package.folder.name
        config = json.loads((package.folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == package.base.name  # nobody's path
        assert all(file.stat().st_mode & 0o222 == 0 for file in package.folder.iterdir())

    def test_the_shipped_adapter_is_one(self, tmp_path: Path) -> None:
        """The real files of 100 tensors in the form that PEFT writes."""
        shipped = made.ROOT / "mapping" / "artifacts" / "mapper-lora-0.1.0"
        given = made.ingredients(
            tmp_path / "work", ModelName.parse("mapper-lora-0.1.0"), adapter=shipped, shapes=None
        )
        found = build(given, ModelName.parse("mapper-lora-0.1.0"), tmp_path / "models")
        assert found.adapter.rank == 16
        assert found.adapter.modules == 210  # seven in each of 30 layers
        assert found.adapter.sha256 == json.loads(made.SHIPPED.read_text())["identity"][
            "adapter_digest"
        ]  # fmt: skip

    def test_the_card_says_the_real_figures(self, package: ModelPackage) -> None:
        front = front_matter(package.card)
        assert front == yaml.safe_load(package.card.split("---\n")[1])
        assert front["base_model"] == "SmolLM2-135M-Instruct"
        assert (front["library_name"], front["license"]) == ("peft", "apache-2.0")
        described, alone = front["model-index"][0]["results"]
        figures = {metric["name"]: metric["value"] for metric in described["metrics"]}
        assert figures["Micro-F1"] == 0.85
        assert {m["name"]: m["value"] for m in alone["metrics"]}["Micro-F1"] == 0.78
        assert "0.850 [0.820, 0.880]" in package.card
        assert "| presidio | 110 | 0.920 | 0.950 |" in package.card

    def test_a_draft_claims_nothing(self, tmp_path: Path) -> None:
        draft = made.version(tmp_path / "models", FIRST, tmp_path / "work", figures=None)
        assert draft.evaluation is None
        assert "model-index" not in front_matter(draft.card)
        assert "Not evaluated" in draft.card

    def test_a_version_is_never_made_twice(self, package: ModelPackage, tmp_path: Path) -> None:
        before = {path.name: path.read_bytes() for path in package.folder.iterdir()}
        with pytest.raises(ExistsError, match="versions never change"):
            made.version(
                tmp_path / "models", FIRST, tmp_path / "work", figures=made.evaluation(), seed=9
            )
        assert {path.name: path.read_bytes() for path in package.folder.iterdir()} == before
        assert [path.name for path in (tmp_path / "models").iterdir()] == ["mapper-lora-0.2.0"]


def _nan(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    first = sorted(tensors)[0]
    tensors[first][0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")


def _half(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[sorted(tensors)[0]]
    save_file(tensors, folder / "adapter_model.safetensors")


def _foreign(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["lm_head.weight"] = np.zeros((2, 2), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")


def _cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def _text(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")


class TestWhatIsNoAdapter:
    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (_nan, "NaN or infinite"),
            (_half, "without the other"),
            (_foreign, "belongs into no LoRA adapter"),
            (_cut, "no whole safetensors file"),
            (_text, "header"),
            (lambda folder: (folder / "adapter_model.safetensors").unlink(), "missing"),
            (lambda folder: (folder / "adapter_config.json").unlink(), "missing"),
            (lambda folder: (folder / "adapter_config.json").write_text("{"), "as JSON"),
        ],
    )
    def test_nothing_is_made_of_it(
        self, spoil: Callable[[Path], Any], words: str, tmp_path: Path
    ) -> None:
        name = ModelName.parse(FIRST)
        given = made.ingredients(tmp_path / "work", name, figures=made.evaluation())
        spoil(given.adapter)
        with pytest.raises(CorruptError, match=words):
            build(given, name, tmp_path / "models")
        assert not list((tmp_path / "models").iterdir())

    def test_of_another_rank_than_it_says(self, tmp_path: Path) -> None:
        name = ModelName.parse(FIRST)
        given = made.ingredients(tmp_path / "work", name)
        config = json.loads((given.adapter / "adapter_config.json").read_text())
        (given.adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 4}))
        with pytest.raises(CorruptError, match="another rank than the 4"):
            build(given, name, tmp_path / "models")

    def test_bfloat16_is_looked_at_by_its_bits(self, tmp_path: Path) -> None:
        from training.registry.tensors import check_finite

        def write(path: Path, bits: list[int]) -> Path:
            data = np.array(bits, "<u2").tobytes()
            header = {"x": {"dtype": "BF16", "shape": [len(bits)], "data_offsets": [0, len(data)]}}
            head = json.dumps(header).encode()
            path.write_bytes(len(head).to_bytes(8, "little") + head + data)
            return path

        check_finite(write(tmp_path / "good", [0x3F80, 0xBF80, 0x7F7F]))  # 1, -1, the largest
        for bad in (0x7F80, 0xFF80, 0x7FC0):
            with pytest.raises(CorruptError, match="NaN or infinite"):
                check_finite(write(tmp_path / "bad", [0x3F80, bad]))

    def test_of_another_base_by_its_shapes_and_by_its_run(self, tmp_path: Path) -> None:
        from training.registry.adapter import shapes_in

        name = ModelName.parse(FIRST)
        wide = made.base_model(tmp_path / "wide", width=16)
        given = made.ingredients(tmp_path / "work", name, shapes=shapes_in(wide))
        with pytest.raises(RegistryError, match="made for another base"):
            build(given, name, tmp_path / "models")
        given = made.ingredients(
            tmp_path / "work", name, base=Base("SmolLM2-135M-Instruct", "0" * 64)
        )
        with pytest.raises(RegistryError, match="trained on another base model"):
            build(given, name, tmp_path / "models")

    def test_with_an_evaluation_of_other_data(self, tmp_path: Path) -> None:
        name = ModelName.parse(FIRST)
        for figures, words in (
            (made.evaluation(data_set="e" * 64), "another data set"),
            (made.evaluation(adapter_sha256="e" * 64), "another adapter"),
            (made.evaluation(schema_valid=1.5), "not between 0 and 1"),
            (made.evaluation(described=None), "described is missing"),
        ):
            given = made.ingredients(tmp_path / "work", name, figures=figures)
            with pytest.raises(RegistryError, match=words):
                build(given, name, tmp_path / "models")


def _altered(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


class TestReadingBack:
    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (_altered, "adapter_model.safetensors was altered"),
            (lambda folder: (folder / "extra.py").write_text("x"), "extra.py too many"),
            (lambda folder: (folder / "calibrator.json").unlink(), "calibrator.json missing"),
            (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        ],
    )
    def test_what_changed_is_refused(
        self, package: ModelPackage, spoil: Callable[[Path], Any], words: str
    ) -> None:
        package.folder.chmod(0o755)
        spoil(package.folder)
        with pytest.raises(CorruptError, match=words):
            read(package.folder)

    def test_under_another_name(self, package: ModelPackage) -> None:
        other = package.folder.rename(package.folder.with_name("mapper-lora-0.3.0"))
        with pytest.raises(CorruptError, match="is of another version"):
            read(other)

    def test_for_another_base(self, package: ModelPackage) -> None:
        assert read(package.folder, base=package.base).name == package.name
        with pytest.raises(RegistryError, match="Llama-3-8B"):
            read(package.folder, base=Base("Llama-3-8B", "0" * 64))


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The real command, which may write no file beyond two kilobytes."""
    name = ModelName.parse(FIRST)
    given = made.ingredients(tmp_path / "work", name, figures=made.evaluation())
    run = tmp_path / "run"
    run.mkdir()
    given.adapter.rename(run / "adapter")
    (run / "adapter" / "run.json").rename(run / "run.json")
    base, models = tmp_path / "work" / "SmolLM2-135M-Instruct", tmp_path / "models"
    command = [
        sys.executable, "-m", "training.registry", "package", str(run), "--models", str(models),
        "--base", str(base), "--calibrator", str(run / "adapter" / "calibrator.json"),
        "--evaluation", str(run / "adapter" / "evaluation.json"), "--version", "0.2.0",
    ]  # fmt: skip

    def start(most: int | None) -> subprocess.CompletedProcess[str]:
        def limit() -> None:
            if most is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        return subprocess.run(
            command, cwd=made.ROOT, preexec_fn=limit, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": f"{made.ROOT}:{made.ROOT / 'platform'}",
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    full = start(1_500)
    assert full.returncode == 3, full.stderr
    assert "There is no room for mapper-lora-0.2.0: nothing was written" in full.stderr
    assert not list(models.iterdir())

    done = start(None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mapper-lora@v0.2.0 ")
    assert read(models / "mapper-lora-0.2.0").evaluation == made.evaluation()
