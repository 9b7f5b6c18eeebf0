"""Templates of file names and of catalogues: ``{{ }}`` alone, strict, sandboxed and bounded.

No calls, no attributes of Python, a handful of filters: a manifest may come from someone else. What is rendered is
never rendered again.
"""

from fluxbatch.planning.templates.filename import Template
from fluxbatch.planning.templates.prose import ABSENT, Condition, Prose, Scope, Uses, is_name
from fluxbatch.planning.templates.sandbox import BadTemplate

__all__ = ["ABSENT", "BadTemplate", "Condition", "Prose", "Scope", "Template", "Uses", "is_name"]
