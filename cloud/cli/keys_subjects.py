"""`tacit keys forget` and `reseal`: keys per subject, in the profile's store of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cloud.cli.keys_common import ProfileOption, confirm, do, key_source
from cloud.cli.output import Output, OutputOption, emit, note

FORGET_EXAMPLE = "Example: tacit keys forget customer-17"
RESEAL_EXAMPLE = "Example: tacit keys rotate && tacit keys reseal"


def forget(
    subject: Annotated[
        str,
        typer.Argument(help="Whose data: a workflow's id, or what the profile's pattern takes out of it."),
    ],
    profile: ProfileOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the subject once more.")] = False,
    allow_new: Annotated[
        bool,
        typer.Option("--allow-new", help="Let new data of the subject be encrypted again, under a new key."),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete one subject's key: its payloads and files are unreadable for ever, in every copy of them."""
    keys = do(lambda: key_source(None, profile).open_subject_keys())
    if not yes:
        confirm(subject, f"Nothing will ever read the data of {subject} again")
    done = do(lambda: asyncio.run(keys.forget(subject, admit=allow_new)))
    emit(
        {
            "subject": subject,
            "key_id": done.key_id,
            "had_a_key": done.known,
            "forgotten": done.forgotten,
            "new_data": "allowed" if allow_new else "refused",
        },
        output,
    )
    if not done.known:
        note(
            "There was no key of that subject to delete: it was forgotten before, or never had data (check the spelling)."
        )
    note(
        "Workers that have the key in memory use it for another minute. Backups and older versions of the store still hold "
        "it: let them expire."
    )


def reseal(profile: ProfileOption = None, output: OutputOption = Output.TEXT) -> None:
    """Seal all subjects' keys under the key that is active now, so that older keys of the ring can be destroyed."""
    keys = do(lambda: key_source(None, profile).open_subject_keys())
    subjects, changed = do(lambda: asyncio.run(keys.reseal()))
    emit({"subjects": subjects, "sealed_anew": changed}, output)
