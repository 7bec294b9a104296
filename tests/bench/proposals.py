"""How often a proposal is right by the shipped files: `python -m tests.bench.proposals`."""

from collections import Counter
from pathlib import Path

from mapping.engine.propose import Proposer
from taxonomy.documents import read_documents
from taxonomy.validation import canonical_labels, newest_taxonomy

KNOWLEDGE = Path(__file__).resolve().parents[2] / "pillars-detectors"


def main() -> None:
    documents = read_documents(KNOWLEDGE)
    proposer = Proposer(newest_taxonomy(documents).data)
    made: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for document in documents:
        for label, entry in document.data.get("labels", {}).items():
            expected = canonical_labels(entry)
            if document.kind == "detector" and expected:
                proposals = proposer.propose(label, entry.get("meaning", ""))
                reason = proposals[0].reason if proposals else "none"
                made[reason] += 1
                right[reason] += bool(proposals) and proposals[0].canonical in expected
    for reason, count in made.most_common():
        print(f"{reason:<8} {count:>5}  first one right {right[reason] / count:.1%}")


if __name__ == "__main__":
    main()
