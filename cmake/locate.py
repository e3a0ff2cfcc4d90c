"""Print where a file of an installed Python distribution lies.  locate.py DISTRIBUTION SUFFIX

Works under build isolation, where sys.prefix does not point at the build requirements.
"""

import importlib.metadata
import sys

distribution, suffix = sys.argv[1:]
try:
    files = importlib.metadata.files(distribution) or []
except importlib.metadata.PackageNotFoundError:
    sys.exit(1)
for file in files:
    path = file.locate().resolve()
    if str(file).endswith(suffix) and path.exists():
        print(path.as_posix())
        sys.exit(0)
sys.exit(2)
