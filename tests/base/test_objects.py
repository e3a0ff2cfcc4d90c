"""Objects compiled for an instruction set emit no weak symbols.

The linker keeps one copy of a weak symbol. Were it the AVX-512 copy of an inline function, code
that runs everywhere would crash on an older CPU.
"""

import re
import shutil
import subprocess

import pytest

from tests.datasets import ROOT

ISA_OBJECT = re.compile(
    r"_(sse42|avx2|avxvnni|avx512|avx512vnni|avx512bf16|neondot)\.cpp\.o$",
)
# Sanitizers need unoptimised inline functions; such a build is not for other machines.
OBJECTS = [
    path
    for path in sorted(ROOT.glob("build/*/**/CMakeFiles/tersor.dir/**/*.o"))
    if ISA_OBJECT.search(path.name) and "asan" not in path.parts
]


@pytest.mark.skipif(not OBJECTS, reason="no build folder beside the sources")
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm (package binutils)")
def test_isa_objects_emit_no_weak_symbols():
    found = []
    for path in OBJECTS:
        result = subprocess.run(
            ["nm", "-C", str(path)], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:  # an object of another processor family
            continue
        for line in result.stdout.splitlines():
            # DW.ref.__gxx_personality_v0 is a pointer, not code.
            if line[16:19] in (" W ", " V ", " u ") and "DW.ref." not in line:
                found.append(f"{path.name}: {line}")
    assert not found, "\n".join(found)
