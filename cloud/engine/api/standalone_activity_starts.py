"""What a start of a standalone activity asks of the one that holds its id: links, callbacks, the policies of ids."""

from __future__ import annotations

from temporalio.api.enums.v1 import ActivityExecutionStatus, ActivityIdConflictPolicy, ActivityIdReusePolicy
from temporalio.api.errordetails.v1 import ActivityExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core.standalone_activity_state import StandaloneActivity
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.rpc import AlreadyExists, FailedPrecondition, InvalidArgument

LINKS_MAX = 10
"""Links of one request, as the real server bounds them (frontend.maxlinksPerRequest)."""
LINKS_OF_ONE_MAX = 1_000
"""Links that one activity gathers over its life."""
LINK_BYTES_MAX = 4_000

_Reuse = ActivityIdReusePolicy
_Conflict = ActivityIdConflictPolicy
_S = ActivityExecutionStatus


def check_links(request: StartActivityExecutionRequest) -> None:
    """Check the links of a start, those of its callbacks included.

    Raises:
        InvalidArgument: there are too many, or one is too large.
    """
    links = [*request.links, *(link for callback in request.completion_callbacks for link in callback.links)]
    if len(links) > LINKS_MAX:
        raise InvalidArgument(f"cannot attach more than {LINKS_MAX} links per request, got {len(links)}")
    for link in links:
        if link.ByteSize() > LINK_BYTES_MAX:
            raise InvalidArgument(f"link exceeds allowed size of {LINK_BYTES_MAX}, got {link.ByteSize()}")


def check_room_for_links(activity: StandaloneActivity, count: int) -> None:
    """Check that `count` more links may be attached.

    Raises:
        FailedPrecondition: it is over, or would have too many.
    """
    if activity.closed:
        raise FailedPrecondition("cannot attach links to a closed activity")
    have = len(activity.request.links) + len(activity.state.links)
    if have + count > LINKS_OF_ONE_MAX:
        raise FailedPrecondition(
            f"cannot attach more than {LINKS_OF_ONE_MAX} links to an activity ({have} links already attached)"
        )


def check_conflict_options(request: StartActivityExecutionRequest) -> None:
    """Check what a start wants to attach to the activity that is there already.

    Raises:
        InvalidArgument: something without what it needs.
    """
    options = request.on_conflict_options
    if options.attach_completion_callbacks and not options.attach_request_id:
        raise InvalidArgument(
            "on_conflict_options: attach_completion_callbacks requires attach_request_id to be set"
        )
    if options.attach_request_id and not request.completion_callbacks and not request.links:
        raise InvalidArgument(
            "on_conflict_options: attach_request_id requires at least one completion callback or link"
        )


def resolve(newest: HotActivity, request: StartActivityExecutionRequest) -> HotActivity | None:
    """What the policies say of an id that has an activity: the one to use, or None to start anew.

    Raises:
        AlreadyExists: they forbid a new one.
    """
    activity = newest.activity
    if activity.state.start_request_id == request.request_id:
        return newest
    if not activity.closed:
        if request.id_conflict_policy == _Conflict.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING:
            return newest
    elif request.id_reuse_policy == _Reuse.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE or (
        request.id_reuse_policy == _Reuse.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
        and activity.status != _S.ACTIVITY_EXECUTION_STATUS_COMPLETED
    ):
        return None
    raise AlreadyExists(
        "activity execution already started",
        ActivityExecutionAlreadyStartedFailure(
            start_request_id=activity.state.start_request_id, run_id=newest.run_id
        ),
    )
