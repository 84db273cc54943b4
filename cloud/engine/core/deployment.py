"""A worker deployment: its versions, which of them is current or ramping, and the rules by which that changes.

A version gets the tasks of runs that are not pinned while it is current (or ramping, its share of them). Once it is neither it
drains: runs that are pinned to it go on, and when none is open it is drained. Times are nanoseconds, 0 for none.

Functions check first and change after: a refusal leaves the deployment as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from temporalio.api.enums.v1 import VersionDrainageStatus, WorkerDeploymentVersionStatus

from cloud.engine.core.errors import CoreRefusal, NotNow
from cloud.engine.core.versions import older

_S = WorkerDeploymentVersionStatus
_D = VersionDrainageStatus

CREATED = _S.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED
INACTIVE = _S.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE
CURRENT = _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT
RAMPING = _S.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING
DRAINING = _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING
DRAINED = _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED


class NoSuchVersion(CoreRefusal):
    """The deployment has no such version."""


class NoChange(CoreRefusal):
    """It is already as it is asked for."""


class TooManyVersions(CoreRefusal):
    """The deployment, or the version, is full."""


@dataclass(slots=True)
class Drainage:
    """How far a version that is neither current nor ramping has drained; `status` is a VersionDrainageStatus."""

    status: int
    changed_at: int
    checked_at: int


@dataclass(slots=True)
class Version:
    """One version of a deployment. `queues` are (name, kind) of those that its workers poll, in the order of their coming."""

    build_id: str
    created_at: int
    status: int = INACTIVE
    routing_changed_at: int = 0
    current_since: int = 0
    ramping_since: int = 0
    ramp_percentage: float = 0.0
    first_active_at: int = 0
    last_current_at: int = 0
    deactivated_at: int = 0
    drainage: Drainage | None = None
    queues: list[tuple[str, int]] = field(default_factory=list)
    metadata: bytes = b""
    last_modifier: str = ""
    create_request_id: str = ""


@dataclass(slots=True)
class Deployment:
    """A deployment without its versions, which are kept beside it.

    `ramping` is None while there is no ramp, "" for workers without a version.
    """

    name: str
    created_at: int
    create_request_id: str = ""
    current: str = ""
    current_changed_at: int = 0
    ramping: str | None = None
    ramping_changed_at: int = 0
    percentage: float = 0.0
    percentage_changed_at: int = 0
    revision: int = 0
    conflict_token: int = 0
    last_modifier: str = ""
    manager: str = ""


@dataclass(slots=True)
class Whole:
    """A deployment with its versions by build id, in the order of their coming."""

    deployment: Deployment
    versions: dict[str, Version] = field(default_factory=dict)

    def version(self, version: str) -> Version | None:
        """The version of this text, None if it is not there."""
        name, _, build_id = version.partition(":")
        return self.versions.get(build_id) if name == self.deployment.name else None

    def text(self, version: Version) -> str:
        """The text of one of its versions."""
        return f"{self.deployment.name}:{version.build_id}"


# --- checks ------------------------------------------------------------------------------------------------------


def _check(deployment: Deployment, conflict_token: int | None) -> None:
    if conflict_token is not None and conflict_token != deployment.conflict_token:
        raise NotNow("conflict token mismatch")


def _check_manager(deployment: Deployment, identity: str) -> None:
    if deployment.manager and deployment.manager != identity:
        raise NotNow(
            f"ManagerIdentity '{deployment.manager}' is set and does not match user identity '{identity}'; to proceed, "
            "set your own identity as the ManagerIdentity, remove the ManagerIdentity, or wait for the other client to do so"
        )


def check_current(
    whole: Whole, version: str, *, identity: str, conflict_token: int | None, allow_missing: bool
) -> None:
    """Whether `version` may become the current one.

    Raises:
        NoChange: it is, set by the same caller.
        NotNow: the conflict token is old, or another manages the deployment.
        NoSuchVersion: it is not there.
    """
    deployment = whole.deployment
    if version == deployment.current and identity == deployment.last_modifier:
        raise NoChange("no change")
    _check(deployment, conflict_token)
    if version and whole.version(version) is None and not allow_missing:
        raise NoSuchVersion(f"version {older(version)} not found in deployment")
    _check_manager(deployment, identity)


def check_ramping(
    whole: Whole,
    version: str | None,
    percentage: float,
    *,
    identity: str,
    conflict_token: int | None,
    allow_missing: bool,
) -> None:
    """Whether `version` may get `percentage` of what is not pinned.

    Raises:
        NoChange: it does, set by the same caller.
        NotNow: it is current; or as for `check_current`.
        NoSuchVersion: it is not there.
    """
    deployment = whole.deployment
    same = version == deployment.ramping and percentage == deployment.percentage
    if same and identity == deployment.last_modifier:
        raise NoChange("version already ramping, no change")
    _check(deployment, conflict_token)
    if version is not None and version == deployment.current and not (version == "" and percentage == 0):
        raise NotNow(f"requested ramping version {older(version)} is already current")
    if version and whole.version(version) is None and not allow_missing:
        raise NoSuchVersion(f"requested ramping version {older(version)} not found in deployment")
    _check_manager(deployment, identity)


def check_manager(whole: Whole, manager: str, *, identity: str, conflict_token: int | None) -> None:
    """Whether `manager` may become the one who alone changes the routing.

    Raises:
        NoChange: it is, set by the same caller.
        NotNow: the conflict token is old.
    """
    deployment = whole.deployment
    if deployment.manager == manager and deployment.last_modifier == identity:
        raise NoChange("no change")
    _check(deployment, conflict_token)


def check_removal(whole: Whole, version: Version, *, identity: str | None, skip_drainage: bool) -> None:
    """Whether a version may be removed; who it is does not matter if `identity` is None (the service itself).

    Raises:
        NotNow: it is in use, or another manages the deployment.
    """
    text = whole.text(version)
    if text in (whole.deployment.current, whole.deployment.ramping):
        raise NotNow(f"version '{text}' cannot be deleted since it is current or ramping")
    if identity is not None:
        _check_manager(whole.deployment, identity)
    if version.status == DRAINING and not skip_drainage:
        raise NotNow(f"version '{text}' cannot be deleted since it is draining")


def missing_queues(whole: Whole, from_version: str, to_version: str) -> list[tuple[str, int]]:
    """Queues that `from_version` has and `to_version` does not; none if one of both is without a version."""
    before, after = whole.version(from_version), whole.version(to_version)
    if before is None or after is None:
        return []
    has = set(after.queues)
    return [queue for queue in before.queues if queue not in has]


# --- changes -----------------------------------------------------------------------------------------------------


def set_current(whole: Whole, version: str, *, identity: str, now: int) -> None:
    """Make `version`, which passed `check_current`, the current one."""
    deployment = whole.deployment
    if version != deployment.current:
        if version == deployment.ramping:
            deployment.ramping = None
            deployment.percentage = 0.0
            deployment.ramping_changed_at = deployment.percentage_changed_at = now
        deployment.current, deployment.current_changed_at = version, now
        deployment.revision += 1
        _settle(whole, now)
    deployment.conflict_token = now
    deployment.last_modifier = identity


def set_ramping(whole: Whole, version: str | None, percentage: float, *, identity: str, now: int) -> None:
    """Give `version`, which passed `check_ramping`, its percentage; None ends the ramp."""
    deployment = whole.deployment
    if version != deployment.ramping or percentage != deployment.percentage:
        if version is None or version != deployment.ramping:
            deployment.ramping_changed_at = now
        deployment.ramping, deployment.percentage = version, percentage
        deployment.percentage_changed_at = now
        deployment.revision += 1
        _settle(whole, now)
    deployment.conflict_token = now
    deployment.last_modifier = identity


def set_manager(whole: Whole, manager: str, *, identity: str, now: int) -> str:
    """Make `manager` the one who alone changes the routing, "" for anyone. Returns who it was."""
    deployment = whole.deployment
    before, deployment.manager = deployment.manager, manager
    deployment.conflict_token = now
    deployment.last_modifier = identity
    return before


def _settle(whole: Whole, now: int) -> None:
    """Bring the versions' own states in line with the routing."""
    deployment = whole.deployment
    for version in whole.versions.values():
        text = whole.text(version)
        if text == deployment.current:
            if version.status != CURRENT:
                _activate(version, CURRENT, now)
                version.current_since, version.ramping_since, version.ramp_percentage = now, 0, 0.0
                version.last_current_at = now
        elif text == deployment.ramping:
            if version.status != RAMPING:
                _activate(version, RAMPING, now)
                version.ramping_since, version.current_since = now, 0
            elif version.ramp_percentage != deployment.percentage:
                version.routing_changed_at = now
            version.ramp_percentage = deployment.percentage
        elif version.current_since or version.ramping_since:
            version.current_since = version.ramping_since = 0
            version.ramp_percentage = 0.0
            version.routing_changed_at = version.deactivated_at = now
            drain(version, now)


