"""Templates of file names: ``{{ }}`` alone, strict, sandboxed and bounded.

No calls, no attributes of Python, a handful of filters: a manifest may come from someone else. What is rendered is
never rendered again.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BadTemplate", "Template"]

_LONGEST_TEMPLATE: Final = 1000
_LONGEST_TEXT: Final = 4096
_LARGEST_NUMBER: Final = 1 << 63
_FILTERS: Final = ("default", "d", "first", "int", "last", "length", "lower", "replace", "title", "trim", "upper")
# Blocks and comments can't be turned off, so they begin with what no template may contain: {#FF0000} is a colour.
_NEVER: Final = "\x01"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FAILURES: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


class BadTemplate(ValueError):
    """A template that can't be read, or that gives no text for a job."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            block_start_string=f"{_NEVER}[",
            block_end_string=f"]{_NEVER}",
            comment_start_string=f"{_NEVER}(",
            comment_end_string=f"){_NEVER}",
            undefined=StrictUndefined,
            optimized=False,  # constants are worked out when rendering, within bounds
            autoescape=False,
        )
        self.globals.clear()
        self.filters = {name: _bounded(FILTERS[name]) for name in _FILTERS}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002 - Jinja's own signature
        """Refuse all: names of a mapping are found without attributes."""
        return False

    def is_safe_callable(self, obj: Any) -> bool:  # noqa: ARG002 - Jinja's own signature
        """Refuse all."""
        return False

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Work out an operator on numbers, and ``+`` on text."""
        both = (left, right)
        if operator == "**" or not (_are_numbers(both) or (operator == "+" and _are_text(both))):
            raise SecurityError(f"the operator {operator} is for numbers of a reasonable size")
        return super().call_binop(context, operator, left, right)


def _are_numbers(values: tuple[Any, ...]) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER
        for value in values
    )


def _are_text(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, str) for value in values)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that refuses to grow its text without end."""

    @functools.wraps(function)  # with the marks of filters that ask for the environment
    def checked(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, str) and len(result) > _LONGEST_TEXT:
            raise SecurityError(f"the text grows beyond {_LONGEST_TEXT} characters")
        return result

    return checked


_ENVIRONMENT: Final = _Sandbox()


class Template:
    """A compiled template.

    Raises:
        BadTemplate: it is too long, or not valid.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_TEMPLATE:
            raise BadTemplate(f"is {len(text)} characters long, the limit is {_LONGEST_TEMPLATE}")
        if _CONTROL.search(text):
            raise BadTemplate("has a control character or line break")
        try:
            self._template = _ENVIRONMENT.from_string(text)
        except TemplateSyntaxError as error:
            raise BadTemplate(f"is not a valid template: {error.message}") from None
        except _FAILURES:
            raise BadTemplate("is too complicated") from None

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values.

        Raises:
            BadTemplate: a name is not there, or the text would be too long.
        """
        try:
            text = "".join(self._template.generate(values))
        except UndefinedError as error:
            raise BadTemplate(str(error.message)) from None
        except _FAILURES as error:
            raise BadTemplate(f"can't be worked out: {str(error)[:200]}") from None
        if len(text) > _LONGEST_TEXT:
            raise BadTemplate(f"gives {len(text)} characters, the limit is {_LONGEST_TEXT}")
        return text
