"""Who may do what: roles in an account, permissions in a namespace (Temporal Cloud's tables, first form)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from tenancy.access import Permission
from tenancy.model import AccountRole


class Right(enum.Enum):
    """What an account role can allow, beyond reading the account's own resources, which every role may."""

    CREATE_NAMESPACE = "create namespaces"
    MANAGE_NEXUS_ENDPOINTS = "manage Nexus endpoints"
    MANAGE_SERVICE_ACCOUNTS = "manage service accounts"
    MANAGE_KEYS = "manage the API keys of others"
    EDIT_TAGS = "edit the tags and the guard of namespaces"
    READ_AUDIT = "read the audit log"
    READ_USAGE = "read the usage"


_ADMINISTRATOR = frozenset(Right)

ROLE_RIGHTS: Mapping[AccountRole, frozenset[Right]] = MappingProxyType(
    {
        AccountRole.OWNER: _ADMINISTRATOR,
        AccountRole.ADMIN: _ADMINISTRATOR,
        AccountRole.DEVELOPER: frozenset({Right.CREATE_NAMESPACE, Right.MANAGE_NEXUS_ENDPOINTS}),
        AccountRole.FINANCE_ADMIN: frozenset({Right.READ_USAGE}),
        AccountRole.READ: frozenset(),
    }
)

_ASSIGNABLE: Mapping[AccountRole, frozenset[AccountRole]] = MappingProxyType(
    {
        AccountRole.OWNER: frozenset(AccountRole),
        AccountRole.ADMIN: frozenset({AccountRole.ADMIN, AccountRole.DEVELOPER, AccountRole.READ}),
    }
)

# Both are namespace admins everywhere, and that can't be taken from them.
_ADMIN_EVERYWHERE = frozenset({AccountRole.OWNER, AccountRole.ADMIN})


def may(role: AccountRole, right: Right) -> bool:
    """Whether `role` includes `right`."""
    return right in ROLE_RIGHTS[role]


def may_govern(role: AccountRole, other: AccountRole) -> bool:
    """Whether `role` may assign `other`, or act for one that has it: never a way up."""
    return other in _ASSIGNABLE.get(role, frozenset())


def namespace_permission(role: AccountRole, grant: Permission | None) -> Permission:
    """The most permissive of what the account role and a grant give in a namespace of the same account."""
    if role in _ADMIN_EVERYWHERE:
        return Permission.ADMIN
    return grant or Permission.NONE
