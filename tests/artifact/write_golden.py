"""Write this version's golden files. Run once for each released format version; never overwrite.

python tests/artifact/write_golden.py
"""

from pathlib import Path

from test_artifact import GOLDEN, GOLDEN_GRAPHS

from tersor import _core, artifact

if __name__ == "__main__":
    major, minor = _core.artifact.VERSION
    Path(GOLDEN).mkdir(exist_ok=True)
    for kind, (make, _) in GOLDEN_GRAPHS.items():
        path = Path(GOLDEN) / f"version-{major}.{minor}{kind}.tersor"
        if path.exists():
            print(f"{path} exists: a released file must never change")
        else:
            profile = "small" if kind.endswith("-small") else "fast"
            artifact.save(path, make(), {"recipe": "int8"}, {"seconds": 0.25}, profile=profile)
