"""Routes at toy size: each learns, trees read what reading one by one reads, folds keep apart."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from mapping.evaluation.folds import Folds  # noqa: E402
from tests.training import toy  # noqa: E402
from training.encoder.data import Example  # noqa: E402
from training.lora.folds import FOLDS  # noqa: E402
from training.routes.__main__ import entries_of, main  # noqa: E402
from training.routes.base import Array, all_answers  # noqa: E402
from training.routes.biencoder import smoothed  # noqa: E402
from training.routes.compare import Comparison  # noqa: E402
from training.routes.fusion import alone, fused  # noqa: E402
from training.routes.material import Material, near_first, question_of  # noqa: E402
from training.routes.names import Pairwise, Trie  # noqa: E402
from training.routes.registry import ROUTES, Bases, make  # noqa: E402
from training.routes.shipped import bring  # noqa: E402
from training.routes.trees import choices, grow, pruned  # noqa: E402

Toy = tuple[Material, Bases, Path]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Data, an encoder and a language model."""
    folder = tmp_path_factory.mktemp("toy")
    for name, write in (
        ("data", toy.write_data), ("encoder", toy.write_encoder), ("model", toy.write_model),
    ):  # fmt: skip
        (folder / name).mkdir()
        write(folder / name)
    torch.set_num_threads(1)
    return Material(folder / "data"), Bases(folder / "encoder", folder / "model"), folder


def lessons_of(known: Material, fold: int = 0):  # type: ignore[no-untyped-def]
    """With pools in an order that tells nothing."""
    generator = np.random.default_rng(0)
    chance = generator.random((len(known.learnt), len(known.names)))
    return known.lessons(fold, near_first(chance))


# Enough for each to learn a dozen labels by heart; a toy model wants larger steps.
FAST = {"bi": (12, 3e-3), "cross": (80, 3e-3), "letters": (5, 1e-2), "pairwise": (25, 1e-2),
        "trie": (10, 1e-2), "head": (10, 1e-2)}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in ROUTES if n not in ("published", "bi-all")])
def test_every_route_learns(name: str, small: Toy) -> None:
    known, bases, _ = small
    entry = ROUTES[name]
    epochs, rate = FAST[entry.kind]
    settings = replace(entry.settings, epochs=epochs, rate=rate, batch=6, negatives=4)
    route = make(replace(entry, settings=settings), known.dataset.texts, known.taxonomy, bases,
                 "cpu")  # fmt: skip
    lessons = lessons_of(known).part(range(0, 36, 3))
    questions = [question_of(one, described=False) for one in lessons.examples]
    numbers = [lessons.numbers[one.answers[0]] for one in lessons.examples]
    # The right answer somewhere among eight.
    generator = np.random.default_rng(1)
    few = np.stack([generator.permutation(np.delete(np.arange(len(known.names)), n))[:8]
                    for n in numbers])  # fmt: skip
    places = generator.integers(0, 8, len(numbers))
    few[np.arange(len(numbers)), places] = numbers

    def log_loss() -> float:
        scores = torch.from_numpy(route.score(questions, few))
        assert scores.shape == few.shape
        if name != "letters":  # whose log-probabilities are of the whole vocabulary
            scores = scores.log_softmax(-1)
        return float(-scores[np.arange(len(numbers)), places].mean())

    before = log_loss()
    route.train(lessons)
    assert log_loss() < before - 0.25


def test_a_tree_reads_what_reading_one_by_one_reads(small: Toy) -> None:
    known, bases, _ = small
    questions = [*known.questions([0, 40], 0), *known.questions([80], 1)]
    everything = all_answers(len(questions), known.names)
    trie = make(ROUTES["trie"], known.dataset.texts, known.taxonomy, bases, "cpu")
    pairs = make(ROUTES["pairwise"], known.dataset.texts, known.taxonomy, bases, "cpu")
    assert isinstance(trie, Trie)
    assert isinstance(pairs, Pairwise)
    found, means = trie.score(questions, everything), pairs.score(questions, everything)
    assert np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    completions = trie.completions()
    _, paths = grow(completions)
    rivals = choices(paths)
    for row, question in list(enumerate(questions))[::2]:
        ids = trie.prompt(question)
        for number, path in list(enumerate(paths))[::5]:
            with torch.no_grad():
                logits = trie.causal(torch.tensor([ids + completions[number]])).logits[0]
            at = logits[len(ids) - 1 :].float()
            steps = list(enumerate(zip(path.tokens, path.at, strict=True)))
            down = sum(
                float(at[n, rivals[node]].log_softmax(-1)[rivals[node].index(token)])
                for n, (token, node) in steps
            )
            plain = [float(at[n].log_softmax(-1)[token]) for n, (token, _) in steps]
            assert found[row, number] == pytest.approx(down, abs=1e-3)
            assert means[row, number] == pytest.approx(np.e * np.mean(plain), abs=1e-3)


def test_a_tree_without_what_is_decided_keeps_the_choices() -> None:
    whole, paths = grow([[1, 2, 3, 9], [1, 2, 4, 9], [5, 6, 7, 9]])
    assert len(whole.tokens) == 7
    smaller, shorter = pruned(whole, paths)
    # After 5 nothing is to be chosen; before 3 or 4 stand 1 and 2.
    assert smaller.tokens == [1, 2]
    assert [path.tokens for path in shorter] == [[1, 3], [1, 4], [5]]
    assert shorter[0].at == [-1, 1]


def test_serving_changes_no_order(small: Toy) -> None:
    known, bases, _ = small
    questions = known.questions(range(0, 60, 7), 0)
    everything = all_answers(len(questions), known.names)
    for name in ("bi-encoder", "trie", "head"):
        route = make(ROUTES[name], known.dataset.texts, known.taxonomy, bases, "cpu")
        before = route.score(questions, everything)
        route.for_serving()
        after = route.score(questions, everything)
        assert np.abs(before - after).max() < 0.2, name  # 8 bits of mantissa, where they are used


