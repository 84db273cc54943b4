"""The driver against a real S3 server, and against one that misbehaves."""

from __future__ import annotations

import os

from temporalio.api.common.v1 import Payload

from codec import ObjectStoreDriver
from tests.codec.test_offload import retrieve, store
from tests.object_stores import S3, FaultyProxy


async def test_round_trip_on_a_real_server(s3: S3) -> None:
    bucket = s3.bucket()
    async with FaultyProxy(s3) as proxy:
        b = bucket.through(proxy)
        driver = ObjectStoreDriver(b.url, namespace="orders.acme", options=b.options)
        payloads = [Payload(data=os.urandom(size)) for size in (10, 300_000, 9_000_000)]
        claims = await store(driver, *payloads)
        assert await retrieve(driver, *claims) == payloads
    assert len(bucket.objects()) == 3
