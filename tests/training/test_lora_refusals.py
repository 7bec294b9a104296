"""What cannot be trained is refused before anything long begins, in words that help."""

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.lora_fixture import train, words, write_base, write_data
from training.lora import checkpoint, rows, tokens
from training.lora.profiles import FOLDER, profile, profiles
from training.lora.refusals import DONE, FAILED, REFUSED, Refused, Stopped, check_space


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("lora") / "base")


def copied(base: Path, folder: Path) -> Path:
    """Another folder with the same files, each a link; to replace one, unlink it first."""
    folder.mkdir()
    for path in base.iterdir():
        os.link(path, folder / path.name)
    return folder


def replace(path: Path, content: bytes) -> None:
    """Another file of this name, whose old links stay as they are."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.update(letters=["Z"]), "letters Z are not among the options"),
        (lambda one: one.update(letters=[]), "letters must be there"),
        (lambda one: one["completion"][0].update(content="E"), "none of the right letters"),
        (lambda one: one["prompt"][1].update(content=" "), "a message of the prompt is empty"),
        (lambda one: one.update(names=[]), "names must be 1 to 26"),
        (lambda one: one.update(variation=float("nan")), "NaN is no value"),
        (lambda one: one.pop("names"), "'names' is missing"),
        (lambda one: one.update(prompt=None), "line 1"),
        (lambda one: one.update(answers=[""]), "answers must be there"),
        (lambda one: one.update(id="beta-1"), "line 2: the id beta-1 was there before"),
        (lambda one: one.update(detector="gamma"), "The data set leaks: gamma"),
    ],
)
def test_a_poisoned_row_is_refused_and_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        rows.read(write_data(tmp_path, change=change))


def test_a_changed_data_set_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data")
    path = data / "train.jsonl"
    path.write_text(path.read_text().replace('"letters": ["A"]', '"letters": ["B"]'))
    assert train(words(data, tmp_path / "no-base", tmp_path / "run")) == REFUSED
    assert "its SHA-256 is not the manifest's" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_manifest_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"manifest\.json: cannot be read"):
        rows.read(tmp_path)
    data = write_data(tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    for change, message in (
        ({"format": 2}, "is of another format than 1"),
        ({"splits": {}}, "members are missing or unknown"),
        ({"digest": "0" * 64}, "its digest is not that of its content"),
    ):
        (data / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(Refused, match=message):
            rows.read(data)
    with pytest.raises(Refused, match="has no training rows"):
        rows.read(write_data(tmp_path / "none", train=0))


def _cut(base: Path) -> None:
    path = base / "model.safetensors"
    replace(path, path.read_bytes()[:-100])


def _no_header(base: Path) -> None:
    replace(base / "model.safetensors", b"\xff" * 4096)


def _not_finite(base: Path) -> None:
    path = base / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4:] = b"\x00\x00\xc0\x7f"
    replace(path, bytes(content))


def _other_shape(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    replace(base / "config.json", json.dumps(config | {"intermediate_size": 96}).encode())


def _other_vocabulary(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    replace(base / "config.json", json.dumps(config | {"vocab_size": 32000}).encode())


def _no_template(base: Path) -> None:
    (base / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    replace(base / "tokenizer_config.json", json.dumps(config).encode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cut, "is damaged or cut short"),
        (_no_header, "is damaged or cut short"),
        (_not_finite, "holds values that are no numbers"),
        (_other_shape, "do not fit its config.json"),
        (_other_vocabulary, "it belongs to another model"),
        (_no_template, "has no chat template"),
        (lambda one: (one / "config.json").unlink(), "there is no config.json"),
        (lambda one: (one / "model.safetensors").unlink(), "there is no .safetensors file"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None], message: str,
) -> None:  # fmt: skip
    other = copied(base, tmp_path / "base")
    change(other)
    data = write_data(tmp_path / "data", train=4, validation=2)
    assert train(words(data, other, tmp_path / "run")) == REFUSED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_tokenizer_without_tokens_for_letters_is_refused() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words_only = Tokenizer(models.WordLevel({"[UNK]": 0, "A": 1}, unk_token="[UNK]"))
    words_only.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(Refused, match="no token of its own for each letter"):
        tokens.letter_tokens(PreTrainedTokenizerFast(tokenizer_object=words_only))


def test_a_run_goes_on_only_as_it_began(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_data(tmp_path / "data", train=8, validation=2), tmp_path / "run"
    assert train(words(data, base, run, "max_steps=1")) == DONE
    assert train(words(data, base, run, "max_steps=1")) == REFUSED
    assert "holds a run already" in capsys.readouterr().err
    again = [*words(data, base, run, "max_steps=2"), "--resume"]
    assert train(again) == REFUSED
    assert "another profile (max_steps: 1, now 2)" in capsys.readouterr().err
    other = write_data(tmp_path / "other", train=8, validation=2, seed=1)
    assert train([*words(other, base, run, "max_steps=1"), "--resume"]) == REFUSED
    assert "another data_set" in capsys.readouterr().err
    changed = json.loads((run / "run.json").read_text())
    changed["base"]["sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps(changed))
    assert train([*words(data, base, run, "max_steps=1"), "--resume"]) == REFUSED
    assert "another base" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; where none may be mounted, the tests that want one are left out."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_last_checkpoint_whole(small_disk: Path) -> None:
    def save(step: int, size: int) -> checkpoint.Checkpoint:
        files = {name: os.urandom(size) for name in checkpoint.ADAPTER_FILES}
        return checkpoint.save(small_disk, step, adapter=files, tensors={}, state={})

    save(1, 200_000)
    with pytest.raises(Stopped, match="The disk is full: step-2 could not be written"):
        save(2, 600_000)
    found = checkpoint.newest(small_disk)
    assert found is not None
    assert found.step == 1
    assert [one.name for one in small_disk.iterdir()] == ["step-1"]
    assert save(3, 100_000).step == 3


def test_a_disk_too_small_is_refused_before_training(
    base: Path, small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", train=4, validation=2)
    assert train(words(data, base, small_disk / "run")) == REFUSED
    assert "MB free, and the run's checkpoints and adapter need about" in capsys.readouterr().err
    with pytest.raises(Refused, match="free space, or name another folder"):
        check_space(tmp_path, 1 << 60)


def test_a_run_ends_when_its_files_may_not_grow(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_data(tmp_path / "data", train=8, validation=2), tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # an adapter has 134,616 bytes
    try:
        assert train(words(data, base, run)) == FAILED
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "The disk is full: step-0 could not be written" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["outcome"] == "failed"
    assert list((run / "checkpoints").iterdir()) == []
    assert train([*words(data, base, run), "--resume"]) == DONE


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, adapter={"x": b"12345"}, tensors={}, state={})
    (tmp_path / "step-2" / "x").write_bytes(b"12346")
    said: list[str] = []
    found = checkpoint.newest(tmp_path, said.append)
    assert found is not None
    assert found.step == 1
    assert said == ["step-2 is damaged: an older checkpoint is taken."]


def test_eight_bits_need_their_package(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("bitsandbytes is installed here")
    data = write_data(tmp_path / "data", train=4, validation=2)
    assert train(words(data, base, tmp_path / "run", "load_in_8bit=true")) == REFUSED
    assert "pip install bitsandbytes" in capsys.readouterr().err


def test_a_row_that_is_too_long_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", train=4, validation=2)
    assert train(words(data, base, tmp_path / "run", "max_length=32")) == REFUSED
    assert "tokens, and max_length is 32" in capsys.readouterr().err


def test_profiles_are_read_and_changed_strictly(tmp_path: Path) -> None:
    names = [one.name for one in profiles()]
    assert names == sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert {"default", "smollm2", "tiny", "llama3-8b-8bit"} <= set(names)
    changed = profile("default", ["learning_rate=1e-4", "compile=off", "seed=7"])
    assert (changed.learning_rate, changed.compile, changed.seed) == (1e-4, "off", 7)
    for change, message in (
        ("rank=0", "rank: Input should be greater than or equal to 1"),
        ("ranks=4", "ranks: Extra inputs are not permitted"),
        ("precision=int3", "precision: Input should be 'bf16', 'fp16' or 'fp32'"),
        ("learning_rate=nan", "learning_rate"),
        ("max_length=100000", "batch_tokens must be at least max_length"),
        ("rank", "--set takes key=value"),
    ):
        with pytest.raises(Refused, match=message):
            profile("default", [change])
    with pytest.raises(Refused, match="choose one of default"):
        profile("defualt")
    (tmp_path / "own.yaml").write_text("rank: [")
    with pytest.raises(Refused, match="cannot be read as YAML"):
        profile(str(tmp_path / "own.yaml"))
