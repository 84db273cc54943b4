"""Opening object stores: what is wrong with their settings is said in a sentence that names the setting."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError

from codec import OffloadError, open_store
from codec.storage import object_store


@pytest.mark.parametrize("url", ["s3://bucket/p", "gs://bucket/p", "az://container/p"])
@pytest.mark.parametrize("name", ["allow_http", "aws_allow_http", "TIMEOUT", "proxy_url"])
def test_an_option_of_connections_is_refused_by_its_name(url: str, name: str) -> None:
    with pytest.raises(OffloadError, match=f"object-store-options has no '{name}'"):
        open_store(url, {name: "true"})


def test_how_plain_http_is_spoken_is_said() -> None:
    with pytest.raises(OffloadError, match="endpoint, for GCS base_url"):
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


NO_BUCKET = """Generic S3 error: Client error with status 404 Not Found: <?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>"""
NO_CREDENTIALS = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 5s - HTTP error"
)


def test_a_bucket_that_is_not_there_is_told_whatever_is_done_with_it() -> None:
    failure = open_store("s3://bucket/p").failure("v1/ns/a", "listed in", GenericError(NO_BUCKET))
    assert str(failure) == (
        "Object v1/ns/a could not be listed in s3://bucket/p: Generic S3 error: Client error with status 404 Not Found "
        "(NoSuchBucket). The bucket or container is not there: make it, or correct object-store."
    )


def test_credentials_that_are_nowhere_are_told_and_not_where_they_were_looked_for_last() -> None:
    failure = open_store("s3://bucket/p").failure("a", "written to", GenericError(NO_CREDENTIALS))
    assert "there are no credentials" in str(failure)
    assert "AWS_ACCESS_KEY_ID" in str(failure)
    assert "169.254" not in str(failure)


def test_of_a_store_as_a_whole_no_object_is_named() -> None:
    failure = open_store("s3://bucket/p").failure("", "read from", GenericError(NO_BUCKET))
    assert str(failure).startswith("What there is could not be read from s3://bucket/p: ")
