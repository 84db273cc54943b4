"""`tacit codec filter`: a list filter as the service is to be asked it, where search attributes are stored as keyed hashes."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from codec import CodecError
from codec.blind_index import asks_for_hashes, translated_filter
from sdk import SdkError, load_profile
from sdk.converter import blind_index_of, options_of

EXAMPLE = 'Example: temporal workflow list --query "$(tacit codec filter "CustomerId = \'customer-1\'")"'


def translate(
    query: Annotated[str, typer.Argument(metavar="FILTER", help="The filter, with values as they are.")],
    profile: Annotated[
        str | None, typer.Option(help="The profile whose blind-index is meant.", show_default=False)
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Translate a list filter for programs that have no blind index, such as the official CLI and web UI."""
    try:
        chosen = load_profile(profile)
        index = blind_index_of(options_of(chosen))
        if index is None:
            fail(
                f"Profile {chosen.name!r} has no blind-index, so its filters need no translation.",
                EXIT_MISUSED,
            )
        translated = translated_filter(index, query)
    except (SdkError, CodecError) as error:
        fail(str(error))
    if not asks_for_hashes(index, query):
        note(
            f"Nothing in it is a search attribute of blind-index ({', '.join(index.attributes)}), so it stays as it is."
        )
    if output is Output.JSON:
        emit({"filter": translated}, output)
    else:
        typer.echo(translated)
