#!/usr/bin/env python
"""Pillars' command line: `python manage.py help` lists the commands."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Put the source roots on the path and hand over to Django."""
    root = Path(__file__).resolve().parent
    for source_root in (root / "platform", root):
        if str(source_root) not in sys.path:
            sys.path.insert(0, str(source_root))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
