"""examples/chat: its modules load, and its settings are refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = [
    ".".join(path.relative_to(EXAMPLES).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((EXAMPLES / "chat").rglob("*.py"))
]
KEY = "0123456789abcdef" * 2


def python(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs it with the example's folder on the path, as `uvicorn chat.main:app` in that folder has it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHAT_", "DB_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=kept | {"PYTHONPATH": str(EXAMPLES)} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_module_loads_without_a_server() -> None:
    """Fails when a module names what the router does not have, or asks for a server when it is imported."""
    assert {"chat.main", "chat.config.settings", "chat.database.replica_manager", "chat.core.dependencies"} <= set(
        MODULES
    )
    done = python(
        "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in MODULES), CHAT_TOKEN_KEY=KEY
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "CHAT_TOKEN_KEY: at least 32 characters"),
        ({"CHAT_TOKEN_KEY": "short"}, "CHAT_TOKEN_KEY: at least 32 characters"),
        ({"CHAT_TOKENS": "maybe"}, "CHAT_TOKENS: 'maybe' is neither on nor off"),
        ({"CHAT_TOKEN_KEY": KEY, "CHAT_SECURE_COOKIES": "1"}, "CHAT_SECURE_COOKIES: '1' is neither on nor off"),
    ],
)
def test_a_bad_setting_is_named(environ: dict[str, str], told: str) -> None:
    """Fails when the application starts with tokens that anybody could sign."""
    done = python("from chat.config.settings import Settings; Settings.from_environ()", **environ)
    assert done.returncode == 1
    assert told in done.stderr


def test_the_key_is_in_no_repr() -> None:
    done = python("from chat.config.settings import Settings; print(Settings.from_environ())", CHAT_TOKEN_KEY=KEY)
    assert "secure_cookies=True" in done.stdout
    assert KEY not in done.stdout
