"""The console script, and `python -m replctl`: the commands and, on top of them, the lab."""

from __future__ import annotations

from replctl.cli.app import RECORDS, app
from replctl.lab.app import lab_app

app.add_typer(lab_app, name="lab", rich_help_panel=RECORDS)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
