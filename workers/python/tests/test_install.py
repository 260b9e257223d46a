"""Installing the package from the source tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def test_pip_install_from_the_tree_leaves_no_files_in_it(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    shutil.copytree(PACKAGE, tree, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "build", "*.egg-info"))
    before = sorted(tree.rglob("*"))
    # Without an index: the build backend is one of the packages for tests.
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
         "--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--target", target, tree],
        check=True,
    )
    assert sorted(tree.rglob("*")) == before
    package = {path.relative_to(tree / "src") for path in (tree / "src").rglob("*") if path.is_file()}
    assert package <= {path.relative_to(target) for path in target.rglob("*")}
    assert Path("tasker/py.typed") in package
