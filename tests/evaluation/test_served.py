"""Files of cases, answered by what is served: retrieval, the model, or both."""

import json
from pathlib import Path

import pytest
from django.conf import settings

from mapping.evaluation.cases import Case, read_cases
from mapping.evaluation.predictors import Known, Prediction
from mapping.evaluation.registry import Models, predictor_for
from mapping.evaluation.run import Mode, evaluate
from mapping.inference import HttpChooser, InferenceOptions
from mapping.resolver.artifacts import SHIPPED
from mapping.resolver.calibrate import Calibrator
from taxonomy.documents import read_documents
from taxonomy.validation import newest_taxonomy
from tests.support.model_server import model_server, sure_of

LABEL = "PASSPORT_DOCUMENT_NUMBER"


@pytest.fixture(scope="module")
def known() -> Known:
    documents = read_documents(settings.KNOWLEDGE_DIR)
    files = {one.data["detector"]: one.data for one in documents if one.kind == "detector"}
    return Known(newest_taxonomy(documents).data, files)


@pytest.fixture
def cases(tmp_path: Path, known: Known) -> list[Case]:
    path = tmp_path / "cases.jsonl"
    case = {"id": "1", "detector": "nobodys", "output": LABEL}
    path.write_text(json.dumps(case | {"expected": ["PII.Identifier.Passport"]}))
    return read_cases(path, known.taxonomy["labels"])


def predict(mode: Mode, known: Known, cases: list[Case], opinion: str) -> Prediction:
    identity = Calibrator.load(SHIPPED / "calibrators" / "model.json").identity
    assert identity is not None
    with model_server(identity, sure_of(opinion)) as server:
        chooser = HttpChooser(
            InferenceOptions(
                backend="embedded",
                url=server.url,
                model=identity.base,
                adapter=identity.adapter,
                timeout_seconds=5,
                salt_key=b"k",
            )
        )
        models = Models(SHIPPED, chooser)
        predictor = predictor_for(mode, known, "none", models, everything=False)
        (found,) = evaluate(predictor, cases, known, "none")
        chooser.close()
    return found


def test_the_model_alone_says_what_it_says(known: Known, cases: list[Case]) -> None:
    found = predict("model", known, cases, "identifier passport")
    assert (found.labels, found.method) == (("PII.Identifier.Passport",), "model")
    assert predict("model", known, cases, "none of these").abstained


@pytest.mark.parametrize(("mode", "method"), [("hybrid", "model"), ("retrieval", "retrieval")])
def test_the_calibrated_ones_say_who_answered(
    known: Known, cases: list[Case], mode: Mode, method: str
) -> None:
    found = predict(mode, known, cases, "identifier passport")
    assert (found.labels, found.method) == (("PII.Identifier.Passport",), method)
    assert 0.6 <= found.confidence <= 1
    assert len(found.top5) == 5