def test_what_is_held_out_is_not_learnt_from(small: Toy, tmp_path: Path) -> None:
    known, _, folder = small
    file = tmp_path / "extra.jsonl"
    made = [one._replace(label=f"another {one.label}") for one in known.dataset.examples[:30]]
    file.write_text("\n".join(json.dumps(one._asdict()) for one in made))
    more = Material(folder / "data", file)
    for fold in range(FOLDS):
        lessons = lessons_of(more, fold)
        held_out = {more.dataset.examples[row].vendor for row in more.rows(fold)}
        assert not held_out & {one.vendor for one in lessons.examples}
        assert len(lessons.pools) == len(lessons.examples)
    assert sum(len(more.rows(fold)) for fold in range(FOLDS)) == len(known.dataset.examples)
    file.write_text(json.dumps(made[0]._replace(answers=("NO.Such",))._asdict()))
    with pytest.raises(ValueError, match="no answer of the data set"):
        Material(folder / "data", file)


def test_smoothing_stays_on_the_branch() -> None:
    wanted = torch.tensor([[1.0, 0, 0, 0]])
    found = smoothed(wanted, ("A.X", "A.Y", "A.Z", "B.X"), 0.2)
    assert found.tolist() == [pytest.approx([0.8, 0.1, 0.1, 0.0])]


def test_what_is_scored_has_no_part_in_the_fit() -> None:
    generator = np.random.default_rng(0)
    right = np.eye(6, dtype=bool)[generator.integers(0, 6, 120)]
    scores = generator.normal(size=(120, 6)) + 2.0 * right
    folds = np.arange(120) % 4
    groups = [f"vendor {number % 12}" for number in range(120)]
    features = np.stack([scores, generator.normal(size=(120, 6))], axis=-1).astype(np.float32)
    names = tuple("abcdef")
    other = right.copy()
    other[folds == 2] = np.roll(other[folds == 2], 1, axis=1)
    for make_shares in (
        lambda answers: alone(scores, answers, folds),
        lambda answers: fused(features, answers, folds, groups, names),
    ):
        first, second = make_shares(right), make_shares(other)
        assert np.allclose(first[folds == 2], second[folds == 2])
        assert not np.allclose(first[folds != 2], second[folds != 2])
        assert float((first.argmax(1) == right.argmax(1)).mean()) > 0.6


def test_a_run_is_resumed_and_compared(
    small: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bases, folder = small
    out = tmp_path / "out"
    words = [
        "routes", "run", str(folder / "data"), "--base-encoder", str(bases.encoder), "--base-model",
        str(bases.model), "--routes", "cross-encoder,trie", "--workers", "0", "--epochs", "1",
        "--out", str(out), "--shortlist", "6",
    ]  # fmt: skip

    def call(*more: str) -> int:
        monkeypatch.setattr("sys.argv", [*words, *more])
        return main()

    assert call("--fold", "1") == 0
    before = (out / "trie" / "fold-1.npz").stat().st_mtime_ns
    assert call() == 0
    assert (out / "trie" / "fold-1.npz").stat().st_mtime_ns == before
    scores: Array = np.load(out / "cross-encoder.npy")
    assert ((~np.isnan(scores)).sum(axis=2) == 6).all()
    assert not np.isnan(np.load(out / "trie.npy")).any()
    assert call("--set", "trie.rate=0.1") == 3
    assert "other settings" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["routes", "table", str(out), "--data", str(folder / "data")])
    assert main() == 0
    text = capsys.readouterr().out
    assert "| retrieval (bi-encoder) + cross-encoder + trie |" in text
    assert text.startswith(f"{len(small[0].dataset.examples)} labels of 7 detectors")


def test_settings_of_the_command_line() -> None:
    found = entries_of(7, None, ["trie.batch=3"])
    assert found["trie"].settings.batch == 3
    assert found["head"].settings.seed == 7
    with pytest.raises(ValueError, match="write ROUTE"):
        entries_of(0, None, ["trie.colour=3"])


def test_shipped_scores_give_the_shipped_figures(tmp_path: Path) -> None:
    """The published encoder's row of docs/quality.md, by another way."""
    from tests.training.shipped import write_shipped_data

    folds = Path("mapping/artifacts/folds/folds.npz")
    write_shipped_data(tmp_path)
    bring(tmp_path, folds, tmp_path / "out")
    for name in ("shipped-letters", "base-letters", "shipped-encoder"):
        (tmp_path / "out" / f"{name}.npy").unlink()
    found = Comparison(tmp_path, tmp_path / "out")
    figures = found.judge(found.alone("published"), 0).report.overall
    assert len(found.rows) == len(Folds.load(folds).arrays["letters"])
    told = [f"{100 * value:.1f}" for value in (figures.accepted, figures.hit5, figures.parent)]
    page = Path("docs/quality.md").read_text("utf-8")
    rows = [
        line.split("|") for line in page.splitlines() if line.startswith("| published encoder |")
    ]
    cells = next([cell.strip() for cell in row] for row in rows if len(row) > 10)
    assert told == [cells[2], cells[4], cells[5]]


def test_examples_come_in_both_forms(small: Toy, tmp_path: Path) -> None:
    _, _, folder = small
    one = Example("d", "v", "c", "label", ("spelling",), "text", ("QUALITY.Typo",))
    for name, text in (
        ("a.jsonl", json.dumps(one._asdict())),
        ("b.json", json.dumps({"examples": [one._asdict()]})),
    ):
        (tmp_path / name).write_text(text)
        assert Material(folder / "data", tmp_path / name).extra == [one]
