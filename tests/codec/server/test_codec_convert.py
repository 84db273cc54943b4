"""`tacit codec decode` and `encode`, as people and pipes use them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from temporalio.api.history.v1 import History
from temporalio.converter import DataConverter
from typer.testing import CliRunner, Result

from cloud.cli.codec_commands import app
from codec import KeyRing, create_key_ring
from sdk import CodecSettings, data_converter, load_profile, write_profile
from sdk.converter import options_of


class Command:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "temporal.toml"
        create_key_ring(folder / "ring.json", KeyRing.create("default", key_id="k1"))
        write_profile(
            self.config,
            "default",
            address="127.0.0.1:1",
            namespace="default",
            tls=False,
            codec=CodecSettings(
                key_ring=folder / "ring.json",
                object_store=(folder / "objects").as_uri(),
                offload_threshold_bytes=4_000,
                refuse_plaintext=True,
            ),
        )
        profile = load_profile(config_file=self.config, environment={})
        self.converter: DataConverter = data_converter(options_of(profile))

    def run(self, *arguments: str, stdin: Any = b"", code: int = 0) -> Result:
        content = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        environment: dict[str, str | None] = dict.fromkeys(
            n for n in os.environ if n.startswith(("TEMPORAL_", "TACIT_"))
        )
        with contextlib.chdir(self.folder):
            done = CliRunner().invoke(
                app, arguments, input=content, env=environment | {"TEMPORAL_CONFIG_FILE": str(self.config)}
            )
        assert done.exit_code == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def encrypted(self, value: Any) -> dict[str, Any]:
        [payload] = asyncio.run(self.converter.encode([value]))
        assert payload.metadata["encoding"] in (b"binary/tacit-encrypted", b"json/protobuf")
        return json_format.MessageToDict(payload)


@pytest.fixture
def codec(tmp_path: Path) -> Command:
    return Command(tmp_path)


def plain(value: Any) -> dict[str, Any]:
    data = json.dumps(value, separators=(",", ":")).encode()
    return {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(data).decode(),
    }


def test_values_for_people_and_payloads_for_machines(codec: Command) -> None:
    one, other = codec.encrypted({"customer": "Ada"}), codec.encrypted([1, 2])
    assert json.loads(codec.run("decode", stdin=one).stdout) == {"customer": "Ada"}
    assert json.loads(codec.run("decode", "-o", "json", stdin=one).stdout) == plain({"customer": "Ada"})
    for several in ([one, other], {"payloads": [one, other]}):
        lines = codec.run("decode", stdin=several).stdout.splitlines()
        assert [json.loads(line) for line in lines] == [{"customer": "Ada"}, [1, 2]]
    as_json = json.loads(codec.run("decode", "-o", "json", stdin={"payloads": [one, other]}).stdout)
    assert as_json == {"payloads": [plain({"customer": "Ada"}), plain([1, 2])]}
    (codec.folder / "file.json").write_text(json.dumps(one))
    assert json.loads(codec.run("decode", "file.json").stdout) == {"customer": "Ada"}


def test_what_is_encoded_is_decoded(codec: Command) -> None:
    encoded = json.loads(codec.run("encode", stdin=plain("Ada")).stdout)
    assert base64.b64decode(encoded["metadata"]["encryption-key-id"]) == b"k1"
    assert "Ada" not in json.dumps(encoded)
    assert codec.run("decode", stdin=encoded).stdout == '"Ada"\n'
    by_value = codec.run("encode", "--value", "-o", "json", stdin={"name": "Ädä"}).stdout
    assert codec.run("decode", stdin=by_value.encode()).stdout == '{\n  "name": "Ädä"\n}\n'
    several = json.loads(codec.run("encode", "-o", "json", stdin={"payloads": [plain(1), plain(2)]}).stdout)
    assert codec.run("decode", stdin=several).stdout == "1\n2\n"
    assert "--value" in codec.run("encode", stdin={"name": "Ada"}, code=2).stderr
    assert "--value" in codec.run("encode", stdin=[], code=2).stderr


def test_a_history_keeps_its_form(codec: Command) -> None:
    failure = {
        "message": "Encoded failure",
        "encodedAttributes": codec.encrypted({"message": "card declined", "stack_trace": "at pay.py"}),
        "applicationFailureInfo": {"type": "Declined"},
    }
    history = {
        "events": [
            {
                "eventId": "1",
                "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
                "workflowExecutionStartedEventAttributes": {
                    "input": {"payloads": [codec.encrypted("Ada"), codec.encrypted(None)]},
                    "memo": {"fields": {"note": codec.encrypted("x" * 50_000)}},
                    "searchAttributes": {"indexedFields": {"City": plain("London")}},
                },
            },
            {
                "eventId": "2",
                "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_FAILED",
                "workflowExecutionFailedEventAttributes": {"failure": failure},
            },
        ]
    }
    decoded = json.loads(codec.run("decode", "-o", "json", stdin=history).stdout)
    parsed = json_format.ParseDict(decoded, History())
    started = parsed.events[0].workflow_execution_started_event_attributes
    assert [one.data for one in started.input.payloads] == [b'"Ada"', b""]
    assert started.memo.fields["note"].data == json.dumps("x" * 50_000).encode()
    assert started.search_attributes.indexed_fields["City"].data == b'"London"'
    failed = parsed.events[1].workflow_execution_failed_event_attributes.failure
    assert (failed.message, failed.stack_trace) == ("card declined", "at pay.py")
    shown = json.loads(codec.run("decode", stdin=history).stdout)
    attributes = shown["events"][0]["workflowExecutionStartedEventAttributes"]
    assert attributes["input"] == ["Ada", None]
    assert attributes["searchAttributes"]["indexedFields"]["City"] == "London"


def test_stored_payloads_are_fetched_or_kept(codec: Command) -> None:
    value = os.urandom(5_000).hex()
    reference = codec.encrypted(value)
    assert "externalPayloads" in reference
    assert json.loads(codec.run("decode", stdin=reference).stdout) == value
    assert "tacit.objectstore" in codec.run("decode", "--keep-references", stdin=reference).stdout
    assert (
        "preserveStorageRefs" not in codec.run("decode", "--fetch-mib", "0", stdin=reference, code=1).stderr
    )


def test_what_can_not_be_decoded(codec: Command) -> None:
    good = codec.encrypted("Ada")
    foreign = json.loads(json.dumps(good))
    foreign["metadata"]["encryption-key-id"] = base64.b64encode(b"k9").decode()
    document = {"a": [good], "b": {"c": foreign}}
    refused = codec.run("decode", stdin=document, code=1)
    assert refused.stdout == ""
    assert "b.c: " in refused.stderr
    assert "'k9'" in refused.stderr
    partly = codec.run("decode", "--keep-going", "-o", "json", stdin=document, code=1)
    assert json.loads(partly.stdout) == {"a": [plain("Ada")], "b": {"c": foreign}}
    assert "1 of 2" in partly.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_document(codec: Command, content: bytes) -> None:
    assert "no JSON" in codec.run("decode", stdin=content, code=1).stderr


def test_a_document_that_is_too_deep(codec: Command) -> None:
    assert "nested deeper" in codec.run("decode", stdin=b"[" * 300 + b"]" * 300, code=1).stderr


def test_documents_without_payloads_pass(codec: Command) -> None:
    for document in ({}, {"metadata": {"name": "x"}}, 1, None, {"metadata": {"encoding": "not base64!"}}):
        assert json.loads(codec.run("decode", "-o", "json", stdin=document).stdout) == document


def test_files_that_are_not_there(codec: Command) -> None:
    assert "can't be read" in codec.run("decode", "none.json", code=1).stderr
    assert "no profile" in codec.run("decode", "--profile", "none", code=1).stderr
