"""Versions of workers as one text, `deployment:build`, "" for workers without one. A deployment's name has no colon, a build id may."""

from __future__ import annotations

from temporalio.api.deployment.v1 import WorkerDeploymentVersion

UNVERSIONED = "__unversioned__"
"""How the older API names workers without a version."""


def version_of(version: WorkerDeploymentVersion) -> str:
    """The text of a version, "" if the message is empty."""
    return f"{version.deployment_name}:{version.build_id}" if version.deployment_name else ""


def message_of(version: str) -> WorkerDeploymentVersion | None:
    """The message for a version, None without one."""
    if not version:
        return None
    name, _, build_id = version.partition(":")
    return WorkerDeploymentVersion(deployment_name=name, build_id=build_id)


def deployment_of(version: str) -> str:
    """The name of the deployment that a version belongs to."""
    return version.partition(":")[0]


def build_of(version: str) -> str:
    """The build id of a version."""
    return version.partition(":")[2]


def lane_of_build(build_id: str) -> str:
    """The lane of workers that say a build id, but no deployment, by the older forms of versioning: no version has such a name."""
    return f":{build_id}" if build_id else ""


def is_build_lane(version: str) -> bool:
    """Whether it is such a lane."""
    return version.startswith(":")


def older(version: str) -> str:
    """A version as the older API writes it: `deployment.build`."""
    return version.replace(":", ".", 1) if version else UNVERSIONED


def from_older(text: str) -> str:
    """The inverse of `older`; takes today's form too.

    Raises:
        ValueError: it is none; the sentence says why.
    """
    if text == UNVERSIONED:
        return ""
    at = min((index for index in (text.find("."), text.find(":")) if index >= 0), default=-1)
    if at < 0:
        raise ValueError(f"expected delimiter ':' or '.' not found in version string {text}")
    if at == 0:
        raise ValueError(f"deployment name is empty in version string {text}")
    if at == len(text) - 1:
        raise ValueError(f"build id is empty in version string {text}")
    return f"{text[:at]}:{text[at + 1 :]}"
