"""``python -m tersor`` is the ``tersor`` command."""

import sys

from .cli.entry import main

sys.exit(main())
