"""The wheel in a fresh environment, outside the repository: an editable install hides files that were left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECK = """
from importlib import resources
import coinglass_streams, processors.pipeline, schemas.codec, schemas.compatibility, sandbox.kafka
assert schemas.compatibility.incompatible_with_release() == []
names = {one.name for one in resources.files("processors.views").joinpath("dashboard").iterdir()}
assert names == DASHBOARD, names
assert "site-packages" in coinglass_streams.__file__
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel, and with the dependencies that are here already."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.prefix) / "bin" / "uv"
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--python", python, wheel], check=True)
    # Everything else is taken from this environment, behind the wheel's own packages and without the editable ones.
    here = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    there = next((folder / "venv" / "lib").glob("python*/site-packages"))
    for package in here.iterdir():
        target = there / package.name
        if not target.exists() and "coinglass_streams" not in package.name and package.suffix != ".pth":
            target.symlink_to(package)
    return folder / "venv" / "bin", folder


def test_the_wheel_holds_all_that_the_packages_read(installed):
    bin_folder, folder = installed
    dashboard = {one.name for one in (ROOT / "processors" / "views" / "dashboard").iterdir()}
    subprocess.run([bin_folder / "python", "-I", "-c", f"DASHBOARD = {dashboard}\n{CHECK}"], check=True, cwd=folder)


def test_the_command_of_the_wheel_runs(installed):
    bin_folder, folder = installed
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COINGLASS_", "PYTHON"))}
    done = subprocess.run(
        [bin_folder / "coinglass-streams", "schemas"], capture_output=True, text=True, cwd=folder, env=clean, check=True
    )
    assert "compatible with the last release" in done.stdout
