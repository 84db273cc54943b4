"""Why a client could not connect: what the SDK's error tells, as a sentence with the way out."""

from __future__ import annotations

import re

from sdk.profile import Profile

FAILED = "Failed client connect: "
"""How the SDK's errors of this begin."""

_CLOSED_UNANSWERED = (
    "connection closed",
    "broken pipe",
    "close_notify",
    "CertificateRequired",
    "UnknownCA",
    "BadCertificate",
)
"""How the SDK's error tells that the other side ended the connection: nothing else says that a certificate was
refused, as under TLS 1.3 that happens after the client's part of the handshake."""

_TOLD = re.compile(r'code: (?:Unauthenticated|PermissionDenied), message: "((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_REASON = re.compile(r'(?:message|error): "((?:[^"\\]|\\.)*)"')


def why_not(profile: Profile, fault: str, *, tls: bool, shown: str) -> str:
    """What went wrong, with which profile of which file, at which address, and what to try.

    `fault` is the SDK's text; `shown` says what to check where the service closed a TLS connection without an answer.
    """
    address = profile.address
    reason = fault.removeprefix(FAILED).rstrip(".")
    here = f"in [profile.{profile.name}] of {profile.config_file}"
    if told := _TOLD.search(fault):
        words = _ESCAPED.sub(r"\1", told[1]).rstrip(".")
        problem = f"{address} refuses: {words}"
        advice = f"What it connects with stands {here}, or in TEMPORAL_API_KEY."
    elif "tcp connect error" in fault or "dns error" in fault:
        found = _REASON.search(fault)
        problem = f"{address} can't be reached: {found[1] if found else reason}"
        advice = (
            "Start the service (`tacit dev`, `tacit up`), or correct the address "
            f"{here}, or in TEMPORAL_ADDRESS."
        )
    elif "InvalidContentType" in fault:
        problem = f"what listens at {address} has no TLS"
        advice = f"Correct the address {here}, or switch TLS off for it there (tls.disabled = true)."
    elif "UnknownIssuer" in fault:
        problem = f"the certificate of {address} is signed by no CA that is known here"
        advice = (
            f"Name the service's CA {here} (tls.server_ca_cert_path), or in TEMPORAL_TLS_SERVER_CA_CERT_PATH."
        )
    elif "NotValidForName" in fault:
        problem = f"the certificate of {address} is not for that name"
        advice = f"Use a name that it has, or give one {here} (tls.server_name)."
    elif any(words in fault for words in _CLOSED_UNANSWERED):
        if tls:
            problem, advice = shown.rstrip("."), f"What it connects with stands {here}."
        else:
            problem = f"{address} closed the connection, as a service does that speaks TLS only"
            advice = (
                f"Give the profile an API key or a client certificate, and the service's CA, {here}; or TEMPORAL_TLS=true, "
                "and TEMPORAL_TLS_SERVER_CA_CERT_PATH. `tacit signup` writes such a profile."
            )
    else:
        problem, advice = f"{address}: {reason}", f"What it connects with stands {here}."
    return f"Profile {profile.name!r} can't connect: {problem}. {advice}"
