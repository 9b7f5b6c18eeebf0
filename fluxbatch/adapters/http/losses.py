"""How a request ended without an answer, in words."""

from __future__ import annotations

import aiohttp

__all__ = ["words_of"]


def words_of(error: Exception) -> str:
    """Why there was no answer; may hold what the host said."""
    if isinstance(error, aiohttp.ClientConnectorSSLError) and _speaks_no_tls(error):
        return f"{error.host}:{error.port} doesn't speak TLS: is it http://?"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__


def _speaks_no_tls(error: aiohttp.ClientConnectorSSLError) -> bool:
    return getattr(error.os_error, "reason", "") == "WRONG_VERSION_NUMBER"
