"""Runs the command line: `python -m isthmus`."""

import sys

from .cli import main

sys.exit(main())
