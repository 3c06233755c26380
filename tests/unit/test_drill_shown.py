"""A drill on the screen, in JSON and as a sample: what it has just measured, and the last one in the status."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from replctl.cli.render_outcome import outcome_renderable
from replctl.cli.render_status import status_text
from replctl.cli.status_json import status_document, status_schema
from replctl.cli.status_prometheus import status_metrics
from replctl.cli.streams import open_console, show
from replctl.model.drill import DrillReport, LastDrill
from replctl.model.errors import ExitCode
from replctl.model.outcome import Outcome, OutcomeKind
from replctl.model.report import StatusReport
from replctl.planning.report import status_report
from tests.unit.builders import a_cluster
from tests.unit.plans import DB2

LAST = LastDrill("2026-11-22T03:04:05+00:00", DB2, (96.4, 1103.0), 12.0, 1234, 0)
REPORT = DrillReport(DB2, (96.4, 1103.0), 12.0, 1234, (), ())


def report_with(last: LastDrill | None) -> StatusReport:
    situation = a_cluster().primary("db1").replica("db2").situation(last_drill=last)
    return status_report(situation.inventory, situation.facts)


def outcome_text(report: DrillReport) -> str:
    out = io.StringIO()
    outcome = Outcome("drill", "chat", OutcomeKind.DONE, ExitCode.DONE, drill=report, write_outage_ms=1103.0)
    show(open_console(out), outcome_renderable(outcome))
    return out.getvalue()


def test_what_a_drill_measured() -> None:
    text = outcome_text(REPORT)
    assert "writes: were down for 96 ms on the way to db2, for 1.1 s on the way back" in text
    assert "were answered all the time but for 12 ms at the longest" in text
    assert "1234 acknowledged, none lost, none written twice" in text
    assert text.count("writes:") == 1


def test_lost_rows_are_loud_and_what_is_unknown_is_said() -> None:
    assert "2 LOST, 1 written twice" in outcome_text(replace(REPORT, missing=(1, 2), repeated=(3,)))
    unknown = replace(REPORT, write_outage_ms=(96.4, None), read_outage_ms=None, missing=None, repeated=None)
    text = outcome_text(unknown)
    assert "writes: were down for 96 ms on the way to db2\n" in text
    assert "1234 acknowledged, and they could not be read back" in text
    assert "reads:" not in text


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_line_of_the_status(width: int) -> None:
    words = " ".join(status_text(report_with(LAST), width=width).split())
    assert "last drill 2026-11-22 03:04 UTC to db2 and back: 1234 rows, none lost;" in words
    assert "writes were down for 96 ms and 1.1 s, reads for 12 ms" in words
    assert "2 LOST" in status_text(report_with(replace(LAST, lost=2, read_outage_ms=None)))


def test_without_a_drill_there_is_no_line() -> None:
    assert "drill" not in status_text(report_with(None))


def test_the_document_of_the_status() -> None:
    validator = Draft202012Validator(status_schema())
    for last in (None, LAST, replace(LAST, read_outage_ms=None)):
        document = status_document(report_with(last))
        validator.validate(document)
        assert (document["last_drill"] is None) == (last is None)
    assert status_document(report_with(LAST))["last_drill"] == {
        "at": "2026-11-22T03:04:05+00:00",
        "to": "db2",
        "write_outage_ms": [96.4, 1103.0],
        "read_outage_ms": 12.0,
        "rows": 1234,
        "lost": 0,
    }


def test_the_sample_of_the_status() -> None:
    name = "replctl_last_drill_timestamp_seconds"
    assert f'{name}{{cluster="chat"}} 1795316645.0\n' in status_metrics(report_with(LAST))
    assert f"{name}{{" not in status_metrics(report_with(None))
