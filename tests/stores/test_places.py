"""Where a store is, by the variables that its users know; nothing is asked of it here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.adapters.stores.environment import s3_place
from fluxbatch.adapters.stores.metadata import label_of, read_label
from fluxbatch.errors import UsageError
from fluxbatch.model.address import StoreAddress, is_store_address
from fluxbatch.model.job import Stored
from fluxbatch.testing import make_job

if TYPE_CHECKING:
    from pathlib import Path

OURS = StoreAddress.parse("s3://bucket/a/b")
ALIBABA = StoreAddress.parse("oss://bucket/a/b")
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
OSS_KEYS = {"OSS_ACCESS_KEY_ID": "id", "OSS_ACCESS_KEY_SECRET": "secret"}


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://bucket", "bucket", ""),
        ("gs://bucket/", "bucket", ""),
        ("az://my-box/a b/ü?#%41.png/", "my-box", "a b/ü?#%41.png"),
        ("oss://b.u-c_k3t/x", "b.u-c_k3t", "x"),
    ],
)
def test_an_address(text: str, bucket: str, key: str) -> None:
    found = StoreAddress.parse(text)
    assert (found.bucket, found.key) == (bucket, key)
    assert found.url == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        *("s3:/bucket", "s3://", "s3:///key", "ftp://bucket/a", "S3://bucket/a"),
        *("s3://id:secret@bucket/a", "s3://host:9000/a", "s3://bu cket/a"),
        *("s3://b/../a", "s3://bucket/a//b", "s3://bucket/./a", "s3://bucket/a\nb", "s3://bucket/a\\b"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        StoreAddress.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    try:
        found = StoreAddress.parse(f"s3://{text}")
    except ValueError:
        return
    assert StoreAddress.parse(found.url) == found
    assert is_store_address(found.url)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        (KEYS, ("us-east-1", "", False)),
        ({**KEYS, "AWS_DEFAULT_REGION": "eu-west-1"}, ("eu-west-1", "", False)),
        ({**KEYS, "AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "auto"}, ("auto", "", False)),
        ({**KEYS, "AWS_ENDPOINT_URL": "https://r2.example.com/"}, ("us-east-1", "https://r2.example.com", False)),
        ({**KEYS, "AWS_ENDPOINT": "https://host/storage/s3"}, ("us-east-1", "https://host/storage/s3", False)),
        (
            {**KEYS, "AWS_ENDPOINT_URL": "https://a", "AWS_ENDPOINT_URL_S3": "https://b"},
            ("us-east-1", "https://b", False),
        ),
        (
            {**KEYS, "AWS_ENDPOINT_URL": "https://s3.example.com", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"},
            ("us-east-1", "https://bucket.s3.example.com", True),
        ),
    ],
)
def test_an_s3_place(environment: dict[str, str], wanted: tuple[str, str, bool]) -> None:
    place = s3_place(OURS, environment)
    assert (place.region, place.endpoint, place.virtual) == wanted
    assert (place.key_id, place.secret) == ("id", "secret")
    assert "secret" not in repr(place)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"OSS_REGION": "cn-shanghai"}, ("cn-shanghai", "https://bucket.s3.oss-cn-shanghai.aliyuncs.com", True)),
        (
            {"OSS_ENDPOINT": "oss-cn-hangzhou-internal.aliyuncs.com"},
            ("cn-hangzhou", "https://bucket.s3.oss-cn-hangzhou-internal.aliyuncs.com", True),
        ),
        (
            {"OSS_ENDPOINT": "https://s3.oss-eu-central-1.aliyuncs.com", "OSS_REGION": "oss-eu-central-1"},
            ("eu-central-1", "https://bucket.s3.oss-eu-central-1.aliyuncs.com", True),
        ),
        ({"OSS_ENDPOINT": "http://127.0.0.1:9000"}, ("us-east-1", "http://127.0.0.1:9000", False)),
    ],
)
def test_a_place_at_alibaba(environment: dict[str, str], wanted: tuple[str, str, bool]) -> None:
    place = s3_place(ALIBABA, OSS_KEYS | environment)
    assert (place.region, place.endpoint, place.virtual) == wanted


@pytest.mark.parametrize(
    ("address", "environment", "said"),
    [
        (OURS, {"AWS_ENDPOINT_URL": "https://s3.example.com"}, "AWS_ACCESS_KEY_ID"),
        (OURS, {**KEYS, "AWS_ENDPOINT_URL": "s3.example.com"}, "AWS_ENDPOINT_URL"),
        (OURS, {**KEYS, "AWS_ENDPOINT_URL": "https://id:secret@s3.example.com"}, "AWS_ENDPOINT_URL"),
        (ALIBABA, OSS_KEYS, "OSS_REGION"),
        (ALIBABA, {"OSS_REGION": "cn-shanghai"}, "OSS_ACCESS_KEY_ID"),
    ],
)
def test_what_is_missing_is_named(address: StoreAddress, environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        s3_place(address, environment)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_profile_is_used(tmp_path: Path) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id=one\naws_secret_access_key=two\n[shop]\naws_access_key_id=three\n"
        "aws_secret_access_key=four\naws_session_token=five\n"
    )
    (folder / "config").write_text("[profile shop]\nregion=ap-east-1\n")
    default = s3_place(OURS, {"HOME": str(tmp_path)})
    assert (default.region, default.key_id, default.secret, default.token) == ("us-east-1", "one", "two", "")
    shop = s3_place(OURS, {"HOME": str(tmp_path), "AWS_PROFILE": "shop"})
    assert (shop.region, shop.key_id, shop.secret, shop.token) == ("ap-east-1", "three", "four", "five")
    said = s3_place(OURS, {"HOME": str(tmp_path), **KEYS})
    assert (said.key_id, said.secret) == ("id", "secret")
    (folder / "credentials").write_text("no [ini] file")
    assert s3_place(OURS, {"HOME": str(tmp_path)}).key_id == ""


@given(job_id=st.text(min_size=1), seed=st.integers(0, 2**31), kind=st.sampled_from(["live", "simulated"]))
def test_a_label_is_read_as_it_was_written(job_id: str, seed: int, kind: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in job_id):
        return  # no manifest holds those
    job = replace(make_job(1), id=job_id, fields={"seed": seed})
    stored = Stored("a/b.png", "0" * 64, 17, 3, 4, 1_795_000_000_123_456_789)
    said = label_of(stored, kind, job)
    assert all(f"{name}{value}".isascii() and f"{value}".isprintable() for name, value in said.items())
    assert sum(len(name) + len(value) for name, value in said.items()) < 2048
    label = read_label("a/b.png", {name.title(): value for name, value in said.items()})
    assert label is not None
    assert (label.kind, label.is_of(job)) == (kind, True)
    assert label.stored == replace(stored, fingerprint=job.fingerprint, model=job.model, seed=seed)
    assert not label.is_of(replace(job, id=f"!{job_id}", fingerprint="another"))


@pytest.mark.parametrize("name", ["fluxbatch", "sha256", "bytes", "width", "made"])
def test_half_a_label_is_none(name: str) -> None:
    said = label_of(Stored("a.png", "0" * 64, 17, 3, 4, 5), "live", None)
    assert read_label("a.png", said) is not None
    assert read_label("a.png", {other: value for other, value in said.items() if other != name}) is None
