"""Runs the stages for labels that no rule knows: retrieve, choose, calibrate."""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from mapping.resolver.cache import VerdictCache
from mapping.resolver.calibrate import (
    Array,
    Calibrator,
    Weights,
    branch_of,
    by_branch,
    posterior,
    signs,
    with_choice,
    worth,
)
from mapping.resolver.composite import parts_of, with_parts
from mapping.resolver.prompt import option_text, options_for
from mapping.resolver.retrieve import Retriever
from mapping.resolver.settle import Verdict
from mapping.resolver.types import (
    NONE_OF_THESE,
    Choice,
    Chooser,
    ChooserError,
    LabelQuestion,
    ModelIdentity,
    Option,
)

SHORTLIST: Final = 8
_LOOK_AGAIN_SECONDS: Final = 10.0
_NONE: Final = Option(NONE_OF_THESE, option_text(NONE_OF_THESE, {}))
# What a model says of a question, and the calibrator that fits it; None: of retrieval alone.
_Heard: TypeAlias = tuple[Choice | None, Calibrator]
_CANDIDATES: Final = 5


class Resolver:
    """Answers questions for one release of the knowledge. Thread-safe."""

    def __init__(
        self,
        *,
        taxonomy: Mapping[str, Any],
        retriever: Retriever,
        calibrators: Sequence[Calibrator],
        knowledge: str,
        chooser: Chooser | None = None,
        cache: VerdictCache | None = None,
        together: int = 1,
        budget_seconds: float = 0.5,
    ) -> None:
        """`knowledge` names the release's content; `calibrators` are checked by the caller.

        The model is asked `together` questions at a time, and no further ones after
        `budget_seconds`: those are answered by retrieval alone.

        One of the calibrators must be for retrieval alone. A chooser whose model none of them was
        fitted for is not asked: see `refused`.
        """
        self._taxonomy = taxonomy
        self._retriever = retriever
        self._calibrators = {one.identity: one for one in calibrators}
        # Everything but the question that a verdict depends on, by the model that answers.
        self._fingerprints = {
            one.identity: hashlib.sha256(f"{knowledge} {one.version}".encode()).hexdigest()
            for one in calibrators
        }
        self._chooser = chooser
        self._cache = cache
        self._together = together
        self._budget_seconds = budget_seconds
        self._look_again = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Every answer that can be given."""
        return self._retriever.names

    @property
    def refused(self) -> ModelIdentity | None:
        """The model that is there, but that no calibrator was fitted for."""
        identity = self._chooser.identity if self._chooser else None
        return identity if identity is not None and identity not in self._calibrators else None

    def calibrator(self) -> Calibrator:
        """The one for the model that answers now, or else for retrieval alone."""
        identity = self._chooser.identity if self._chooser else None
        return self._calibrators.get(identity) or self._calibrators[None]

    def versions(self, *, with_model: bool) -> tuple[str, str]:
        """Which model and which calibrator answered, for the record of an event.

        `with_model`: the language model has answered, and not retrieval alone.
        """
        return self._versions_of(self.calibrator() if with_model else self._calibrators[None])

    @staticmethod
    def _versions_of(calibrator: Calibrator) -> tuple[str, str]:
        model = f"encoder@{calibrator.encoder[:12]}"
        if calibrator.identity is not None:
            identity = calibrator.identity
            name, digest = (
                (identity.adapter, identity.adapter_digest)
                if identity.adapter
                else (identity.base, identity.base_digest)
            )
            model = f"{model} {identity.backend}:{name}@{digest[:12]}"
        return model, calibrator.version

    def resolve(
        self, questions: Iterable[LabelQuestion], *, salt: str = "", model: bool = True
    ) -> dict[LabelQuestion, Verdict]:
        """A verdict for each distinct question. Never raises for a model that fails.

        Then retrieval answers alone, as it does without `model`. `salt` keeps tenants' prompts
        apart in the model's server.
        """
        wholes = list(dict.fromkeys(questions))
        parts = {one: parts_of(one) for one in wholes}
        found = self._each(wholes, salt, model=model)
        # Parts only add labels that retrieval is sure of: the model's time is for the wholes.
        several = [part for one in wholes for part in parts[one]]
        pieces = self._each(several, salt, model=False) if several else {}
        return {
            one: with_parts(found[one], [pieces[part] for part in parts[one]]) for one in wholes
        }

    def _each(
        self, questions: Iterable[LabelQuestion], salt: str, *, model: bool
    ) -> dict[LabelQuestion, Verdict]:
        asked = list(dict.fromkeys(questions))
        met = model and self._meet_model(asked, salt)
        calibrator = self.calibrator() if met else self._calibrators[None]
        keys = {one: self._key(one, calibrator) for one in asked}
        known = self._cache.get(list(keys.values())) if self._cache else {}
        by = self._versions_of(calibrator)
        found = {one: known[key]._replace(versions=by) for one, key in keys.items() if key in known}
        missing = [one for one in asked if one not in found]
        made = self._work_out(missing, salt, model=met) if missing else {}
        if self._cache and made:
            # Under the key of what has really answered: a model that failed is asked again.
            self._cache.put(
                {self._key(one, fitting): verdict for one, (verdict, fitting) in made.items()}
            )
        return found | {
            one: verdict._replace(versions=self._versions_of(fitting))
            for one, (verdict, fitting) in made.items()
        }

    def _meet_model(self, questions: Sequence[LabelQuestion], salt: str) -> bool:
        """Whether a model is there to be asked.

        One that has never answered is asked a little first: until then nobody knows whose verdicts
        to look for, and those of retrieval that are kept would stand in the model's way.
        """
        if self._chooser is None:
            return False
        unmet = self._chooser.identity is None and self._cache is not None
        if self.refused is not None and time.monotonic() >= self._look_again:
            # Another model may serve by now; until it is asked, nobody knows.
            self._look_again = time.monotonic() + _LOOK_AGAIN_SECONDS
            unmet = True
        if unmet and questions:
            try:
                self._chooser.choose([(questions[0], [_NONE])], salt=salt)
            except ChooserError:
                return False
        return self.refused is None

    def _key(self, question: LabelQuestion, calibrator: Calibrator) -> str:
        if self._cache is None:
            return ""
        return self._cache.key(question, self._fingerprints[calibrator.identity])

    def _work_out(
        self, questions: Sequence[LabelQuestion], salt: str, *, model: bool
    ) -> dict[LabelQuestion, tuple[Verdict, Calibrator]]:
        """Verdicts, and the calibrator of each."""
        features = [self._retriever.features(one) for one in questions]
        alone: _Heard = (None, self._calibrators[None])
        heard = [alone] * len(questions)
        if model and self._chooser is not None:
            heard = self._choose(self._chooser, questions, features, salt)
        return {
            one: (
                verdict_of(self.names, values, choice, fitting, bool(one.description)),
                fitting,
            )
            for one, values, (choice, fitting) in zip(questions, features, heard, strict=True)
        }

    def _choose(
        self,
        chooser: Chooser,
        questions: Sequence[LabelQuestion],
        features: Sequence[Array],
        salt: str,
    ) -> list[_Heard]:
        """What the model says in the time that there is; None: retrieval answers alone."""
        found: list[_Heard] = [(None, self._calibrators[None])] * len(questions)
        latest = time.monotonic() + self._budget_seconds
        for at in range(0, len(questions), self._together):
            if self.refused is not None or time.monotonic() >= latest:
                break
            several = [
                (one, options_for(shortlist(self.names, values), self._taxonomy))
                for one, values in zip(
                    questions[at : at + self._together],
                    features[at : at + self._together],
                    strict=True,
                )
            ]
            try:
                choices = chooser.choose(several, salt=salt)
            except ChooserError:
                break
            # A server's model is known only once it has answered, and may be another one now.
            fitting = self._calibrators.get(chooser.identity)
            if fitting is not None and fitting.identity is not None:
                found[at : at + len(choices)] = [(choice, fitting) for choice in choices]
        return found


def shortlist(names: Sequence[str], features: Array) -> list[str]:
    """The nearest answers, which the model chooses from. No fitted number has a part in it."""
    nearness = features[:, 0] + features[:, 1] / 2
    return [names[int(number)] for number in np.argsort(-nearness, kind="stable")[:SHORTLIST]]


def verdict_of(
    names: Sequence[str],
    features: Array,
    choice: Choice | None,
    calibrator: Calibrator,
    described: bool,
) -> Verdict:
    """What features and the model's choice amount to. `calibrator` must fit both."""
    weights: Weights = calibrator.weights(described)
    values = features if choice is None else with_choice(features, names, choice)
    shares = posterior(values, weights.features)
    order = np.argsort(-shares, kind="stable")
    first = names[int(order[0])]
    branches = by_branch(names, shares)
    branch = branch_of(first)
    several = [
        names[int(number)]
        for number in order[1:3]
        if shares[number] >= calibrator.several * shares[order[0]]
        and names[int(number)] in _together(names, first)
    ]
    return Verdict(
        labels=(first, *several),
        confidence=worth(
            signs(values, shares, float(shares[order[0]]), choice, names), weights.label
        ),
        branch=branch,
        branch_confidence=worth(
            signs(values, shares, branches[branch], choice, names), weights.branch
        ),
        candidates=tuple(
            (names[int(number)], round(float(shares[number]), 6)) for number in order[:_CANDIDATES]
        ),
        review=tuple(names[int(n)] for n in order if shares[n] >= weights.least)[:20],
        method="retrieval" if choice is None else "model",
    )


def _together(names: Sequence[str], first: str) -> frozenset[str]:
    """Answers that may stand beside another: labels, not outcomes."""
    if "." not in first or first.startswith("OTHER."):
        return frozenset()
    return frozenset(name for name in names if "." in name and not name.startswith("OTHER."))
