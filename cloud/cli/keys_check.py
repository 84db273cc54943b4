"""`tacit keys check`: whether a profile's keys do what they must."""

from __future__ import annotations

import asyncio

import typer

from cloud.cli.keys_common import KeyRingOption, ProfileOption, do, key_source
from cloud.cli.output import EXIT_FAILED, Output, OutputOption, emit, fail
from sdk.key_checks import check_keys

EXAMPLE = "Example: tacit keys check --profile prod"


def check(
    key_ring: KeyRingOption = None, profile: ProfileOption = None, output: OutputOption = Output.TEXT
) -> None:
    """Encrypt and decrypt a nothing with the profile's keys, by all that gives them, and say what is wrong."""
    source = do(lambda: key_source(key_ring, profile))
    checks = asyncio.run(check_keys(source))
    emit(
        [
            {
                "check": one.what,
                "result": "wrong" if one.fault else "right",
                "detail": one.fault or one.detail,
            }
            for one in checks
        ],
        output,
    )
    faults = [one.fault for one in checks if one.fault]
    if faults and output is Output.JSON:
        raise typer.Exit(EXIT_FAILED)
    if faults:
        fail(faults[0])
