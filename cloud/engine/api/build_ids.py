"""The older forms of worker versioning: sets of compatible build ids and rules, per task queue, where an operator switched them on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio.api.errordetails.v1 import NotFoundFailure, PermissionDeniedFailure
from temporalio.api.taskqueue.v1 import (
    BuildIdAssignmentRule,
    CompatibleBuildIdRedirectRule,
    CompatibleVersionSet,
    TimestampedBuildIdAssignmentRule,
    TimestampedCompatibleBuildIdRedirectRule,
)
from temporalio.api.workflowservice.v1 import (
    GetWorkerBuildIdCompatibilityRequest,
    GetWorkerBuildIdCompatibilityResponse,
    GetWorkerVersioningRulesRequest,
    GetWorkerVersioningRulesResponse,
    UpdateWorkerBuildIdCompatibilityRequest,
    UpdateWorkerBuildIdCompatibilityResponse,
    UpdateWorkerVersioningRulesRequest,
    UpdateWorkerVersioningRulesResponse,
)

from cloud.engine.api import checks
from cloud.engine.core import build_id_rules, build_ids
from cloud.engine.core.build_ids import BuildIds, Exists, NotThere, Redirect, Rule
from cloud.engine.core.clock import timestamp
from cloud.engine.runtime.builds import Builds, TooMuch
from cloud.engine.runtime.dynamic_config import VERSIONING_DATA_APIS, VERSIONING_RULE_APIS, Switch
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK
from cloud.rpc import (
    AlreadyExists,
    CallContext,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)

QUEUES_PER_BUILD_ID_MAX = 20

SETS_REFUSED = "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace."
RULES_REFUSED = "Worker versioning v0.2 (Rules-based, deprecated) is disabled on this namespace."


class BuildIdMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, builds: Builds) -> None:
        self._runtime = runtime
        self._builds = builds

    # --- sets ---

    async def update_worker_build_id_compatibility(
        self, request: UpdateWorkerBuildIdCompatibilityRequest, context: CallContext
    ) -> UpdateWorkerBuildIdCompatibilityResponse:
        """Add a build id, or change which are the defaults."""
        require(self._runtime, request.namespace, VERSIONING_DATA_APIS, SETS_REFUSED)
        self._check_sets(request)
        namespace = self._namespace_of(request.namespace, request.task_queue)
        async with self._changing(namespace, request.task_queue) as data:
            self._change_sets(namespace, data, request)
            build_ids.check_sets(data, self._runtime.limits)
        return UpdateWorkerBuildIdCompatibilityResponse()

    def _change_sets(
        self, namespace: Namespace, data: BuildIds, request: UpdateWorkerBuildIdCompatibilityRequest
    ) -> None:
        now = self._runtime.clock.now()
        match request.WhichOneof("operation"):
            case "add_new_build_id_in_new_default_set":
                self._check_queues(namespace, data, request.add_new_build_id_in_new_default_set)
                build_ids.add_set(data, request.add_new_build_id_in_new_default_set, now)
            case "add_new_compatible_build_id":
                new = request.add_new_compatible_build_id
                self._check_queues(namespace, data, new.new_build_id)
                build_ids.add_compatible(
                    data,
                    new.new_build_id,
                    new.existing_compatible_build_id,
                    make_default=new.make_set_default,
                    now=now,
                )
            case "promote_set_by_build_id":
                build_ids.promote_set(data, request.promote_set_by_build_id, now)
            case "promote_build_id_within_set":
                build_ids.promote_in_set(data, request.promote_build_id_within_set)
            case _:
                merge = request.merge_sets
                build_ids.merge_sets(data, merge.primary_set_build_id, merge.secondary_set_build_id)

    def _check_queues(self, namespace: Namespace, data: BuildIds, build_id: str) -> None:
        if data.set_of(build_id) >= 0:
            return
        queues = self._builds.queues_of_build_id(namespace.namespace_id, build_id)
        if len(queues) >= QUEUES_PER_BUILD_ID_MAX:
            raise FailedPrecondition(
                f"Exceeded max task queues allowed to be mapped to a single build ID: {QUEUES_PER_BUILD_ID_MAX}"
            )

    def _check_sets(self, request: UpdateWorkerBuildIdCompatibilityRequest) -> None:
        """Refuse what is incomplete, with all that it lacks."""
        longest = self._runtime.limits.build_id_length
        lacks = ["request to update worker build ID compatability requires: "]

        def check(build_id: str, name: str, *, length: bool = True) -> None:
            checks.check_no_nul(build_id, "BuildId")
            if not build_id:
                lacks.append(f"`{name}` to be set")
            elif length and len(build_id.encode()) > longest:
                lacks.append(f" Worker build IDs to be no larger than {longest} characters")

        if not request.namespace:
            lacks.append("`namespace` to be set")
        if not request.task_queue:
            lacks.append("`task_queue` to be set")
        match request.WhichOneof("operation"):
            case None:
                lacks.append("an operation to be specified")
            case "add_new_compatible_build_id":
                new = request.add_new_compatible_build_id
                check(new.new_build_id, "add_new_compatible_version")
                check(new.existing_compatible_build_id, "existing_compatible_version", length=False)
            case "add_new_build_id_in_new_default_set":
                check(request.add_new_build_id_in_new_default_set, "add_new_version_id_in_new_default_set")
            case "promote_set_by_build_id":
                check(request.promote_set_by_build_id, "promote_set_by_version_id")
            case "promote_build_id_within_set":
                check(request.promote_build_id_within_set, "promote_version_id_within_set")
        if len(lacks) > 1:
            raise InvalidArgument(", ".join(lacks))

    async def get_worker_build_id_compatibility(
        self, request: GetWorkerBuildIdCompatibilityRequest, context: CallContext
    ) -> GetWorkerBuildIdCompatibilityResponse:
        """The queue's sets, the default one last; of many the last `max_sets`."""
        require(self._runtime, request.namespace, VERSIONING_DATA_APIS, SETS_REFUSED)
        namespace = self._namespace_of(request.namespace, request.task_queue)
        data = self._builds.of_queue(namespace.namespace_id, request.task_queue)
        sets = data.sets[-request.max_sets :] if request.max_sets > 0 else data.sets
        return GetWorkerBuildIdCompatibilityResponse(
            major_version_sets=[CompatibleVersionSet(build_ids=each.build_ids) for each in sets]
        )

    # --- rules ---

    async def update_worker_versioning_rules(
        self, request: UpdateWorkerVersioningRulesRequest, context: CallContext
    ) -> UpdateWorkerVersioningRulesResponse:
        """Change one rule, if the caller knows the rules as they are."""
        require(self._runtime, request.namespace, VERSIONING_RULE_APIS, RULES_REFUSED)
        _check_rule_ids(request)
        namespace = self._namespace_of(request.namespace, request.task_queue)
        async with self._changing(namespace, request.task_queue) as data:
            if request.conflict_token != _token(data):
                raise FailedPrecondition(
                    f"provided conflict token '{_in_numbers(request.conflict_token)}' does not match "
                    f"existing one '{_in_numbers(_token(data))}'"
                )
            now = max(self._runtime.clock.now(), data.changed_at + 1)
            self._change_rules(namespace, data, request, now)
            build_id_rules.forget_deleted(data, now)
            data.changed_at = now
        assignments, redirects = _shown(data)
        return UpdateWorkerVersioningRulesResponse(
            assignment_rules=assignments, compatible_redirect_rules=redirects, conflict_token=_token(data)
        )

    def _change_rules(
        self, namespace: Namespace, data: BuildIds, request: UpdateWorkerVersioningRulesRequest, now: int
    ) -> None:
        limits = self._runtime.limits
        match request.WhichOneof("operation"):
            case "insert_assignment_rule":
                inserted = request.insert_assignment_rule
                build_id_rules.insert(data, inserted.rule_index, _rule(inserted.rule, now), limits)
            case "replace_assignment_rule":
                put = request.replace_assignment_rule
                build_id_rules.replace(data, put.rule_index, _rule(put.rule, now), force=put.force)
            case "delete_assignment_rule":
                gone = request.delete_assignment_rule
                build_id_rules.delete(data, gone.rule_index, force=gone.force, now=now)
            case "add_compatible_redirect_rule":
                added = request.add_compatible_redirect_rule.rule
                build_id_rules.add_redirect(data, _redirect(added, now), limits)
            case "replace_compatible_redirect_rule":
                changed = request.replace_compatible_redirect_rule.rule
                build_id_rules.replace_redirect(data, _redirect(changed, now), limits)
            case "delete_compatible_redirect_rule":
                build_id_rules.delete_redirect(
                    data, request.delete_compatible_redirect_rule.source_build_id, now
                )
            case "commit_build_id":
                commit = request.commit_build_id
                build_id_rules.commit(
                    data,
                    commit.target_build_id,
                    polled_lately=self._polled_lately(namespace, request.task_queue, commit.target_build_id),
                    force=commit.force,
                    limits=limits,
                    now=now,
                )
            case _:
                raise InvalidArgument("an operation is required")

    def _polled_lately(self, namespace: Namespace, queue: str, build_id: str) -> bool:
        since = self._runtime.clock.now() - build_id_rules.POLLER_SEEN
        return any(
            seen.at > since and seen.options is not None and seen.options.build_id == build_id
            for kind in (WORKFLOW_TASK, ACTIVITY_TASK)
            for seen in self._runtime.queues.pollers_of(QueueKey(namespace.namespace_id, queue, kind))
        )

    async def get_worker_versioning_rules(
        self, request: GetWorkerVersioningRulesRequest, context: CallContext
    ) -> GetWorkerVersioningRulesResponse:
        """The queue's rules in the order in which they count, and the token with which they can be changed."""
        require(self._runtime, request.namespace, VERSIONING_RULE_APIS, RULES_REFUSED)
        namespace = self._namespace_of(request.namespace, request.task_queue)
        data = self._builds.of_queue(namespace.namespace_id, request.task_queue)
        assignments, redirects = _shown(data)
        return GetWorkerVersioningRulesResponse(
            assignment_rules=assignments, compatible_redirect_rules=redirects, conflict_token=_token(data)
        )

    # --- shared ---

    def _namespace_of(self, name: str, queue: str) -> Namespace:
        namespace = checks.namespace_of(self._runtime, name)
        if not queue:
            raise InvalidArgument("taskQueue is not set")
        checks.check_length(queue, "taskQueue", self._runtime.limits)
        return namespace

    @asynccontextmanager
    async def _changing(self, namespace: Namespace, queue: str) -> AsyncIterator[BuildIds]:
        """What is done to the queue's data in the block is stored when it ends; nothing if it raises."""
        try:
            async with self._builds.changing(namespace, queue) as data:
                yield data
        except NotThere as error:
            raise NotFound(str(error), NotFoundFailure()) from error
        except Exists as error:
            raise AlreadyExists(str(error)) from error
        except TooMuch as error:
            raise FailedPrecondition(str(error)) from error


