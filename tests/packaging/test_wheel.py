"""What users install: the wheel, with the templates in it and the tests left out."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import replctl

REPOSITORY = Path(__file__).parents[2]

RENDER = """
from pathlib import Path
import replctl
from replctl.inventory import parse_inventory
from replctl.postgres.render import render_config
from replctl.remote.local_files import read_template_dir

package = Path(replctl.__file__).parent
example = package / "templates" / "inventory.example.yaml"
inventory = parse_inventory(example.read_text(), example)
node = next(iter(inventory.nodes.values()))
print(package)
for file in render_config(inventory, node, read_template_dir(None), major=15, socket_dir="/run/postgresql"):
    print(file.name, len(file.text.splitlines()) > 10)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network by the build backend of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    run_pip("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    # A path in a .pth file comes after this folder, and brings no .pth files of its own: the editable replctl of
    # this environment stays unseen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run_pip(*args: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *args], check=True, capture_output=True)


def output(installed: Path, program: str, *args: str) -> str:
    done = subprocess.run(
        [installed / "venv/bin" / program, *args], cwd=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"replctl", f"replctl-{replctl.__version__}.dist-info"}
    assert {name.rsplit("/", 1)[1] for name in names if name.startswith("replctl/templates/")} == {
        "inventory.example.yaml",
        "pg_hba.conf.j2",
        "postgresql.conf.j2",
    }
    assert "replctl/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_templates_render_from_the_installed_wheel(installed: Path) -> None:
    package, *files = output(installed, "python", "-c", RENDER).splitlines()
    assert Path(package).is_relative_to(installed)
    assert files == ["postgresql.conf True", "pg_hba.conf True"]


def test_installed_program_tells_its_version(installed: Path) -> None:
    assert output(installed, "replctl", "--version").split()[-1] == replctl.__version__
