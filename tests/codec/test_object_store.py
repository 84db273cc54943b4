"""Opening object stores: what is wrong with their settings is said in a sentence that names the setting."""

from __future__ import annotations

import pytest

from codec import OffloadError, open_store
from codec.storage import object_store


@pytest.mark.parametrize("url", ["s3://bucket/p", "gs://bucket/p", "az://container/p"])
@pytest.mark.parametrize("name", ["allow_http", "aws_allow_http", "TIMEOUT", "proxy_url"])
def test_an_option_of_connections_is_refused_by_its_name(url: str, name: str) -> None:
    with pytest.raises(OffloadError, match=f"object-store-options has no '{name}'"):
        open_store(url, {name: "true"})


def test_how_plain_http_is_spoken_is_said() -> None:
    with pytest.raises(OffloadError, match="endpoint = "):
        open_store("s3://bucket/p", {"allow_http": "true"})


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(OffloadError, match="azure_foo"):
        open_store("s3://bucket/p", {"azure_foo": "x"})


def test_a_panic_of_the_native_client_is_an_error_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_OF_CONNECTIONS", frozenset())
    with pytest.raises(OffloadError, match=r"Correct object-store-options \(there: allow_http\)") as caught:
        open_store("s3://bucket/p", {"allow_http": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_an_interruption_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(object_store, "from_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_store("s3://bucket/p")
