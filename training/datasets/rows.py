"""The form of a sample: a line of train.jsonl, validation.jsonl or test.jsonl.

Conversational prompt and completion, as trainers of the Hugging Face family read them, and what
they were made of.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

Name = Annotated[str, Field(min_length=1, max_length=80)]
Letter = Annotated[str, Field(pattern="^[A-Z]$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class System(_Part):
    """The system's message."""

    role: Literal["system"]
    content: Annotated[str, Field(min_length=1)]


class User(_Part):
    """The user's message."""

    role: Literal["user"]
    content: Annotated[str, Field(min_length=1)]


class Assistant(_Part):
    """The answer: one letter."""

    role: Literal["assistant"]
    content: Letter


class Sample(_Part):
    """A training sample."""

    id: Annotated[str, Field(min_length=1, max_length=400, description="Unique in the data set")]
    kind: Literal["detector", "golden", "alias", "decision", "synthetic", "glossary"]
    detector: Annotated[str, Field(min_length=1, max_length=100)]
    vendor: Annotated[str, Field(max_length=80, description="In small letters; may be empty")]
    category: Annotated[str, Field(max_length=60, description="As the prompt shows it")]
    label: Annotated[str, Field(min_length=1, max_length=300, description="As the prompt shows it")]
    description: Annotated[
        str, Field(max_length=600, description="As the prompt shows it; empty: label alone")
    ]
    source: Annotated[
        str, Field(min_length=1, max_length=200, description="The label as its file spells it")
    ]
    answers: Annotated[list[Name], Field(min_length=1, description="All that a full answer names")]
    variation: Annotated[
        int,
        Field(
            ge=0,
            le=99,
            description="Epoch e takes variation e modulo their number; in validation and test 0 "
            "is described, 1 the label alone",
        ),
    ]
    # A list of JSON stands for a tuple; what is in it is taken strictly.
    prompt: Annotated[tuple[System, User], Strict(False)]
    completion: Annotated[tuple[Assistant], Strict(False)]
    names: Annotated[
        list[Name], Field(min_length=1, max_length=26, description="The options, by letter")
    ]
    letters: Annotated[
        list[Letter],
        Field(min_length=1, description="Those that are right; they share the probability"),
    ]


def well_formed(row: Any) -> bool:
    """Whether a JSON value is a sample."""
    try:
        Sample.model_validate(row)
    except ValidationError:
        return False
    return all(len(set(row[name])) == len(row[name]) for name in ("answers", "names", "letters"))


def schema() -> dict[str, Any]:
    """JSON Schema of a sample."""
    return Sample.model_json_schema()
