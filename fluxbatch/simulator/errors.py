"""Errors in the shapes that the gateway and its delivery host answer with."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.sax.saxutils import escape

from aiohttp import web


class ApiError(Exception):
    """A refusal in the gateway's shape: `{"error": {message, localized_message, type, param, code}}`."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        *,
        param: str = "",
        kind: str = "shell_api_error",
        headers: dict[str, str] | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        """Say why; `extra` joins the error object, `headers` the answer."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind
        self.headers = headers or {}
        self.extra = extra or {}

    def body(self, request_id: str) -> dict[str, object]:
        """The JSON body; the message ends in the request id, as seen in the wild."""
        return {
            "error": {
                "message": f"{self.message} (request id: {request_id})",
                "localized_message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
                **self.extra,
            }
        }


class HtmlError(Exception):
    """A refusal by a proxy in front of the gateway: HTML, no JSON, no request id."""

    def __init__(self, status: int, title: str, server: str) -> None:
        """`server` signs the page, e.g. nginx or cloudflare."""
        super().__init__(f"{status} {title}")
        self.status = status
        self.title = title
        self.server = server

    def response(self) -> web.Response:
        """The page."""
        heading = f"{self.status} {self.title}"
        text = (
            f"<html>\r\n<head><title>{heading}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
            f"<hr><center>{self.server}</center>\r\n</body>\r\n</html>\r\n"
        )
        return web.Response(status=self.status, text=text, content_type="text/html", headers={"Server": self.server})


def refuse(param: str, message: str) -> ApiError:
    """A parameter that the API does not take as sent: 400 `invalid_request`."""
    return ApiError(400, "invalid_request", message, param=param)


def invalid_url(method: str, path: str) -> ApiError:
    """An address that the gateway does not know; one-api words it so for any method and path."""
    return ApiError(404, "", f"Invalid URL ({method} {path})", kind="invalid_request_error")


def azure_error(status: int, code: str, message: str, *, detail: str = "", now: float, request_id: str) -> web.Response:
    """An error of Azure Blob Storage: XML after a byte order mark, the code also in a header."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    tail = f"<AuthenticationErrorDetail>{escape(detail)}</AuthenticationErrorDetail>" if detail else ""
    text = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{escape(message)}\n'
        f"RequestId:{request_id}\nTime:{stamp}</Message>{tail}</Error>"
    )
    return web.Response(
        status=status,
        body=text.encode(),
        content_type="application/xml",
        headers={
            "Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
            "x-ms-error-code": code,
            "x-ms-request-id": request_id,
        },
    )
