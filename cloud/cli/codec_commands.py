"""`tacit codec`: what is done with payloads on the client's side. Each command has a module of its own beside this one."""

from __future__ import annotations

import typer

from cloud.cli import codec_audit, codec_convert, codec_filter, codec_gc, codec_proxy, codec_serve

app = typer.Typer(
    help="Payloads on your side: they are encoded and decoded here, with your keys; the service has no part in it.",
    epilog="Example: tacit codec serve --no-auth",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("serve", epilog=codec_serve.EXAMPLE)(codec_serve.serve)
app.command("proxy", epilog=codec_proxy.EXAMPLE)(codec_proxy.proxy)
app.command("audit", epilog=codec_audit.EXAMPLE)(codec_audit.audit)
app.command("gc", epilog=codec_gc.EXAMPLE)(codec_gc.gc)
app.command("filter", epilog=codec_filter.EXAMPLE)(codec_filter.translate)
app.command("decode", epilog=codec_convert.DECODE_EXAMPLE)(codec_convert.decode)
app.command("encode", epilog=codec_convert.ENCODE_EXAMPLE)(codec_convert.encode)