def _activate(version: Version, status: int, now: int) -> None:
    version.status = status
    version.routing_changed_at = now
    version.first_active_at = version.first_active_at or now
    version.deactivated_at = 0
    version.drainage = None


def drain(version: Version, now: int) -> None:
    """It is in use by pinned runs alone from now on."""
    version.status = DRAINING
    version.drainage = Drainage(_D.VERSION_DRAINAGE_STATUS_DRAINING, now, now)


def checked(version: Version, *, in_use: bool, now: int) -> None:
    """It was looked whether runs are pinned to the draining version."""
    drainage = version.drainage
    if drainage is None or version.status != DRAINING:
        return
    drainage.checked_at = now
    if not in_use:
        version.status = DRAINED
        drainage.status = _D.VERSION_DRAINAGE_STATUS_DRAINED
        drainage.changed_at = now


def pinned_anew(version: Version, now: int) -> bool:
    """A run was pinned to the version from outside: if nobody expected it to be in use, it drains again. Whether that changed it."""
    if version.status not in (DRAINED, INACTIVE):
        return False
    drain(version, now)
    return True


def register(version: Version, queue: str, kind: int, *, queues_max: int) -> None:
    """Its workers poll a queue of this name and kind.

    Raises:
        TooManyVersions: it has queues enough.
    """
    if len({name for name, _ in version.queues} | {queue}) > queues_max:
        raise TooManyVersions(
            f"cannot add task queue {queue} since maximum number of task queues ({queues_max}) "
            "have been registered in deployment"
        )
    version.queues.append((queue, kind))
    if version.status == CREATED:
        version.status = INACTIVE


def shown(version: str | None) -> str:
    """A ramping version as the older API writes it."""
    return "" if version is None else older(version)
