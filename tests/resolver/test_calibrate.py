"""From likenesses to probabilities; a calibrator fits one encoder, taxonomy and model."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping.resolver.artifacts import SHIPPED, Artifacts
from mapping.resolver.calibrate import (
    Calibrator,
    CalibratorError,
    branch_of,
    by_branch,
    log_odds,
    month_of,
    posterior,
    signs,
    with_choice,
    worth,
)
from mapping.resolver.prompt import options_for, prompt_version
from mapping.resolver.resolver import shortlist
from mapping.resolver.retrieve import Retriever
from mapping.resolver.types import NONE_OF_THESE, NOT_A_FINDING, Choice, LabelQuestion

QUESTION = LabelQuestion("my-tool", "card numbers", "numbers of payment cards")
MODEL, RETRIEVAL = (SHIPPED / "calibrators" / f"{name}.json" for name in ("model", "retrieval"))


class TestNumbers:
    @pytest.mark.parametrize("label", ["credit card", "zorblax", "", "no threats found"])
    def test_a_posterior_sums_to_one(
        self, retriever: Retriever, artifacts: Artifacts, label: str
    ) -> None:
        features = retriever.features(LabelQuestion("d", label))
        for described in (True, False):
            weights = artifacts.calibrators[0].weights(described)
            shares = posterior(features, weights.features)
            assert shares.min() >= 0
            assert float(shares.sum()) == pytest.approx(1, abs=1e-9)
            branches = by_branch(retriever.names, shares)
            assert sum(branches.values()) == pytest.approx(1, abs=1e-9)

    def test_huge_scores_stay_finite(self) -> None:
        shares = posterior(np.array([[1e6], [0.0], [-1e6]]), [1.0])
        assert shares.tolist() == [1, 0, 0]

    def test_certainty_stays_finite(self) -> None:
        assert log_odds(0) == pytest.approx(-log_odds(1)) == pytest.approx(-7.99, abs=0.01)
        assert worth(np.array([log_odds(1.0)]), [1.0]) < 1

    def test_branches(self) -> None:
        found = [branch_of(name) for name in ("PII.Contact.Email", "OTHER.Flagged", NOT_A_FINDING)]
        assert found == ["PII.Contact", "OTHER.Flagged", NOT_A_FINDING]
        assert (month_of("2026.11.3"), month_of("2026.11")) == ("2026.11", "2026.11")

    def test_a_models_choice_is_two_further_features(
        self, retriever: Retriever, taxonomy: dict[str, Any], artifacts: Artifacts
    ) -> None:
        features = retriever.features(QUESTION)
        options = options_for(shortlist(retriever.names, features), taxonomy)
        names = [option.name for option in options]
        even = math.log(1 / len(names))
        choice = Choice(dict.fromkeys(names, even), 0.9)
        values = with_choice(features, retriever.names, choice)
        assert values.shape == (len(retriever.names), features.shape[1] + 2)
        offered = {n for n, row in zip(retriever.names, values, strict=True) if row[-1]}
        assert offered == set(names) & set(retriever.names)
        assert values[:, -2].min() == pytest.approx(even - 2, abs=1e-5)

        sure = Choice({**choice.log_probs, "PII.Financial.BankAccount": -0.01}, 0.9)
        before, after = (
            posterior(
                with_choice(features, retriever.names, one),
                artifacts.calibrators[1].described.features,
            )[retriever.names.index("PII.Financial.BankAccount")]
            for one in (choice, sure)
        )
        assert after > before

    def test_signs_of_an_answer(self, retriever: Retriever) -> None:
        features = retriever.features(QUESTION)
        shares = np.linspace(1, 2, len(retriever.names))
        shares /= shares.sum()
        best = retriever.names[-1]
        found = signs(features, shares, 0.5, Choice({best: -0.1, NONE_OF_THESE: -3}, 0.8),
                      retriever.names)  # fmt: skip
        assert found[0] == 0
        assert 0 < found[1] < 0.1
        assert found[5:].tolist() == [0.8, 1.0, 1.0]


class TestFiles:
    def test_the_shipped_ones_are_for_the_shipped_models(self, artifacts: Artifacts) -> None:
        adapter = SHIPPED / "mapper-lora-0.1.0" / "adapter_model.safetensors"
        retrieval, model = artifacts.calibrators
        assert retrieval.identity is None
        assert model.identity is not None
        assert model.identity.prompt == prompt_version()
        assert model.identity.adapter == adapter.parent.name
        for one in (retrieval, model):
            one.check(encoder=artifacts.encoder_digest, edition="2026.11.4", identity=one.identity)

    def test_saved_and_read_it_is_the_same(self, artifacts: Artifacts, tmp_path: Path) -> None:
        for one in artifacts.calibrators:
            one.save(tmp_path / "c.json")
            again = Calibrator.load(tmp_path / "c.json")
            assert again == one
            assert again.version == one.version
        first, second = artifacts.calibrators
        assert first.version != second.version
        assert replace(first, several=first.several / 2).version != first.version

    def test_another_encoder_taxonomy_or_model_is_refused(self, artifacts: Artifacts) -> None:
        one = artifacts.calibrators[1]
        assert one.identity is not None
        fits: dict[str, Any] = {
            "encoder": one.encoder, "edition": one.edition, "identity": one.identity
        }  # fmt: skip
        others: list[tuple[str, Any, str]] = [
            ("encoder", "0" * 64, "another encoder"),
            ("edition", "2026.12", "another taxonomy"),
            ("edition", "2027.11", "another taxonomy"),
            ("identity", None, "another model"),
            ("identity", replace(one.identity, prompt="x"), "another model"),
            ("identity", replace(one.identity, logprob_mode="masked"), "another model"),
            ("identity", replace(one.identity, adapter_digest=""), "another model"),
        ]
        for name, other, text in others:
            with pytest.raises(CalibratorError, match=text):
                one.check(**{**fits, name: other})

    @pytest.mark.parametrize(
        ("spoil", "text"),
        [
            (lambda c: "", "holds no calibrator"),
            (lambda c: json.dumps(c)[:-20], "holds no calibrator"),
            (lambda c: "[]", "holds no calibrator"),
            (lambda c: json.dumps({**c, "several": None}), "holds no calibrator"),
            (lambda c: json.dumps({**c, "bare": {}}), "holds no calibrator"),
            (lambda c: json.dumps({**c, "identity": {"backend": "x"}}), "holds no calibrator"),
            (lambda c: json.dumps({**c, "identity": None}), "other features"),
            (lambda c: json.dumps({**c, "several": math.nan}), "numbers that are none"),
            (
                lambda c: json.dumps({**c, "bare": {**c["bare"], "label": [math.inf] * 8}}),
                "numbers that are none",
            ),
        ],
    )
    def test_damaged_ones_are_refused(
        self, tmp_path: Path, spoil: Callable[[dict[str, Any]], str], text: str
    ) -> None:
        path = tmp_path / "model.json"
        path.write_text(spoil(json.loads(MODEL.read_text())))
        with pytest.raises(CalibratorError, match=text) as error:
            Calibrator.load(path)
        assert "model.json" in str(error.value)

    def test_bytes_and_no_file_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
        for name in ("b.json", "missing.json"):
            with pytest.raises(CalibratorError, match="fit one with"):
                Calibrator.load(tmp_path / name)
