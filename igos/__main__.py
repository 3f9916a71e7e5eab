"""python -m igos"""

from __future__ import annotations

import sys

from igos.cli.main import main

sys.exit(main())
