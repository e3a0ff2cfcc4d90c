"""House rules that a machine can check: directions of includes and imports, chains to kernels."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tersor

ROOT = Path(__file__).resolve().parents[1]
CPP = ROOT / "cpp" / "tersor"
PYTHON = ROOT / "python" / "tersor"

CAPABILITIES = ["quantization", "pruning", "sparse", "codebook", "distillation"]
# Each level may include what stands before it.
CPP_LEVELS = [
    ["base"], ["tensor"], ["cuda"], ["coding"], CAPABILITIES, ["reconstruction"], ["graph"],
    ["artifact"], ["runtime", "codegen"],
]  # fmt: skip
PYTHON_LEVELS = [
    ["base"], ["coding", *CAPABILITIES, "reconstruction"], ["cuda"], ["graph", "targets", "data"],
    ["importers", "artifact"], ["runtime", "exporters"], ["report"], ["compress"],
    ["torch", "keras"], ["zoo", "training", "serve"], ["cli"],
]  # fmt: skip
# What `import tersor` must not load.
HEAVY = {"torch", "keras", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "tensorflow", "jax",
         "sklearn", "matplotlib", "plotly", "PIL", "h5py", "pandas", "scipy"}  # fmt: skip


def level_of(levels, room):
    return next((i for i, rooms in enumerate(levels) if room in rooms), None)


def test_every_room_has_a_level():
    assert {p.name for p in CPP.iterdir()} <= {r for rooms in CPP_LEVELS for r in rooms}
    others = {"__pycache__", "_core"}  # the stubs of the extension
    rooms = {p.name for p in PYTHON.iterdir() if p.is_dir()} - others
    assert rooms <= {r for rooms in PYTHON_LEVELS for r in rooms}


@pytest.mark.parametrize(
    "path", sorted(CPP.glob("*/*.*")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_includes_point_down(path):
    room = path.parent.name
    own = level_of(CPP_LEVELS, room)
    text = path.read_text()
    assert "pybind11" not in text, "no Python in the library"
    assert "Python.h" not in text, "no Python in the library"
    for target in re.findall(r'#include "tersor/(\w+)/', text):
        assert target == room or level_of(CPP_LEVELS, target) < own, (
            f"{room} must not include {target}"
        )


def imported_rooms(path):
    """Rooms of the package that a module imports anywhere, function bodies included."""
    package = path.relative_to(PYTHON).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = list(package[: len(package) - node.level + 1])
                parts = base + (node.module.split(".") if node.module else [])
                yield from (parts[:1] or [a.name for a in node.names])
            elif node.module and node.module.split(".")[0] == "tersor":
                yield from node.module.split(".")[1:2] or [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("tersor."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize(
    "path",
    sorted(p for p in PYTHON.rglob("*.py") if p.parent != PYTHON),
    ids=lambda p: str(p.relative_to(PYTHON)),
)
def test_imports_point_down(path):
    room = path.relative_to(PYTHON).parts[0]
    own = level_of(PYTHON_LEVELS, room)
    for target in imported_rooms(path):
        level = level_of(PYTHON_LEVELS, target)
        if level is not None and target != room:
            assert level < own, f"{room} must not import {target}"


def test_import_tersor_loads_numpy_and_nothing_heavy():
    script = (
        "import sys; import numpy; before = set(sys.modules); import tersor\n"
        f"print([m for m in {sorted(HEAVY)!r} if m in sys.modules])\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new - {'tersor'} - sys.stdlib_module_names))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    heavy, others = out.splitlines()
    assert heavy == "[]"
    assert others == "[]"


def kernel_rows():
    """(room, stem, operation, variant) of every kernels.inc."""
    for table in sorted(CPP.glob("*/kernels.inc")):
        for stem, operation, variant in re.findall(
            r"TERSOR_KERNEL\((\w+), (\w+), (\w+)\)", table.read_text()
        ):
            yield table.parent.name, stem, operation, variant


@pytest.mark.parametrize("room", sorted({r[0] for r in kernel_rows()}))
def test_every_kernel_has_its_files(room):
    stems = {}
    for r, stem, operation, variant in kernel_rows():
        if r == room:
            stems.setdefault(stem, {}).setdefault(operation, []).append(variant)
    for stem, operations in stems.items():
        for operation, variants in operations.items():
            headers = [
                p for p in (CPP / room).glob("*.h") if f"using {operation}_sig" in p.read_text()
            ]
            assert len(headers) == 1, f"{operation}: one header states the contract"
            assert variants[-1] == "ref", f"{operation}: the reference is the last row"
            for variant in variants:
                # "simd_avx2" is the loop of <stem>_simd.cpp compiled for that instruction set.
                source = "simd" if variant.startswith("simd") else variant
                assert (CPP / room / f"{stem}_{source}.cpp").exists(), f"{stem}_{source}.cpp"
        tests = list((ROOT / "tests" / room).glob("*.py"))
        assert any(stem in p.stem or stem in p.read_text() for p in tests), (
            f"{room}/{stem} has a test"
        )
        if room != "base":
            texts = [p.read_text() for p in (ROOT / "benchmarks").rglob("bench_*.py")]
            names = {stem, *operations}
            assert any(name in text for name in names for text in texts), (
                f"{room}/{stem} has a benchmark"
            )


def public_objects():
    """(name, object) of everything that a room's or the package's __all__ promises."""
    names = [n for n in tersor.__all__ if not n.startswith("_")]
    for name in names:
        value = getattr_if_installed(tersor, name)
        if inspect.ismodule(value):
            for inner in getattr(value, "__all__", []):
                yield f"{name}.{inner}", getattr_if_installed(value, inner)
        else:
            yield name, value


def getattr_if_installed(owner, name):
    """The attribute, or None where it needs an optional dependency that is missing."""
    try:
        return getattr(owner, name)
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        return None


def complaints_about(name, value):
    doc = inspect.getdoc(value)
    if not doc:
        yield f"{name} has no docstring"
    elif inspect.isfunction(value):
        signature = inspect.signature(value)
        for parameter in signature.parameters.values():
            if parameter.annotation is parameter.empty:
                yield f"{name}({parameter.name}) has no type"
        if signature.return_annotation is signature.empty:
            yield f"{name} has no return type"
        if signature.parameters and "Parameters\n----------" not in doc:
            yield f"{name} has no Parameters section"
        returns = "Returns\n-------" in doc or "Yields\n------" in doc
        if signature.return_annotation not in (None, "None") and not returns:
            yield f"{name} has no Returns section"


def test_public_objects_are_documented_and_typed():
    found = []
    for name, value in public_objects():
        if inspect.isfunction(value) or inspect.isclass(value):
            found += complaints_about(name, value)
    assert not found, "\n".join(found)


def test_public_modules_end_in_all():
    for path in PYTHON.rglob("__init__.py"):
        module = importlib.import_module(".".join(["tersor", *path.relative_to(PYTHON).parts[:-1]]))
        assert hasattr(module, "__all__"), path


def named_types(path):
    """Types that a file defines at the top of its room's namespace, with external linkage."""
    text = re.sub(r"namespace \{\n.*?^\}  // namespace$", "", path.read_text(), flags=re.S | re.M)
    head = r"^(?:struct|class|enum class) (?:TERSOR_API )?(\w+)(?: final)?(?: : [^{;]*)? \{"
    return re.findall(head, text, re.M)


def test_every_type_is_defined_once():
    # Two types of one name in a namespace are one type to the linker: the template instances of
    # one, such as std::vector<Tap>, then run on the other.
    defined = {}
    for path in sorted([*CPP.glob("*/*.h"), *CPP.glob("*/*.cpp")]):
        for name in named_types(path):
            place = (path.parent.name, name)
            assert place not in defined, f"{path}: {name} is also in {defined[place]}"
            defined[place] = path
    assert ("runtime", "Session") in defined


def test_nothing_in_the_tree_names_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {
            ".py",
            ".md",
            ".cpp",
            ".h",
            ".inc",
            ".toml",
            ".txt",
            ".yaml",
            ".yml",
            ".cmake",
            ".ipynb",
        }:
            text = path.read_text()
            assert not re.search(r"/(root|home|Users)/\w", text), name
