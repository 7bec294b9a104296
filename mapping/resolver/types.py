"""What passes between the stages that map an unknown label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

# Two answers that are no label of the taxonomy.
NOT_A_FINDING: Final = "not_a_finding"  # the label states that nothing was found
NONE_OF_THESE: Final = "none_of_these"  # no option fits: a person decides

Outcome: TypeAlias = Literal["accept", "parent", "review", "fallback"]


class LabelQuestion(NamedTuple):
    """A vendor's label that no rule knows. Holds the vendor's words, which are never stored."""

    detector: str
    label: str
    description: str = ""  # the vendor's own words for the label; empty if the caller sent none
    category: str = ""  # of the detector's file; empty for a detector without one
    detector_version: str = ""


class AnsweredBy(NamedTuple):
    """Who answered a question."""

    method: str  # model, or retrieval alone
    model: str  # versions of all that had a part in it; empty where nobody says
    calibrator: str


class Option(NamedTuple):
    """One of the answers that the chooser may give."""

    name: str  # canonical label, branch of labels, NOT_A_FINDING or NONE_OF_THESE
    text: str  # how it reads in the prompt; one line


class Choice(NamedTuple):
    """What the chooser's model thinks of the options of one question."""

    # Option's name -> natural logarithm of its probability among all options (they sum to 1).
    log_probs: dict[str, float]
    # Probability that the model gave to any option's letter at all, 0 to 1.
    mass: float


class Prompt(NamedTuple):
    """A chat of two messages whose answer is one letter."""

    system: str  # the same for every question: its state is kept between requests
    user: str
    names: tuple[str, ...]  # of the options, by letter: A, B, C ...


class ChooserError(RuntimeError):
    """The inference worker gave no usable answer in time. The message is safe to show."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answers, and what its numbers mean: a calibrator fits one identity alone."""

    backend: str  # embedded, vllm, tgi or llamacpp
    logprob_mode: str  # what the backend's log-probabilities stand for: raw, masked or generated
    base: str  # name of the base model
    base_digest: str  # SHA-256 of its weights; empty where the backend does not say
    adapter: str  # name of the LoRA adapter; empty without one
    adapter_digest: str
    prompt: str  # version of the prompt


class Chooser(Protocol):
    """Asks a language model. Order of options and of questions never changes an answer."""

    @property
    def identity(self) -> ModelIdentity | None:
        """Of the model that answers; None while no worker has been reached."""
        ...

    def choose(
        self, questions: Sequence[tuple[LabelQuestion, Sequence[Option]]], *, salt: str
    ) -> list[Choice]:
        """One choice a question, in order. `salt` keeps tenants' cached prompts apart.

        Raises ChooserError if the worker fails or the time budget is spent.
        """
        ...
