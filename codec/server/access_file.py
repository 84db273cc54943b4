"""The file that says who may decode and encode. Format, version 1 (TOML)::

    version = 1

    [[issuer]]                               # any number: whose tokens (JWT) are believed
    url = "https://login.acme.example"       # as in their "iss"; keys come from its discovery document
    audience = ["tacit-codec"]               # what its tokens must be for ("aud")
    id-token-audience = ["web-ui"]           # of the ID tokens that the web UI sends beside them
    algorithms = ["RS256", "ES256", "EdDSA"] # the default
    jwks-url = "https://..."                 # instead of discovery
    email-claim = "email"
    groups-claim = "groups"
    email-verified = true                    # false: e-mails count though the issuer does not call them verified

    [[token]]                                # any number: static bearer tokens
    name = "ci"
    file = "ci.token"                        # mode 0600; relative to this file

    [service]
    api-keys = true                          # the service's API keys count, as far as their owners' rights go there
    profile = "cloud"                        # where the service is asked; the default

    [[allow]]                                # any number; what none allows is refused
    emails = ["ada@acme.example"]            # one or more of: emails, domains, subjects, groups, tokens, everyone
    domains = ["acme.example"]
    subjects = ["auth0|123"]
    groups = ["on-call"]
    tokens = ["ci"]
    everyone = true                          # all whom an issuer vouches for
    issuer = "https://login.acme.example"    # only its callers; "service": only API keys; may be left out if there is one
    namespaces = ["orders.acme"]             # "*": all that are served
    may = ["decode", "encode"]

A field that is not known is an error: a misspelt rule must not be ignored. So is a rule about people without `issuer` where
several could vouch for them ([service] is one): each issuer has its own subjects, groups and e-mail addresses. The file may be
readable by others, not writable.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from codec.secret_files import SecretFileError, read_secret_file
from codec.server.access import SERVICE_ISSUER, Right, Rule
from codec.server.identity import StaticToken
from codec.server.issuers import is_safe_url
from codec.server.jwt_check import ALGORITHMS, DEFAULT_ALGORITHMS, Issuer

VERSION = 1
RULES_MAX = 10_000
_T = TypeVar("_T")


class AccessFileError(Exception):
    """The file is missing or wrong; the sentence names it, the place in it and the way out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccessSettings:
    """What the file says."""

    issuers: tuple[Issuer, ...] = ()
    tokens: tuple[StaticToken, ...] = ()
    rules: tuple[Rule, ...] = ()
    api_keys: bool = False
    service_profile: str | None = None


def read_access_file(path: Path) -> AccessSettings:
    """Read and check the file, and the tokens' files that it names.

    Raises:
        AccessFileError: it can't be read, or something in it is not right.
    """
    try:
        # It is no secret, but whoever can change it can give themselves every right.
        content = read_secret_file(path, what="access file", mounted=True)
    except SecretFileError as error:
        raise AccessFileError(str(error)) from None
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AccessFileError(f"{path} is not valid TOML: {error}.") from None
    try:
        return _settings(document, path.parent)
    except _Wrong as wrong:
        raise AccessFileError(f"{path}: {wrong}.") from None


def read_token(path: Path, name: str) -> StaticToken:
    """The static token in a file of its own.

    Raises:
        AccessFileError: it can't be read, others may read it, or it is no good token.
    """
    try:
        secret = read_secret_file(path, what="token").decode().strip()
        return StaticToken.of(name, secret)
    except SecretFileError as error:
        raise AccessFileError(str(error)) from None
    except UnicodeDecodeError:
        raise AccessFileError(f"{path} holds no text.") from None
    except ValueError as error:
        raise AccessFileError(f"{path}: {error}.") from None


class _Wrong(Exception):
    """What is wrong, to be told with the file's name."""


def _settings(document: dict[str, Any], folder: Path) -> AccessSettings:
    if document.get("version") != VERSION:
        raise _Wrong(f"it needs `version = {VERSION}` at its top")
    _known(document, {"version", "issuer", "token", "service", "allow"}, "the file")
    service = document.get("service", {})
    if not isinstance(service, dict):
        raise _Wrong("service is not a table")
    _known(service, {"api-keys", "profile"}, "service")
    service_profile = _text(service, "profile", "service", default="") or None
    issuers = tuple(_each(document, "issuer", _issuer))
    tokens = tuple(_each(document, "token", lambda table, where: _token(table, where, folder)))
    api_keys = _flag(service, "api-keys", "service", default=False)
    rules = tuple(_each(document, "allow", lambda table, where: _rule(table, where)))
    for what, names in (
        ("issuer", [one.url for one in issuers]),
        ("token", [one.name for one in tokens]),
    ):
        if len(set(names)) != len(names):
            raise _Wrong(f"two tables [[{what}]] have the same name")
    for rule in rules:
        if unknown := rule.tokens - {one.name for one in tokens}:
            raise _Wrong(f"a rule names the token {min(unknown)!r}, and no [[token]] is called so")
        known = {one.url for one in issuers} | ({SERVICE_ISSUER} if api_keys else set())
        if rule.issuer is not None and rule.issuer not in known:
            raise _Wrong(f"a rule names the issuer {rule.issuer!r}, and no [[issuer]] has that url")
    for number, rule in enumerate(rules, 1):
        people = rule.everyone or rule.emails or rule.domains or rule.subjects or rule.groups
        if people and rule.issuer is None and len(issuers) + api_keys > 1:
            raise _Wrong(
                f"[[allow]] number {number} does not say whose callers it is about, and several vouch for callers: give it "
                'issuer = "URL of an [[issuer]]", or "service" for API keys; one rule for each'
            )
    if not issuers and not tokens and not api_keys:
        raise _Wrong("it names nobody who could prove who they are: add an [[issuer]] or a [[token]]")
    return AccessSettings(
        issuers=issuers, tokens=tokens, rules=rules, api_keys=api_keys, service_profile=service_profile
    )


