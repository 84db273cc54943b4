"""`tacit codec gc`: deletes offloaded payloads, and files, that nothing in a namespace points to any more."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext

from cloud.cli.durations import duration
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note, warn
from codec import CodecError, OffloadError
from codec.storage.gc import GRACE, GRACE_MIN, Tally
from codec.storage.gc_references import Opened, may_be_reference, read_reference
from codec.storage.gc_run import Collected, Options, Source, collect
from codec.storage.gc_store import GcStore
from codec.storage.object_store import open_store
from sdk import DataConverterOptions, Profile, SdkError, connect, data_converter, load_profile
from sdk.converter import options_of

EXAMPLE = "Example: tacit codec gc --profile orders, and when its numbers look right: tacit codec gc --profile orders --delete"


def gc(
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Profile of a namespace; may be repeated. What any of them points to is kept, in all their stores.",
            show_default=False,
        ),
    ] = None,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete", help="Mark what nothing points to, and delete what was marked long enough ago."
        ),
    ] = False,
    grace: Annotated[
        str,
        typer.Option(
            help="How long an object stays after its last use before it is marked, and after that before it is deleted: "
            "longer than any client waits for a call to be taken."
        ),
    ] = f"{GRACE.days}d",
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="Files of handles too: every payload is fetched and decrypted with the profiles' keys, to look for handles.",
        ),
    ] = False,
    other_driver: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of another storage driver whose references histories hold, and whose objects are elsewhere.",
            show_default=False,
        ),
    ] = None,
    all_unreferenced: Annotated[
        bool,
        typer.Option(
            "--all-unreferenced", help="Go on although nothing points to any object of a namespace."
        ),
    ] = False,
    unusual: Annotated[
        bool,
        typer.Option(
            "--unusual",
            help="Go on although most objects are due, or the service shows far less than at the last run: you know why.",
        ),
    ] = False,
    unknown_readers: Annotated[
        bool,
        typer.Option(
            "--unknown-readers",
            help="Don't ask the store which other namespaces read these objects: you know that none does.",
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Find offloaded payloads that no history, schedule or running workflow points to; with --delete, delete them in two phases.

    The first --delete marks them, a later one (daily, by a timer) deletes what was marked a grace period ago and is still
    pointed to by nothing. Workers may run meanwhile. All that is decrypted are files' handles, with --files. The service is
    believed: what looks as if it hid something is refused. Not known here are references outside the service: exported
    histories (`tacit history export`), and services that share the prefix.
    """
    try:
        patience = duration(grace)
    except ValueError as error:
        fail(f"--grace: {error}", EXIT_MISUSED)
    if patience < GRACE_MIN:
        fail(
            f"--grace: below {GRACE_MIN // timedelta(hours=1)}h objects could be deleted that calls under way refer to",
            EXIT_MISUSED,
        )
    options = Options(
        delete=delete,
        grace=patience,
        other_drivers=other_driver or (),
        accept_no_references=all_unreferenced,
        accept_unusual=unusual,
        accept_unknown_readers=unknown_readers,
    )
    try:
        found = asyncio.run(_collect(profile or [None], options, files=files))
    except (CodecError, SdkError) as error:
        fail(str(error))
    _report(found, options, files=files, output=output)


async def _collect(names: Sequence[str | None], options: Options, *, files: bool) -> list[Collected]:
    sources, stores = [], set[tuple[str, str]]()
    for name in names:
        profile = load_profile(name)
        store = None
        settings = profile.codec
        # The same namespace at two services has one prefix: both are asked, and what is there is listed once.
        if settings.object_store is not None and (settings.object_store, profile.namespace) not in stores:
            stores.add((settings.object_store, profile.namespace))
            opened_store = open_store(settings.object_store, settings.object_store_options)
            store = GcStore(opened_store, profile.namespace, files=files)
        client = await _connected(profile)
        sources.append(
            Source(
                service=client.workflow_service,
                namespace=profile.namespace,
                store=store,
                opened=_opener(profile) if files else None,
            )
        )
    if not stores:
        raise OffloadError(
            "None of the profiles has an object store, so there is nothing to collect: set object-store in tacit.toml, or name "
            "another profile (--profile)."
        )
    with Console(stderr=True).status("reading what is in use") as status:
        shown = status.update if sys.stderr.isatty() else lambda text: None
        return await collect(sources, options, progress=shown)


