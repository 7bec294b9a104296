"""How certain a mapping must be to be taken without review: by tenant, label branch and detector.

The first that says something wins:

1. the tenant's for the longest branch that the canonical label stands on (or the label itself);
2. the tenant's for the detector;
3. the tenant's own default;
4. the platform's for the longest branch;
5. the platform's for the detector;
6. the platform's default.

A branch goes before a detector, because what is at stake hangs on what was found more than on who
found it; and whatever a tenant says goes before what the platform says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mapping.engine.detectors import fold_name

DEFAULT: Final = 0.6
MOST_NAMES: Final = 1_000  # of detectors, that are kept as they came


@dataclass(frozen=True, slots=True)
class Layer:
    """What one of the two says. Values are probabilities, 0 to 1."""

    default: float | None = None
    detectors: Mapping[str, float] = field(default_factory=dict)  # by name, however it is spelled
    branches: Mapping[str, float] = field(default_factory=dict)  # by label or branch, as PII


class ThresholdFor:
    """The thresholds for one detector. Calling it with a canonical label costs one look-up."""

    __slots__ = ("_known", "_layers")

    def __init__(self, layers: tuple[tuple[Mapping[str, float], float | None], ...]) -> None:
        """`layers`: branches of each layer, and what holds in it for all other labels."""
        self._layers = layers
        self._known: dict[str, float] = {}

    def __call__(self, canonical: str) -> float:
        """The threshold of a label. Labels are those of a taxonomy, so what is kept is bounded."""
        found = self._known.get(canonical)
        if found is None:
            found = self._known[canonical] = self._find(canonical)
        return found

    def _find(self, canonical: str) -> float:
        for branches, other in self._layers:
            name = canonical
            while name:
                if name in branches:
                    return branches[name]
                name = name.rpartition(".")[0]
            if other is not None:
                return other
        return DEFAULT


class Thresholds:
    """What platform and tenant say. Never changed after construction, shared by all threads."""

    __slots__ = ("_any", "_own", "_seen", "platform", "tenant")

    def __init__(self, platform: Layer, tenant: Layer | None = None) -> None:
        """Without a default in the platform's layer it is DEFAULT."""
        self.platform = platform
        self.tenant = tenant or Layer()
        theirs = [_folded(layer.detectors) for layer in (self.tenant, self.platform)]
        self._any = self._for(None, theirs)
        # Names as they came: folding one costs more than all else here.
        self._seen: dict[str, ThresholdFor] = {}
        self._own = {name: self._for(name, theirs) for name in {*theirs[0], *theirs[1]}}

    def for_detector(self, detector: str) -> ThresholdFor:
        """The thresholds for a detector's labels. Names may differ in case and separators."""
        if not self._own:
            return self._any
        found = self._seen.get(detector)
        if found is None:
            found = self._own.get(fold_name(detector), self._any)
            if len(self._seen) < MOST_NAMES:  # clients make names up
                self._seen[detector] = found
        return found

    def of(self, detector: str, canonical: str) -> float:
        """The threshold for a label of a detector, 0 to 1."""
        return self.for_detector(detector)(canonical)

    def _for(self, detector: str | None, theirs: list[dict[str, float]]) -> ThresholdFor:
        layers = (self.tenant, self.platform)
        return ThresholdFor(
            tuple(
                (layer.branches, own.get(detector, layer.default) if detector else layer.default)
                for layer, own in zip(layers, theirs, strict=True)
            )
        )


def _folded(detectors: Mapping[str, float]) -> dict[str, float]:
    return {fold_name(name): value for name, value in detectors.items()}
