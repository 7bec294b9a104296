"""The engine is plain Python and can be used by itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_engine_imports_nothing_but_the_standard_library_and_orjson() -> None:
    code = (
        "import sys; before = set(sys.modules); import mapping.engine;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'mapping', 'orjson'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_orjson_is_optional() -> None:
    code = (
        "import sys; sys.modules['orjson'] = None;"
        "from mapping.engine.formats import parse_text; print(parse_text('{\"a\": [1]}'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'a': [1]}"
