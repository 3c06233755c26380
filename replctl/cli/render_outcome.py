"""How a command ended, in words: what happened, how long it took, what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from replctl.cli.render_drill import drill_rows
from replctl.cli.render_error import labelled
from replctl.cli.step_words import KIND_STYLES, OUTCOME_STYLES, OUTCOME_WORDS, step_word
from replctl.cli.text import escape, human_duration
from replctl.model.errors import ExitCode
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome
from replctl.model.plan import Refusal

_SENTENCES = {
    OutcomeKind.DONE: "done",
    OutcomeKind.UNCHANGED: "nothing to do: everything is as it should be",
    OutcomeKind.PLANNED: "planned: nothing was changed",
    OutcomeKind.REFUSED: "refused: nothing was changed",
    OutcomeKind.UNDONE: "failed: everything that this run changed was undone",
    OutcomeKind.INCOMPLETE: "incomplete: the cluster was changed, and something is left to do",
    OutcomeKind.UNREACHABLE: "unreachable: nothing was changed",
    OutcomeKind.ERROR: "failed",
}
_TROUBLE = (StepOutcome.FAILED, StepOutcome.UNDONE, StepOutcome.UNDO_FAILED)


def outcome_renderable(outcome: Outcome, *, took_ms: float | None = None, then: str | None = None) -> RenderableType:
    """``took_ms`` is the whole run's duration in milliseconds, if it is worth telling; ``then`` what comes next where
    the outcome leaves nothing to do."""
    parts: list[RenderableType] = [_headline(outcome, took_ms)]
    rows = [*_trouble(outcome), *_notes(outcome)]
    if rows:
        parts.append(labelled(rows))
    if outcome.refusals:
        parts.append(labelled(_refusals(outcome.refusals)))
    if outcome.next or then:
        parts.append(labelled([("next:", outcome.next or then or "", "bold cyan")]))
    return Group(*parts)


def _sentence(outcome: Outcome) -> str:
    if outcome.exit_code is ExitCode.INTERRUPTED:
        return "interrupted: nothing stays changed"
    return _SENTENCES[outcome.kind]


def _headline(outcome: Outcome, took_ms: float | None) -> Text:
    style = KIND_STYLES[outcome.kind]
    text = Text.assemble(
        (escape(outcome.command), "bold"), f", cluster {outcome.cluster}: ", (_sentence(outcome), style)
    )
    ran = [step.outcome for step in outcome.steps]
    if done := ran.count(StepOutcome.DONE):
        text.append(f", {done} step{'s' if done > 1 else ''}")
    if unchanged := ran.count(StepOutcome.UNCHANGED):
        text.append(f", {unchanged} {OUTCOME_WORDS[StepOutcome.UNCHANGED]}")
    if took_ms is not None:
        text.append(f", in {human_duration(took_ms)}")
    return text


def _trouble(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    for step in outcome.steps:
        if step.outcome in _TROUBLE:
            where = f" on {step.node}" if step.node else ""
            detail = f": {step.detail}" if step.detail else ""
            yield (
                f"{OUTCOME_WORDS[step.outcome]}:",
                f"{step_word(step.id, step.node)}{where}{detail}",
                OUTCOME_STYLES[step.outcome],
            )


def _notes(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    if outcome.drill is not None:
        yield from drill_rows(outcome.drill)
    elif outcome.write_outage_ms is not None:
        yield "writes:", f"were down for {outcome.write_outage_ms:.0f} ms", "bold"
    if outcome.app_sessions is not None:
        counts = (f"{name} {'unknown' if n is None else n}" for name, n in outcome.app_sessions.items())
        yield "sessions:", f"of the application: {', '.join(counts)}", "bold"
    yield from (("note:", note, "yellow") for note in outcome.notes)


def _refusals(refusals: Sequence[Refusal]) -> Iterator[tuple[str, str, str]]:
    for number, refusal in enumerate(refusals, start=1):
        yield f"{number}.", refusal.message, "bold red"
        yield "hint:", refusal.hint, "bold cyan"
