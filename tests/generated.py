"""docs/generate.py, for tests: what is made of the code."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@cache
def load_generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # It imports what lies beside it.
    sys.path.append(str(ROOT / "docs"))
    spec.loader.exec_module(module)
    return module
