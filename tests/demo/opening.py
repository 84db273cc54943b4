"""First part: the service opens, somebody signs up, a worker starts."""

from __future__ import annotations

import sdk
from tests.demo import scan
from tests.demo.story import Story, require
from tests.processes import sign_up


async def open_the_service(story: Story) -> str:
    story.service.start()
    api, mtls = story.service.ports
    return f"certificates on 127.0.0.1:{mtls}, API keys on 127.0.0.1:{api}, data in {story.data}"


async def sign_up_with_an_encrypted_namespace(story: Story) -> str:
    story.objects.mkdir()
    story.namespace = sign_up(
        story.service,
        story.folder,
        namespace="library",
        objects=story.objects,
        env=story.client_environment,
    )
    profile = story.profile()
    require(profile.namespace == story.namespace, "signup wrote a profile of the new namespace")
    require(profile.codec.encryption is sdk.Encryption.ON, "its payloads are encrypted")
    served = scan.files_in(story.data)
    secret = (profile.codec.key_ring or story.config_file).read_bytes()
    require(
        all(path.read_bytes() != secret for path in served), "the key ring is not among the service's files"
    )
    return f"namespace {story.namespace}, key ring {profile.codec.key_ring}"


async def start_a_worker_over_mtls(story: Story) -> str:
    story.written_before = scan.files_in(story.data, story.service.log)
    story.client = await sdk.connect(story.profile())
    story.start_worker()
    tls = story.profile().connection.tls
    require(tls is not None and tls.client_cert is not None, "the profile has a client certificate")
    return f"connected by profile to {story.profile().address}"
