"""UpdateTaskQueueConfig: rate limits of a queue and of its fairness keys, and the keys' weights."""

from __future__ import annotations

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import ConfigMetadata, RateLimitConfig, TaskQueueConfig
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest, UpdateTaskQueueConfigResponse

from cloud.engine.api import checks
from cloud.engine.core import priority
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.queue_settings import TooManyConfigs
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument

REASON_LENGTH_MAX = 1_000
WEIGHTS_MAX = 1_000

_WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_RateLimitUpdate = UpdateTaskQueueConfigRequest.RateLimitUpdate


class TaskQueueConfigMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def update_task_queue_config(
        self, request: UpdateTaskQueueConfigRequest, context: CallContext
    ) -> UpdateTaskQueueConfigResponse:
        """Change what the request names; the rest stays. In force at once, for tasks that wait too."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        _check_rate(request, "update_queue_rate_limit", "UpdateQueueRateLimit", "rate limit")
        _check_rate(
            request,
            "update_fairness_key_rate_limit_default",
            "UpdateFairnessKeyRateLimitDefault",
            "fairness key rate limit",
        )
        limits = self._runtime.limits
        _check_text("Identity", request.identity, limits.id_length)
        _check_weights(request)
        checks.check_queue_name(request.task_queue, limits)
        now = self._runtime.clock.now()
        name = (namespace.namespace_id, request.task_queue, request.task_queue_type or _WORKFLOW)
        try:
            config = await self._runtime.queues.settings.configure(
                name, lambda config: _change(config, request, now), self._runtime.lease.epoch
            )
        except TooManyConfigs as error:
            raise FailedPrecondition(str(error)) from None
        return UpdateTaskQueueConfigResponse(config=config)


def _check_rate(request: UpdateTaskQueueConfigRequest, field: str, label: str, what: str) -> None:
    update: _RateLimitUpdate = getattr(request, field)
    if not update.HasField("rate_limit"):
        _check_text(f"{label}.Reason", update.reason, REASON_LENGTH_MAX)
        return
    if request.task_queue_type == _WORKFLOW:
        raise InvalidArgument(f"Setting {what} on workflow task queues is not allowed.")
    if not update.rate_limit.requests_per_second >= 0:  # NaN is no rate either
        raise InvalidArgument(f"RequestsPerSecond for {label} rate limit must be non-negative.")
    _check_text(f"{label}.Reason", update.reason, REASON_LENGTH_MAX)


def _check_text(what: str, value: str, length_max: int) -> None:
    if len(value.encode()) > length_max:
        raise InvalidArgument(f"{what} field too long (max {length_max} characters).")


def _check_weights(request: UpdateTaskQueueConfigRequest) -> None:
    wanted, unset = request.set_fairness_weight_overrides, request.unset_fairness_weight_overrides
    count = len(wanted) + len(unset)
    if count > WEIGHTS_MAX:
        raise InvalidArgument(
            f"too many fairness weight overrides in request: got {count}, maximum {WEIGHTS_MAX}"
        )
    for key in (*wanted, *unset):
        if not key:
            raise InvalidArgument("fairness weight override key must not be empty")
        if len(key.encode()) > priority.FAIRNESS_KEY_BYTES_MAX:
            raise InvalidArgument("fairness key length exceeds limit")
        checks.check_no_nul(key, "fairness key")
    for key, weight in wanted.items():
        if not 0 < weight < float("inf"):
            raise InvalidArgument(
                f'invalid fairness weight weight for key "{key}": must be greater than zero'
            )
    for key in unset:
        if key in wanted:
            raise InvalidArgument(f'fairness weight override key "{key}" present in both set and unset lists')


def _change(config: TaskQueueConfig, request: UpdateTaskQueueConfigRequest, now: int) -> None:
    for update, kept in (
        ("update_queue_rate_limit", config.queue_rate_limit),
        ("update_fairness_key_rate_limit_default", config.fairness_keys_rate_limit_default),
    ):
        if request.HasField(update):  # type: ignore[arg-type]
            kept.CopyFrom(_rate_limit(getattr(request, update), request.identity, now))
    for key in request.unset_fairness_weight_overrides:
        config.fairness_weight_overrides.pop(key, None)
    config.fairness_weight_overrides.update(request.set_fairness_weight_overrides)
    if len(config.fairness_weight_overrides) > WEIGHTS_MAX:
        raise Invalid("fairness weight overrides update rejected: exceeding maximum key size")


def _rate_limit(update: _RateLimitUpdate, identity: str, now: int) -> RateLimitConfig:
    found = RateLimitConfig(
        metadata=ConfigMetadata(reason=update.reason, update_identity=identity, update_time=timestamp(now))
    )
    if update.HasField("rate_limit"):
        found.rate_limit.CopyFrom(update.rate_limit)
    return found
