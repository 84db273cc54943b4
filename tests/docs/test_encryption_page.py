"""docs/encryption.md, from its first command to its last: all do what the page says."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.docs.running import Reader, blocks_of
from tests.processes import ROOT

PAGE = ROOT / "docs" / "encryption.md"
_AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_page_does_what_it_says(tmp_path: Path) -> None:
    kms = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    kms.start()
    host, port = kms.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "kms",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    key = client.create_key()["KeyMetadata"]["KeyId"]
    # All such servers of one process share what they know: tests of key services may have made it.
    try:
        client.create_alias(AliasName="alias/orders", TargetKeyId=key)
    except client.exceptions.AlreadyExistsException:
        client.update_alias(AliasName="alias/orders", TargetKeyId=key)
    reader = Reader(tmp_path, more={**_AWS, "AWS_ENDPOINT_URL": endpoint})
    kinds: list[str] = []
    try:
        for block in blocks_of(PAGE):
            told = reader.follow(block)
            kinds.append(block.kind)
            for promised in block.promised:
                assert promised in told, f"{PAGE.name}, line {block.line}: {promised!r} is not in {told!r}"
    finally:
        reader.end()
        kms.stop()
    assert kinds.count("sh") > 15


def test_every_block_says_what_it_is() -> None:
    """A block that nobody knows how to run would not be checked."""
    text = PAGE.read_text()
    found = list(blocks_of(PAGE))
    assert len(found) * 2 == text.count("\n```")
    assert {block.kind for block in found} == {"sh", "python", "toml"}
    # Each paragraph that promises something is seen, too.
    assert sum(len(block.promised) for block in found) >= text.count("It prints")
