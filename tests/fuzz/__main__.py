"""Fuzz /map: `python -m tests.fuzz --count 100000 --seed 7 --http 5000`.

Runs tests/fuzz with these numbers, on a database and a broker of its own, and prints how long
mapping took. The same seed makes the same outputs.
"""

import argparse
import os
import sys

import pytest


def main() -> int:
    """The exit status of pytest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="outputs mapped in process")
    parser.add_argument("--http", type=int, default=5_000, help="outputs sent over HTTP")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ |= {
        "PILLARS_FUZZ_COUNT": str(options.count),
        "PILLARS_FUZZ_HTTP": str(options.http),
        "PILLARS_FUZZ_SEED": str(options.seed),
    }
    return pytest.main(["-q", "-x", "-o", "timeout=0", "tests/fuzz"])


if __name__ == "__main__":
    sys.exit(main())
