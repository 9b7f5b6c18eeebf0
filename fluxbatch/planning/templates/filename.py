"""Templates of file names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined

from fluxbatch.planning.templates.sandbox import FAILURES, BadTemplate, Sandbox, translated, unworkable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Template"]

_LONGEST_TEMPLATE: Final = 1000
_LONGEST_TEXT: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAMES: Final = Sandbox(_LONGEST_TEXT, StrictUndefined)


class Template:
    """A compiled template of file names.

    Raises:
        BadTemplate: it is too long, or not valid.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_TEMPLATE:
            raise BadTemplate(f"is {len(text)} characters long, the limit is {_LONGEST_TEMPLATE}")
        if _CONTROL.search(text):
            raise BadTemplate("has a control character or line break")
        with translated():
            self._template = _NAMES.from_string(text)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values.

        Raises:
            BadTemplate: a name is not there, or the text would be too long.
        """
        try:
            text = "".join(self._template.generate(values))
        except FAILURES as error:
            raise unworkable(error) from None
        if len(text) > _LONGEST_TEXT:
            raise BadTemplate(f"gives {len(text)} characters, the limit is {_LONGEST_TEXT}")
        return text
