"""The sentences of a report. They say `evidence supporting`, and never that anything is met."""

from reporting.coverage import (
    EVIDENCE,
    NO_CROSSWALK,
    NO_DETECTOR,
    NO_FINDING,
    NOT_EVALUABLE,
    NOT_EVALUATED,
)

STATEMENT = (
    "This report shows which findings of detectors are evidence supporting controls of the "
    "framework. It does not say that a control is met, suitably designed or operating effectively: "
    "that judgement belongs to the organisation and its auditor. A control without findings is not "
    "evaluated. That is neither a pass nor a failure."
)

STATES = {
    EVIDENCE: "Evidence",
    NOT_EVALUATED: "Not evaluated",
    NOT_EVALUABLE: "Not evaluable by detectors",
}

REASONS = {
    NO_FINDING: (
        "Detectors that could show it reported in the period, but no finding that bears on it. "
        "The absence of findings is not evidence."
    ),
    NO_DETECTOR: "No detector that could show it reported in the period.",
    NO_CROSSWALK: (
        "The crosswalk names no finding that bears on it: it needs evidence of another kind."
    ),
}

METHOD = (
    "An event is one detector output that Pillars received. Events are counted by the time of "
    "receipt, in days of UTC; both ends of the period belong to it.",
    "An event counts as evidence if it was mapped and at least one of its labels bears on a "
    "control by the crosswalk. It is counted once for a control, also where several of its labels "
    "bear on it; by label it is counted for each label.",
    "Direct evidence shows by itself how the control works or fails; supporting evidence informs "
    "the control without showing it. An event with both counts as direct. Strength, from 0 to 10, "
    "says how much one finding says about the control. Relationships are those of NIST IR 8477.",
    "Events keep the labels that they were given. Where a migration plan carried an event to "
    "another taxonomy edition, it is counted once, by the labels of that edition.",
    "Where the crosswalk has a row for a label and for a branch above it, the row nearest to the "
    "label holds.",
    "Unknown labels, findings without a category, findings that wait for review and errors of "
    "detectors are listed separately and are evidence for nothing. Checks that found nothing are "
    "counted as safe checks and are evidence for nothing either.",
    "A control without evidence in the period is not evaluated. A control on which no detector "
    "finding bears by the crosswalk is not evaluable by detectors; it may well apply.",
    "The sums by outcome, by day and by knowledge release were checked against the number of "
    "events; a report whose sums do not balance is not issued.",
    "Raw detector input and output is not stored by Pillars and is not part of this report.",
)

UNMAPPED = {
    "OTHER.Unknown": "Unknown label",
    "OTHER.NeedsReview": "Waits for review",
    "OTHER.Flagged": "Flagged, no category",
    "OTHER.ModelError": "Detector error",
}
