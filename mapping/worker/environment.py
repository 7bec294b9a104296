"""What must be set before torch and transformers are imported."""

import os


def prepare_environment() -> None:
    """Nothing is fetched, nobody is told, and no progress is drawn. ImportError without the extra
    `model`.
    """
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TQDM_DISABLE="1")
    # Threads that wait for each other by spinning take the processor from those that work: on a
    # busy machine a question took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