def require(runtime: Runtime, namespace: str, switch: Switch, sentence: str) -> None:
    """Refuse a call of what is switched off, in a namespace that is there.

    Raises:
        PermissionDenied: it is.
    """
    checks.namespace_of(runtime, namespace)
    if not runtime.dynamic_config.on(switch):
        raise PermissionDenied(sentence, PermissionDeniedFailure())


def _check_rule_ids(request: UpdateWorkerVersioningRulesRequest) -> None:
    redirects = [
        rule
        for name in ("add_compatible_redirect_rule", "replace_compatible_redirect_rule")
        for rule in [getattr(request, name).rule]
    ]
    for build_id in (
        request.insert_assignment_rule.rule.target_build_id,
        request.replace_assignment_rule.rule.target_build_id,
        request.commit_build_id.target_build_id,
        *(each for rule in redirects for each in (rule.target_build_id, rule.source_build_id)),
    ):
        size = len(build_id.encode())
        if size > 255:
            raise InvalidArgument(f"BuildId must be <= 255 characters, was {size}")
        checks.check_no_nul(build_id, "BuildId")


def _rule(rule: BuildIdAssignmentRule, now: int) -> Rule:
    percentage = rule.percentage_ramp.ramp_percentage if rule.HasField("percentage_ramp") else 100.0
    return Rule(rule.target_build_id, percentage, now)


def _redirect(rule: CompatibleBuildIdRedirectRule, now: int) -> Redirect:
    return Redirect(rule.source_build_id, rule.target_build_id, now)


def _shown(
    data: BuildIds,
) -> tuple[list[TimestampedBuildIdAssignmentRule], list[TimestampedCompatibleBuildIdRedirectRule]]:
    assignments = []
    for rule in data.active_rules:
        shown = TimestampedBuildIdAssignmentRule(create_time=timestamp(rule.created_at))
        shown.rule.target_build_id = rule.build_id
        shown.rule.percentage_ramp.ramp_percentage = rule.percentage
        assignments.append(shown)
    redirects = [
        TimestampedCompatibleBuildIdRedirectRule(
            rule=CompatibleBuildIdRedirectRule(source_build_id=each.source, target_build_id=each.target),
            create_time=timestamp(each.created_at),
        )
        for each in data.active_redirects
    ]
    return assignments, redirects


def _token(data: BuildIds) -> bytes:
    return data.changed_at.to_bytes(8)


def _in_numbers(token: bytes) -> str:
    return f"[{' '.join(map(str, token))}]"
