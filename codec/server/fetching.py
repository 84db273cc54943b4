"""Fetches small documents of OIDC issuers: over verified TLS, following nothing, bounded in time and size."""

from __future__ import annotations

import aiohttp

from codec.server.issuers import DOCUMENT_BYTES_MAX

FETCH_S_MAX = 5.0


async def fetch_document(url: str) -> bytes:
    """The content of `url`. Proxies are as the environment says (HTTPS_PROXY).

    Raises:
        OSError: it can't be had, or is too large; with the reason.
    """
    timeout = aiohttp.ClientTimeout(total=FETCH_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False, headers={"accept": "application/json"}) as answer,
        ):
            if answer.status != 200:
                raise OSError(f"{url} answers with status {answer.status}")
            content = await answer.content.read(DOCUMENT_BYTES_MAX + 1)
            while len(content) <= DOCUMENT_BYTES_MAX and (more := await answer.content.read(64 * 1024)):
                content += more
    except TimeoutError:
        raise OSError(f"{url} did not answer within {FETCH_S_MAX:g} s") from None
    except (aiohttp.ClientError, ValueError) as error:
        raise OSError(f"{url}: {error}") from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise OSError(f"{url} is larger than {DOCUMENT_BYTES_MAX} bytes")
    return content
