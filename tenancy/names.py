"""The rules for names, and how ids are made.

Each check returns its faults, so that a refusal can hold them all.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping

from tenancy.errors import Fault

# Temporal Cloud's rule: 2-39 characters, starts with a letter, ends with a letter or digit.
_NAMESPACE = re.compile(r"[a-z](?:[a-z0-9-]{0,37}[a-z0-9])")
_ACCOUNT = re.compile(r"[a-z0-9]{5,16}")
_SEARCH_ATTRIBUTE = re.compile(r"[a-zA-Z0-9.,:\-_/@ ]{1,64}")
_TAG = re.compile(r"[a-z0-9._\-@]{1,63}")
# Not a full e-mail grammar: enough to catch a slip. That the address is its owner's, only a letter to it can
# show.
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(?:\.[^@\s\x00-\x1f.]+)+")
_OPERATION_ID = re.compile(r"[\x21-\x7e]{1,128}")

EMAIL_LENGTH_MAX = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
DISPLAY_NAME_LENGTH_MAX = 64
DESCRIPTION_LENGTH_MAX = 255
TAGS_MAX = 10
ACCOUNT_ID_LENGTH = 5

_ALPHABET = string.ascii_lowercase + string.digits


def new_account_id(length: int = ACCOUNT_ID_LENGTH) -> str:
    """A random account id: lowercase letters and digits, such as ``f45a2``. The store settles a collision."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_id() -> str:
    """A random id of 128 bits, as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def full_name(name: str, account_id: str) -> str:
    """The namespace's name on the wire, ``<name>.<account>``."""
    return f"{name}.{account_id}"


def namespace_name_faults(name: str, field: str = "name") -> list[Fault]:
    """Faults of a namespace's bare name."""
    if _NAMESPACE.fullmatch(name):
        return []
    rule = "2-39 lowercase letters, digits and hyphens, starting with a letter, ending with a letter or digit"
    hint = " (give the name without the account)" if "." in name else ""
    return [Fault(field=field, problem=f"must be {rule}{hint}")]


def is_account_id(account_id: str) -> bool:
    """Whether this has the form of an account id."""
    return _ACCOUNT.fullmatch(account_id) is not None


def email_faults(email: str) -> list[Fault]:
    """Faults of an e-mail address."""
    if len(email) <= EMAIL_LENGTH_MAX and _EMAIL.fullmatch(email):
        return []
    return [Fault(field="email", problem="must be an e-mail address such as ada@example.com")]


def display_name_faults(name: str, field: str = "display_name") -> list[Fault]:
    """Faults of a name for people: 1-64 printable characters."""
    if 0 < len(name) <= DISPLAY_NAME_LENGTH_MAX and name.isprintable() and name.strip() == name:
        return []
    problem = f"must be 1-{DISPLAY_NAME_LENGTH_MAX} printable characters without spaces around them"
    return [Fault(field=field, problem=problem)]


def description_faults(text: str) -> list[Fault]:
    """Faults of a description: at most 255 characters."""
    if len(text) <= DESCRIPTION_LENGTH_MAX:
        return []
    return [Fault(field="description", problem=f"must have at most {DESCRIPTION_LENGTH_MAX} characters")]


def search_attribute_name_faults(name: str) -> list[Fault]:
    """Faults of a custom search attribute's name."""
    if _SEARCH_ATTRIBUTE.fullmatch(name):
        return []
    problem = "a name must be 1-64 of a-z A-Z 0-9 . , : - _ / @ and space"
    return [Fault(field=f"search_attributes[{name[:64]!r}]", problem=problem)]


def tag_faults(tags: Mapping[str, str]) -> list[Fault]:
    """Faults of a namespace's tags."""
    faults = []
    if len(tags) > TAGS_MAX:
        faults.append(Fault(field="tags", problem=f"there may be at most {TAGS_MAX}, got {len(tags)}"))
    for key, value in tags.items():
        if not (_TAG.fullmatch(key) and _TAG.fullmatch(value)):
            problem = "key and value must be 1-63 of a-z 0-9 . _ - @"
            faults.append(Fault(field=f"tags[{key[:63]!r}]", problem=problem))
    return faults


def operation_id_faults(operation_id: str) -> list[Fault]:
    """Faults of a caller's own id for an operation: 1-128 printable ASCII characters without spaces."""
    if _OPERATION_ID.fullmatch(operation_id):
        return []
    problem = "must be 1-128 printable ASCII characters without spaces"
    return [Fault(field="async_operation_id", problem=problem)]
