"""The last check of the set-up step."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_compiled_half_that_does_not_load_is_named(tmp_path: Path) -> None:
    """vLLM would go on without it, as it does where a shared library is missing."""
    stand_in = tmp_path / "vllm"
    stand_in.mkdir()
    (stand_in / "__init__.py").touch()
    (stand_in / "platforms.py").write_text(
        "class current_platform:\n"
        "    is_cpu = staticmethod(lambda: True)\n"
        "    import_kernels = staticmethod(lambda: None)\n"
    )
    (stand_in / "_C_AVX2.abi3.so").touch()
    code = "from scripts.check_imports import load_kernels; load_kernels()"
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("OSError: ")
    assert "_C_AVX2.abi3.so" in last
