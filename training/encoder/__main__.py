"""``python -m training.encoder STEP``: each step reads what the one before wrote.

data     from detector files, taxonomy and glossary; writes DATASET.json
folds    trains encoders without some vendors each and writes the out-of-fold scores
final    trains on everything and writes the weights that differ from the published ones
export   turns those into what the service runs
vectors  works out the texts of the shipped knowledge beforehand, beside an exported encoder
glossary packs the glossary for retrieval, beside an exported encoder
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.encoder import data
from training.encoder.folds import PROTOCOLS, VARIANTS, folds_of, run
from training.encoder.folds import scores as scores_of
from training.encoder.model import Encoder
from training.encoder.train import Profile, train


def main() -> None:
    """Parse the command line and run the step."""
    parser = argparse.ArgumentParser(prog="python -m training.encoder", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    export = steps.add_parser("export")
    export.set_defaults(work=_export)
    export.add_argument("weights", type=Path, help="encoder.npz")
    export.add_argument("--base", type=Path, required=True, help="folder of the published model")
    export.add_argument("--out", type=Path, required=True, help="folder to write to")
    for name, work in (("vectors", _vectors), ("glossary", _glossary)):
        step = steps.add_parser(name)
        step.set_defaults(work=work)
        step.add_argument("models", type=Path, help="folder with encoder/ in it")
        step.add_argument("--directory", type=Path, default=Path("pillars-detectors"))
        step.add_argument("--edition", default="2026.11")
    for name, work in (("data", _data), ("folds", _folds), ("final", _final)):
        step = steps.add_parser(name)
        step.set_defaults(work=work)
        step.add_argument("dataset", type=Path)
        if name == "data":
            step.add_argument("--directory", type=Path, default=Path("pillars-detectors"))
            step.add_argument("--edition", default="2026.11")
            step.add_argument(
                "--decisions", type=Path, help="approved ones, from manage.py export_decisions"
            )
            continue
        step.add_argument("--base", type=Path, required=True, help="folder of the published model")
        step.add_argument("--out", type=Path, required=True, help="folder to write to")
        step.add_argument("--epochs", type=int, default=Profile().epochs)
        step.add_argument("--seed", type=int, default=Profile().seed)
        if name == "folds":
            step.add_argument("--workers", type=int, default=6)
            step.add_argument(
                "--parts", type=int, default=0, metavar="N",
                help="hold out so many parts of the vendors in turn, in place of each detector and "
                "each vendor: cheaper, and a little harder",
            )  # fmt: skip
            step.add_argument("--only", nargs="*", help="names of folds; all if not given")
    options = parser.parse_args()
    options.work(options)


def _data(options: argparse.Namespace) -> None:
    # These want more packages than training itself.
    from training.datasets.sources import encoder_dataset, read_decisions, read_knowledge

    known = read_knowledge(options.directory, options.edition)
    decisions = read_decisions(options.decisions, known)[0] if options.decisions else []
    dataset = encoder_dataset(known, decisions)
    data.write(options.dataset, dataset)
    _say(f"{len(dataset.examples)} examples, {len(dataset.texts)} answers, {dataset.digest}")


def _vectors(options: argparse.Namespace) -> None:
    from mapping.resolver.artifacts import save_vectors, weights_digest
    from mapping.resolver.encoder import SentenceEncoder
    from mapping.resolver.retrieve import known_labels, text_of
    from mapping.resolver.texts import candidates
    from taxonomy.agreement import of_entry
    from training.datasets.sources import read_knowledge

    known = read_knowledge(options.directory, options.edition)
    labels = known_labels(known.detectors.values(), of_entry)
    texts = [*candidates(known.taxonomy).values(), *map(text_of, labels)]
    texts = list(dict.fromkeys(texts))
    folder = options.models / "encoder"
    rows = SentenceEncoder(folder, threads=2).encode(texts)
    save_vectors(
        options.models, weights_digest(options.models), dict(zip(texts, rows, strict=True))
    )
    _say(f"{len(texts)} vectors")


def _glossary(options: argparse.Namespace) -> None:
    from mapping.resolver.glossary import Glossary, save
    from training.datasets.sources import encoder_dataset, read_knowledge
    from training.datasets.written import pack

    known = read_knowledge(options.directory, options.edition)
    written = encoder_dataset(known).written
    save(options.models, pack(written, known.taxonomy))
    _say(f"{len(written)} entries, {Glossary.load(options.models).digest}")


def _profile(options: argparse.Namespace) -> Profile:
    return replace(Profile(), epochs=options.epochs, seed=options.seed)


def _folds(options: argparse.Namespace) -> None:
    dataset = data.read(options.dataset)
    folds = folds_of(dataset.examples, options.parts)
    if options.only is not None:
        folds = [fold for fold in folds if fold.name in options.only]
    shape = (len(dataset.examples), len(VARIANTS), len(dataset.texts))
    found = {
        f"{protocol} {kind}": np.full(shape, np.nan, dtype=np.float16)
        for protocol in PROTOCOLS
        for kind in ("cosines", "neighbours")
    }
    options.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    published = scores_of(Encoder(options.base, device), dataset, dataset.examples)
    _save(options.out / "untrained-cosines.npy", published.astype(np.float16))
    made = run(options.base, dataset, folds, _profile(options), options.workers)
    for fold, dense, near, _ in made:
        rows = list(fold.rows)
        for protocol in fold.protocols:
            found[f"{protocol} cosines"][rows] = dense
            found[f"{protocol} neighbours"][rows] = near
        for name, scores in found.items():  # a run that is cut short loses nothing that was done
            _save(options.out / f"{name.replace(' ', '-')}.npy", scores)
    facts = {
        "dataset": dataset.digest, "profile": asdict(_profile(options)), "parts": options.parts,
    }  # fmt: skip
    (options.out / "folds.json").write_text(json.dumps(facts, indent=2) + "\n")


def _save(path: Path, scores: np.ndarray[Any, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}")
    with part.open("wb") as file:
        np.save(file, scores)
    part.replace(path)


def _final(options: argparse.Namespace) -> None:
    dataset = data.read(options.dataset)
    started = time.monotonic()
    encoder = Encoder(options.base, "cuda" if torch.cuda.is_available() else "cpu")
    loss = train(
        encoder,
        dataset,
        [*dataset.examples, *dataset.always],
        _profile(options),
        lambda step, steps, loss: _say(f"step {step}/{steps}, loss {loss:.3f}"),
    )
    weights = {
        name: value.detach().cpu().half().numpy()
        for name, value in encoder.state_dict().items()
        if "word_embeddings" not in name
    }
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(options.out / "encoder.npz", **weights)
    facts = {
        "dataset": dataset.digest,
        "profile": asdict(_profile(options)),
        "loss": loss,
        "seconds": round(time.monotonic() - started, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }
    (options.out / "encoder.json").write_text(json.dumps(facts, indent=2) + "\n")
    _say(json.dumps(facts))


def _export(options: argparse.Namespace) -> None:
    from training.encoder.export import export, with_weights  # wants onnx too

    export(with_weights(options.base, options.weights), options.base, options.out)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command line


if __name__ == "__main__":
    main()
