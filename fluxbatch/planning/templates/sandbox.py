"""The environment that templates live in, and what becomes of their errors."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jinja2.runtime import Undefined

__all__ = ["FAILURES", "BadTemplate", "Missing", "Sandbox", "translated", "unworkable"]

_LARGEST_NUMBER: Final = 1 << 63
_FILTERS: Final = (
    *("capitalize", "default", "d", "first", "float", "int", "last", "length", "lower", "replace", "title", "trim"),
    "upper",
)
# Blocks and comments can't be turned off, so they begin with what no template may contain: {#FF0000} is a colour.
_NEVER: Final = "\x01"

FAILURES: Final = (
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


class Missing(StrictUndefined):
    """A value that is not there, without Python's names for what it was looked for in."""

    @property
    def _undefined_message(self) -> str:
        return self._undefined_hint or f"there is no {self._undefined_name!r}"


class Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, longest: int, undefined: type[Undefined], finalize: Callable[[Any], Any] | None = None) -> None:
        super().__init__(
            block_start_string=f"{_NEVER}[",
            block_end_string=f"]{_NEVER}",
            comment_start_string=f"{_NEVER}(",
            comment_end_string=f"){_NEVER}",
            undefined=undefined,
            optimized=False,  # constants are worked out when rendering, within bounds
            autoescape=False,
            keep_trailing_newline=True,
            finalize=finalize,
        )
        self.globals.clear()
        self.filters = {name: _bounded(FILTERS[name], longest) for name in _FILTERS}
        self.filters["replace"] = functools.partial(_replaced, longest)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Names of a mapping come before Python's own."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

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


def _bounded(function: Callable[..., Any], longest: int) -> Callable[..., Any]:
    """A filter that refuses to grow its text without end."""

    @functools.wraps(function)  # with the marks of filters that ask for the environment
    def checked(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if isinstance(result, str) and len(result) > longest:
            raise SecurityError(f"the text grows beyond {longest} characters")
        return result

    return checked


def _replaced(longest: int, value: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Jinja's filter, which would make the whole text before anyone could see how long it is."""
    text, before, after = str(value), str(old), str(new)
    times = text.count(before) if count is None or count < 0 else min(count, text.count(before))
    if len(text) + times * (len(after) - len(before)) > longest:
        raise SecurityError(f"the text grows beyond {longest} characters")
    return text.replace(before, after, times)


@contextmanager
def translated() -> Iterator[None]:
    """Say in our words what Jinja says about a template."""
    try:
        yield
    except BadTemplate:
        raise
    except TemplateSyntaxError as error:
        raise BadTemplate(f"is not a valid template: {error.message}") from None
    except FAILURES:
        raise BadTemplate("is too complicated") from None


def unworkable(error: BaseException) -> BadTemplate:
    if isinstance(error, UndefinedError):
        return BadTemplate(str(error.message))
    return BadTemplate(f"can't be worked out: {str(error)[:200]}")
