"""What both servers are started with when they are compared."""

from __future__ import annotations

from collections.abc import Mapping

from tests.scenarios.conftest import DYNAMIC_CONFIG, SWITCHED_ON


def for_bad_requests() -> list[str]:
    """Arguments for either server that is sent bad requests."""
    return _arguments(dict.fromkeys(SWITCHED_ON, "true"))


def for_scenarios() -> list[str]:
    """Arguments for either server that the scenarios run against."""
    return _arguments(DYNAMIC_CONFIG)


def for_callbacks(http_port: int) -> list[str]:
    """Arguments for the real server, which has no callbacks over HTTP without: whom it may call, and where it is called."""
    url = f"http://127.0.0.1:{http_port}/namespaces/{{{{.NamespaceName}}}}/nexus/callback"
    return _arguments(
        {
            "component.nexusoperations.callback.endpoint.template": f'"{url}"',
            "callback.allowedAddresses": '[{"Pattern": "*", "AllowInsecure": true}]',
        }
    )


def _arguments(values: Mapping[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in ("--dynamic-config-value", f"{name}={value}")]
