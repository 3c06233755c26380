"""Templates filled in by Jinja2: in its sandbox, and where an undefined name is an error."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property, partial
from traceback import extract_tb

from jinja2 import (
    FunctionLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateRuntimeError,
    TemplateSyntaxError,
)
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory
from replctl.postgres.conf_syntax import quote_setting

_TEMPLATE_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What an expression of a template may end in."""


@dataclass(frozen=True)
class Form:
    """A template that is compiled once and filled in for many nodes."""

    inventory: Inventory
    name: str
    text: str

    def filled(self, values: Mapping[str, object]) -> str:
        """The template with ``values``. Raises InventoryError with the line that failed."""
        try:
            return self._compiled.render(values)
        except _TEMPLATE_FAILURES as error:
            folder = self.inventory.templates
            shown = folder / self.name if folder else self.name
            raise InventoryError(
                f"{shown}:{_line(error, self.name)}: {error}",
                hint="Mend the template; docs/configuration.md lists what it may use.",
            ) from error

    @cached_property
    def uses(self) -> Set[str]:
        """The names of the values that it asks for."""
        try:
            return find_undeclared_variables(self._environment.parse(self.text))
        except TemplateSyntaxError:  # told when it is filled in
            return frozenset()

    @cached_property
    def _compiled(self) -> Template:
        return self._environment.get_template(self.name)

    @cached_property
    def _environment(self) -> ImmutableSandboxedEnvironment:
        environment = ImmutableSandboxedEnvironment(
            loader=FunctionLoader(partial(_source, {self.name: self.text})),
            undefined=StrictUndefined,
            autoescape=False,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["setting"] = _setting
        return environment


def _source(sources: Mapping[str, str], name: str) -> tuple[str, str, None]:
    if name not in sources:
        raise TemplateRuntimeError(f"a template cannot include another file: {name}")
    return sources[name], name, None


def _setting(value: object) -> str:
    """The template filter ``setting``: a value in postgresql.conf's quoting."""
    return quote_setting(str(value))


def _line(error: Exception, name: str) -> int:
    """The line of the template that failed: Jinja2 maps the traceback's frames back to it."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    return next((frame.lineno or 0 for frame in reversed(extract_tb(error.__traceback__)) if frame.filename == name), 0)