def _issuer(table: Mapping[str, Any], where: str) -> Issuer:
    _known(
        table,
        {
            "url", "audience", "id-token-audience", "algorithms", "jwks-url", "email-claim", "groups-claim",
            "email-verified",
        },
        where,
    )  # fmt: skip
    url, jwks_url = _text(table, "url", where), table.get("jwks-url")
    for one in (url, jwks_url):
        if one is not None and (not isinstance(one, str) or not is_safe_url(one)):
            raise _Wrong(f"{where}: {str(one)[:80]!r} is no https address")
    audience = _texts(table, "audience", where)
    if not audience:
        raise _Wrong(
            f"{where}: audience is missing: without it, tokens for other programs would be good here"
        )
    algorithms = tuple(table.get("algorithms", DEFAULT_ALGORITHMS))
    if not algorithms or not all(one in ALGORITHMS for one in algorithms):
        raise _Wrong(f"{where}: algorithms are of {', '.join(ALGORITHMS)}")
    return Issuer(
        url=url,
        audience=audience,
        id_token_audience=_texts(table, "id-token-audience", where),
        algorithms=algorithms,
        jwks_url=jwks_url,
        email_claim=_text(table, "email-claim", where, default="email"),
        groups_claim=_text(table, "groups-claim", where, default="groups"),
        email_verified=_flag(table, "email-verified", where, default=True),
    )


def _token(table: Mapping[str, Any], where: str, folder: Path) -> StaticToken:
    _known(table, {"name", "file"}, where)
    try:
        return read_token(
            folder / Path(_text(table, "file", where)).expanduser(), _text(table, "name", where)
        )
    except AccessFileError as error:
        raise _Wrong(f"{where}: {str(error).rstrip('.')}") from None


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    named = {"emails", "domains", "subjects", "groups", "tokens"}
    _known(table, named | {"everyone", "issuer", "namespaces", "may"}, where)
    who = {name: _texts(table, name, where) for name in named}
    everyone = _flag(table, "everyone", where, default=False)
    if not everyone and not any(who.values()):
        raise _Wrong(
            f"{where} names nobody: give emails, domains, subjects, groups, tokens, or everyone = true"
        )
    namespaces, may = _texts(table, "namespaces", where), _texts(table, "may", where)
    if not namespaces:
        raise _Wrong(f'{where}: namespaces is missing; "*" stands for all that are served')
    if not may or not all(one in list(Right) for one in may):
        raise _Wrong(f'{where}: may is a list of "decode" and "encode"')
    return Rule(
        namespaces=namespaces,
        rights=frozenset(Right(one) for one in may),
        issuer=_text(table, "issuer", where, default="") or None,
        emails=frozenset(one.casefold() for one in who["emails"]),
        domains=frozenset(one.casefold().lstrip("@") for one in who["domains"]),
        subjects=who["subjects"],
        groups=who["groups"],
        tokens=who["tokens"],
        everyone=everyone,
    )


def _each(document: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], _T]) -> list[_T]:
    listed = document.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise _Wrong(f"write [[{name}]], with two brackets")
    if len(listed) > RULES_MAX:
        raise _Wrong(f"there are more than {RULES_MAX} [[{name}]]")
    return [read(one, f"[[{name}]] number {number}") for number, one in enumerate(listed, 1)]


def _known(table: Mapping[str, Any], fields: set[str], where: str) -> None:
    if unknown := sorted(set(table) - fields):
        raise _Wrong(f"{where} has no field {unknown[0]!r}; there are {', '.join(sorted(fields))}")


def _text(table: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = table.get(name, default)
    if not isinstance(value, str) or (not value and default is None):
        raise _Wrong(f"{where}: {name} must be a text")
    return value


def _texts(table: Mapping[str, Any], name: str, where: str) -> frozenset[str]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise _Wrong(f"{where}: {name} must be a list of texts")
    return frozenset(value)


def _flag(table: Mapping[str, Any], name: str, where: str, *, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise _Wrong(f"{where}: {name} must be true or false")
    return value
