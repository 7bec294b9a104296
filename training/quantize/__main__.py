"""``python -m training.quantize STEP``: adapters and models in the forms that other servers want.

adapter  writes a LoRA adapter as GGUF for llama.cpp, whatever its base is quantized to
merge    writes the base model with the adapter in its weights, for tools that quantize models
"""

import argparse
import sys
from pathlib import Path

from training.quantize.lora_gguf import ConversionError, convert
from training.quantize.merge import merge

_REFUSED = 3


def main() -> int:
    """Parse the command line; write."""
    parser = argparse.ArgumentParser(prog="python -m training.quantize", description=__doc__)
    parser.add_argument("step", choices=("adapter", "merge"))
    parser.add_argument("adapter", type=Path, help="folder of the adapter")
    parser.add_argument("--base", type=Path, required=True, help="folder of its base model")
    parser.add_argument("--out", type=Path, required=True, help="file (adapter) or folder (merge)")
    options = parser.parse_args()
    try:
        if options.step == "adapter":
            count = convert(options.adapter, options.base, options.out)
            print(f"{options.out}: {count} tensors")  # noqa: T201 - a command line
        else:
            merge(options.adapter, options.base, options.out)
            print(options.out)  # noqa: T201 - a command line
    except (ConversionError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
