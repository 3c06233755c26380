"""The console script, and `python -m replctl`: the commands and, on top of them, the lab."""

from __future__ import annotations

import gc

import typer

from replctl.cli.app import RECORDS, app
from replctl.lab.app import lab_app

app.add_typer(lab_app, name="lab", rich_help_panel=RECORDS)


def main() -> int:
    """Run the command line; returns its exit code."""
    # What is imported stays to the end: to look through it for garbage, once and again while it grows and once more at
    # the exit, is a sixth of what a short command takes. run_command() turns the collector on.
    gc.disable()
    try:
        code: object = app(prog_name="replctl", standalone_mode=False)
    except typer.TyperException as mistake:
        from replctl.cli.exits import show_misread  # noqa: PLC0415 - a shell that completes a word waits for no Rich

        return show_misread(mistake)
    finally:
        gc.freeze()
        gc.enable()
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    raise SystemExit(main())
