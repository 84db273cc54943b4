"""`tacit codec`: what is done with payloads on the client's side. Each command has a module of its own beside this one."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from cloud.cli import codec_audit, codec_convert, codec_filter, codec_gc, codec_proxy, codec_serve

app = typer.Typer(
    help="Payloads on your side: they are encoded and decoded here, with your keys; the service has no part in it.",
    epilog="Example: tacit codec serve --no-auth",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _paragraphs(command: Callable[..., None]) -> str:
    """A command's docstring for its help, which would keep the line breaks of the source."""
    text = inspect.getdoc(command) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


for _name, _command, _example in (
    ("serve", codec_serve.serve, codec_serve.EXAMPLE),
    ("proxy", codec_proxy.proxy, codec_proxy.EXAMPLE),
    ("audit", codec_audit.audit, codec_audit.EXAMPLE),
    ("gc", codec_gc.gc, codec_gc.EXAMPLE),
    ("filter", codec_filter.translate, codec_filter.EXAMPLE),
    ("decode", codec_convert.decode, codec_convert.DECODE_EXAMPLE),
    ("encode", codec_convert.encode, codec_convert.ENCODE_EXAMPLE),
):
    app.command(_name, help=_paragraphs(_command), epilog=_example)(_command)