async def _connected(profile: Profile) -> Client:
    """A client that reads protos as they are, and so needs no keys."""
    return await connect(
        profile, converter=DataConverterOptions(namespace=profile.namespace, key_ring=None, compression=False)
    )


def _opener(profile: Profile) -> Opened:
    """What fetches and decodes a payload, whosever it is, and takes it as it is where nobody encrypted it."""
    options = dataclasses.replace(options_of(profile), refuse_plaintext=False, refuse_unbound=False)
    converter = data_converter(options)
    drivers = converter.external_storage.drivers if converter.external_storage is not None else []

    async def opened(payload: Payload) -> Payload:
        if may_be_reference(payload):
            name, claim = read_reference(payload)
            for driver in drivers:
                if driver.name() == name:
                    context = StorageDriverRetrieveContext()
                    [payload] = await driver.retrieve(context, [StorageDriverClaim(claim)])
        if converter.payload_codec is None:
            return payload
        [plain] = await converter.payload_codec.decode([payload])
        return plain

    return opened


def _report(found: Sequence[Collected], options: Options, *, files: bool, output: Output) -> None:
    rows = [_row(one, options) for one in found]
    if output is Output.JSON:
        emit(
            {"delete": options.delete, "grace_seconds": options.grace, "files": files, "namespaces": rows},
            output,
        )
        return
    for row in rows:
        emit(row, output)
    for one in found:
        _explain(one, options)
    if not files:
        note("Files of handles are kept, whether in use or not: --files looks for them.")


def _row(one: Collected, options: Options) -> dict[str, object]:
    done = one.plan
    return {
        "namespace": one.namespace,
        "store": one.store,
        "workflows": one.seen.executions,
        "events": one.seen.events,
        "schedules": one.seen.schedules,
        "standalone": one.seen.standalone,
        "found": _tally(done.all),
        "kept_referenced": _tally(done.referenced),
        "kept_young": _tally(done.young),
        "kept_for_schedules": _tally(done.held),
        "kept_for_a_later_run": _tally(done.unmarked),
        "marked": _tally(done.waiting),
        "newly_marked": _tally(done.newly_marked),
        "due": _tally(done.due_tally),
        "deleted": _tally(one.deleted),
        "next_due": done.next_due if options.delete else None,
        "schedules_that_hold": sorted(one.held_by_schedules),
        "unreadable_payloads": one.unreadable,
        "doubts": one.doubts,
    }


def _tally(tally: Tally) -> dict[str, int]:
    return {"objects": tally.objects, "bytes": tally.bytes}


def _explain(one: Collected, options: Options) -> None:
    done = one.plan
    for doubt in one.doubts:
        warn(doubt)
    if not options.delete:
        gone = done.due_tally.objects + done.waiting.objects
        if gone:
            note(
                f"{one.namespace}: nothing was changed. --delete would delete {done.due_tally.objects} objects now, and mark "
                f"{done.newly_marked.objects}."
            )
    elif done.next_due is not None:
        note(
            f"{one.namespace}: {done.waiting.objects} objects are marked; run this again after {done.next_due:%Y-%m-%d %H:%M} "
            "UTC to delete those that nothing points to then."
        )
    for schedule, since in sorted(one.held_by_schedules.items()):
        warn(
            f"schedule {schedule!r} may hold the result of a run of {since:%Y-%m-%d} whose history is gone, so nothing is "
            "deleted that was written since; its next run that completes, or deleting it, ends that."
        )
