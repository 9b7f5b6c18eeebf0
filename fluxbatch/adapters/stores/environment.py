"""Where a store is and how to sign for it, from the variables that its users know. Nothing of it comes from a manifest.

What is not named here is left to obstore, which knows each cloud's own chain: web identity, containers, instances.
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fluxbatch.adapters.stores.faults import no_credentials
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbatch.model.address import StoreAddress

__all__ = ["S3Place", "s3_place"]

_ENDPOINT: Final = re.compile(r"https?://[^/@?#\s]+(?:/[^@?#\s]*)?")
_ELSEWHERE: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""ways to credentials that obstore goes by itself"""
_DEFAULT_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Place:
    """What is told to an S3 client; what is empty is left to it.

    Attributes:
        endpoint: with the bucket in its host if ``virtual``.
        virtual: the bucket is part of the host's name.
    """

    region: str
    endpoint: str = ""
    virtual: bool = False
    key_id: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def s3_place(address: StoreAddress, environment: Mapping[str, str]) -> S3Place:
    """The place of a bucket that is reached by the S3 protocol. May read ``~/.aws``.

    Raises:
        UsageError: a variable can't be used, or there is nothing to sign with.
    """
    return _oss(address, environment) if address.scheme == "oss" else _s3(address, environment)


def _s3(address: StoreAddress, environment: Mapping[str, str]) -> S3Place:
    said = _Variables(environment)
    endpoint = said.first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    _check_endpoint(endpoint, "AWS_ENDPOINT_URL")
    profile = _profile(environment)
    region = said.first("AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region", "") or _DEFAULT_REGION
    key_id, secret = said.first("AWS_ACCESS_KEY_ID"), said.first("AWS_SECRET_ACCESS_KEY")
    token = said.first("AWS_SESSION_TOKEN", "AWS_TOKEN")
    if not key_id:
        key_id, secret = profile.get("aws_access_key_id", ""), profile.get("aws_secret_access_key", "")
        token = profile.get("aws_session_token", "")
    if endpoint and not (key_id and secret) and not said.first(*_ELSEWHERE):
        raise no_credentials(address)  # no instance of that cloud would have any for an endpoint of somebody else
    virtual = said.first("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").lower() in {"true", "1"}
    if virtual and endpoint:
        endpoint = _with_bucket(endpoint, address.bucket)
    return S3Place(region, endpoint.rstrip("/"), virtual, key_id, secret, token)


def _oss(address: StoreAddress, environment: Mapping[str, str]) -> S3Place:
    """Alibaba's OSS by its S3 protocol, which wants the bucket in the host's name; or any other endpoint."""
    said = _Variables(environment)
    region = said.first("OSS_REGION", "ALIBABA_CLOUD_REGION_ID").removeprefix("oss-")
    endpoint = said.first("OSS_ENDPOINT")
    if not endpoint:
        if not region:
            raise UsageError(f"{address}: its region is not known", remedy="set OSS_REGION or OSS_ENDPOINT")
        endpoint = f"https://oss-{region}.aliyuncs.com"
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    _check_endpoint(endpoint, "OSS_ENDPOINT")
    key_id = said.first("OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID")
    secret = said.first("OSS_ACCESS_KEY_SECRET", "ALIBABA_CLOUD_ACCESS_KEY_SECRET")
    if not (key_id and secret):
        raise no_credentials(address)
    token = said.first("OSS_SESSION_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN")
    found = re.search(r"://(?:s3\.)?oss-([a-z0-9-]+?)(?:-internal)?\.aliyuncs\.com", endpoint)
    virtual = found is not None
    if virtual:
        endpoint = _with_bucket(re.sub(r"://(?:s3\.)?oss-", "://s3.oss-", endpoint), address.bucket)
    region = region or (found[1] if found else _DEFAULT_REGION)
    return S3Place(region, endpoint.rstrip("/"), virtual, key_id, secret, token)


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def first(self, *names: str) -> str:
        """The first that holds something; empty if none does."""
        return next((value for name in names if (value := self._environment.get(name, "").strip())), "")


def _check_endpoint(endpoint: str, variable: str) -> None:
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise UsageError(f"{variable} is no address of a server", remedy="write https://host, without a key")


def _with_bucket(endpoint: str, bucket: str) -> str:
    scheme, _, host = endpoint.partition("://")
    return endpoint if host.startswith(f"{bucket}.") else f"{scheme}://{bucket}.{host}"


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """What ``~/.aws`` says for the profile that is asked for; nothing if it can't be read."""
    name = environment.get("AWS_PROFILE", "").strip() or "default"
    home = Path(environment.get("HOME", "") or "/nonexistent") / ".aws"
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(environment.get(variable, "") or home / file, encoding="utf-8")
            found |= dict(parser.items(section)) if parser.has_section(section) else {}
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
    return found
