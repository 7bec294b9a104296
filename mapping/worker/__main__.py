"""`python -m mapping.worker --port N`: serve a model on 127.0.0.1 until SIGTERM.

The key is taken from PILLARS_INFERENCE_API_KEY, never from the command line. Exit status 3: the
model cannot be loaded here, and starting again will not help.
"""

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

from mapping.worker.environment import prepare_environment
from mapping.worker.weights import WeightsError, base_in, check_memory, packaged_base

_CANNOT = 3
# Many more than may wait in line: /health and /metrics answer while all places are taken.
_THREADS = 64

log = logging.getLogger("mapping.worker")


def main() -> int:
    """Load, then serve."""
    options = _options()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    try:
        return _serve(options)
    except WeightsError as error:
        log.error("%s", error)
    except ImportError as error:
        log.error("The package %s is not installed: pip install 'pillars[model]'.", error.name)
    except MemoryError:
        log.error("There is not enough memory for the model.")
    return _CANNOT


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mapping.worker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model-dir", type=Path, help="a base model as transformers saves it")
    source.add_argument("--cache-dir", type=Path, help="where to keep the packaged base model")
    parser.add_argument("--adapter", type=Path, help="a LoRA adapter as PEFT saves it")
    parser.add_argument(
        "--adapters", type=Path, metavar="FOLDER", help="from which more may be loaded later"
    )
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: all")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--places", type=int, default=16, help="questions that may wait")
    parser.add_argument("--max-tokens", type=int, default=2048, help="of one prompt")
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> int:
    started = time.monotonic()
    prepare_environment()
    base = base_in(options.model_dir) if options.model_dir else packaged_base(options.cache_dir)
    check_memory(base)
    if options.adapters:
        options.adapters.mkdir(parents=True, exist_ok=True)

    import torch
    from waitress.server import create_server

    from mapping.worker.adapters import fitting_adapter
    from mapping.worker.app import MOST_BYTES, Application
    from mapping.worker.metrics import Metrics
    from mapping.worker.reader import Reader
    from mapping.worker.shelf import Shelf

    if options.threads:
        torch.set_num_threads(options.threads)
    adapter = fitting_adapter(options.adapter, base) if options.adapter else None
    shelf = Shelf(base, adapter, precision=options.precision, folder=options.adapters)
    [model] = shelf.models()
    metrics = Metrics()
    reader = Reader(metrics, places=options.places)
    application = Application(
        shelf, reader, metrics,
        key=os.environ.get("PILLARS_INFERENCE_API_KEY", ""), most_tokens=options.max_tokens,
    )  # fmt: skip
    server = create_server(
        application,
        host="127.0.0.1",
        port=options.port,
        threads=_THREADS,
        connection_limit=2 * _THREADS,
        max_request_body_size=MOST_BYTES,
        max_request_header_size=16_384,
        channel_timeout=60,
        ident=None,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    log.info(
        "%s serves on port %s after %.1f s (%s, %s threads).",
        model.name, options.port, time.monotonic() - started, model.precision,
        torch.get_num_threads(),
    )  # fmt: skip
    # What was served beside it before a restart follows while it answers already.
    Thread(target=shelf.take_up, name="take-up", daemon=True).start()
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
