"""python -m igos"""

import sys

from igos.cli import main

sys.exit(main())
