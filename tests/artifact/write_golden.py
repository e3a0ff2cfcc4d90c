"""Write this version's golden file. Run once for each released format version; never overwrite one.

python tests/artifact/write_golden.py
"""

from pathlib import Path

from test_artifact import GOLDEN, small_graph

from tersor import _core, artifact

if __name__ == "__main__":
    major, minor = _core.artifact.VERSION
    path = Path(GOLDEN) / f"version-{major}.{minor}.tersor"
    if path.exists():
        raise SystemExit(f"{path} exists: a released file must never change")
    path.parent.mkdir(exist_ok=True)
    artifact.save(path, small_graph(), {"recipe": "int8"}, {"seconds": 0.25})
