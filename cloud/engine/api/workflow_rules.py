"""Workflow rules: kept per namespace, they pause activities that match a predicate as they start or are tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from temporalio.api.rules.v1 import WorkflowRule
from temporalio.api.workflowservice.v1 import (
    CreateWorkflowRuleRequest,
    CreateWorkflowRuleResponse,
    DeleteWorkflowRuleRequest,
    DeleteWorkflowRuleResponse,
    DescribeWorkflowRuleRequest,
    DescribeWorkflowRuleResponse,
    ListWorkflowRulesRequest,
    ListWorkflowRulesResponse,
    TriggerWorkflowRuleRequest,
    TriggerWorkflowRuleResponse,
)

from cloud.engine.api import checks
from cloud.engine.core.clock import timestamp, to_ns
from cloud.engine.runtime.dynamic_config import WORKFLOW_RULES
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.workflow_rules import matcher
from cloud.engine.store.visibility_conditions import FilterError
from cloud.rpc import CallContext, InvalidArgument, Unimplemented

RULES_MAX = 10
"""Rules of a namespace (the real server's default)."""

RULE_BYTES_MAX = 64 * 1024
"""A rule, serialized: all of a namespace's are in memory, and in its one row."""

_NOT_FOUND = "Workflow Rule with this ID not Found."


class WorkflowRules:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def create_workflow_rule(
        self, request: CreateWorkflowRuleRequest, context: CallContext
    ) -> CreateWorkflowRuleResponse:
        """Add a rule. It holds from now on; activities that workers hold already go on."""
        self._check_switch("CreateWorkflowRule")
        if not request.HasField("spec"):
            raise InvalidArgument("Rule Specification is not set.")
        rule_id = request.spec.id
        _check_id(rule_id)
        if len(rule_id.encode()) > self._runtime.limits.id_length:
            raise InvalidArgument("Workflow Rule Id length exceeds limit.")
        checks.check_no_nul(rule_id, "Workflow Rule Id")
        now = self._runtime.clock.now()
        rule = WorkflowRule(
            create_time=timestamp(now),
            spec=request.spec,
            created_by_identity=request.identity,
            description=request.description,
        )
        if rule.ByteSize() > RULE_BYTES_MAX:
            raise InvalidArgument(f"Workflow Rule is larger than {RULE_BYTES_MAX} bytes.")
        async with self._runtime.namespaces.changing:
            namespace = checks.namespace_of(self._runtime, request.namespace)
            _check_predicates(rule)
            rules = dict(namespace.workflow_rules)
            if len(rules) >= RULES_MAX:
                rules = _without_expired(rules, now)
            if len(rules) >= RULES_MAX:
                raise InvalidArgument(f"Workflow Rule limit exceeded. Max: {RULES_MAX}")
            if rule_id in rules:
                raise InvalidArgument("Workflow Rule with this ID already exists.")
            await self._set(namespace, {**rules, rule_id: rule.SerializeToString()})
        return CreateWorkflowRuleResponse(rule=rule)

    async def describe_workflow_rule(
        self, request: DescribeWorkflowRuleRequest, context: CallContext
    ) -> DescribeWorkflowRuleResponse:
        """One rule."""
        self._check_switch("DescribeWorkflowRule")
        _check_id(request.rule_id)
        namespace = checks.namespace_of(self._runtime, request.namespace)
        data = namespace.workflow_rules.get(request.rule_id)
        if data is None:
            raise InvalidArgument(_NOT_FOUND)
        return DescribeWorkflowRuleResponse(rule=WorkflowRule.FromString(data))

    async def delete_workflow_rule(
        self, request: DeleteWorkflowRuleRequest, context: CallContext
    ) -> DeleteWorkflowRuleResponse:
        """Remove a rule. What it paused stays paused until people unpause it."""
        self._check_switch("DeleteWorkflowRule")
        _check_id(request.rule_id)
        async with self._runtime.namespaces.changing:
            namespace = checks.namespace_of(self._runtime, request.namespace)
            if request.rule_id not in namespace.workflow_rules:
                raise InvalidArgument(_NOT_FOUND)
            rules = {key: rule for key, rule in namespace.workflow_rules.items() if key != request.rule_id}
            await self._set(namespace, rules)
        return DeleteWorkflowRuleResponse()

    async def list_workflow_rules(
        self, request: ListWorkflowRulesRequest, context: CallContext
    ) -> ListWorkflowRulesResponse:
        """All rules, in one page: they are few."""
        self._check_switch("ListWorkflowRules")
        namespace = checks.namespace_of(self._runtime, request.namespace)
        return ListWorkflowRulesResponse(
            rules=[WorkflowRule.FromString(data) for data in namespace.workflow_rules.values()]
        )

    async def trigger_workflow_rule(
        self, request: TriggerWorkflowRuleRequest, context: CallContext
    ) -> TriggerWorkflowRuleResponse:
        """Refused, as the real server does."""
        checks.namespace_of(self._runtime, request.namespace)
        raise Unimplemented("method TriggerWorkflowRule not supported")

    def _check_switch(self, method: str) -> None:
        if not self._runtime.dynamic_config.on(WORKFLOW_RULES):
            raise Unimplemented(f"method {method} not supported")

    async def _set(self, namespace: Namespace, rules: Mapping[str, bytes]) -> None:
        changed = replace(namespace, workflow_rules=dict(rules))
        await self._runtime.namespaces.update(changed, self._runtime.lease.epoch)
        self._runtime.refresh_namespace(changed)


def _check_id(rule_id: str) -> None:
    if not rule_id:
        raise InvalidArgument("Workflow Rule ID is not set.")


def _check_predicates(rule: WorkflowRule) -> None:
    if not rule.spec.HasField("activity_start"):
        return
    try:
        matcher(rule.spec)
    except FilterError as error:
        raise InvalidArgument(f"Workflow Rule's predicate can't be read: {error}") from None


def _without_expired(rules: Mapping[str, bytes], now: int) -> dict[str, bytes]:
    """Make room: rules that hold no more go."""
    kept = {}
    for rule_id, data in rules.items():
        spec = WorkflowRule.FromString(data).spec
        if not spec.HasField("expiration_time") or to_ns(spec.expiration_time) > now:
            kept[rule_id] = data
    return kept
