"""The older forms of worker versioning, as data of a task queue: sets of compatible build ids, and rules."""

import asyncio
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import TaskReachability
from temporalio.api.taskqueue.v1 import (
    BuildIdAssignmentRule,
    CompatibleBuildIdRedirectRule,
    RampByPercentage,
)

from .raw import Scenario
from .rendering import error
from .snapshots import expect, grouped

Sets = ws.UpdateWorkerBuildIdCompatibilityRequest
Rules = ws.UpdateWorkerVersioningRulesRequest


async def change_sets(s: Scenario, **operation: Any) -> None:
    usual = {"namespace": s.namespace, "task_queue": s.tq}
    await s.service.update_worker_build_id_compatibility(Sets(**(usual | operation)))


def compatible(new: str, existing: str, *, default: bool = False) -> dict[str, Any]:
    return {
        "add_new_compatible_build_id": Sets.AddNewCompatibleVersion(
            new_build_id=new, existing_compatible_build_id=existing, make_set_default=default
        )
    }


async def sets(s: Scenario, max_sets: int = 0) -> str:
    found = await s.service.get_worker_build_id_compatibility(
        ws.GetWorkerBuildIdCompatibilityRequest(namespace=s.namespace, task_queue=s.tq, max_sets=max_sets)
    )
    return "\n".join(" ".join(each.build_ids) for each in found.major_version_sets)


async def said(s: Scenario, call: Any) -> str:
    try:
        await call
    except Exception as caught:
        return error(caught, s.names)  # type: ignore[arg-type]
    return "accepted"


async def test_sets(s: Scenario) -> None:
    expect(
        await sets(s),
        """
    """,
    )
    await change_sets(s, add_new_build_id_in_new_default_set="1.0")
    await change_sets(s, **compatible("1.1", "1.0"))
    await change_sets(s, add_new_build_id_in_new_default_set="2.0")
    expect(
        await sets(s),
        """
        1.0 1.1
        2.0
    """,
    )
    await change_sets(s, promote_build_id_within_set="1.0")
    await change_sets(s, promote_set_by_build_id="1.1")
    expect(
        await sets(s),
        """
        2.0
        1.1 1.0
    """,
    )
    await change_sets(s, **compatible("2.1", "2.0", default=True))
    expect(
        await sets(s),
        """
        1.1 1.0
        2.0 2.1
    """,
    )
    expect(
        await sets(s, 1),
        """
        2.0 2.1
    """,
    )
    outcomes = {
        "again": await said(s, change_sets(s, add_new_build_id_in_new_default_set="1.0")),
        "default set again": await said(s, change_sets(s, add_new_build_id_in_new_default_set="2.1")),
        "with none": await said(s, change_sets(s, **compatible("3.0", "9.0"))),
        "in another": await said(s, change_sets(s, **compatible("1.1", "2.0"))),
        "not the default in its set": await said(s, change_sets(s, **compatible("1.1", "1.0"))),
        "not the default set": await said(s, change_sets(s, **compatible("1.0", "1.1", default=True))),
        "as it is": await said(s, change_sets(s, **compatible("1.0", "1.1"))),
        "promote none": await said(s, change_sets(s, promote_set_by_build_id="9.0")),
        "promote none within": await said(s, change_sets(s, promote_build_id_within_set="9.0")),
        "empty": await said(s, change_sets(s, add_new_build_id_in_new_default_set="")),
        "no operation": await said(s, change_sets(s)),
        "no queue": await said(s, change_sets(s, task_queue="")),
        "no new": await said(s, change_sets(s, **compatible("", "1.0"))),
        "no existing": await said(s, change_sets(s, **compatible("3.0", ""))),
        "long": await said(s, change_sets(s, add_new_build_id_in_new_default_set="x" * 256)),
    }
    expect(
        grouped(outcomes),
        """
        INVALID_ARGUMENT: version 1.0 already exists
          again
        INVALID_ARGUMENT: version 2.1 already exists
          default set again
        NOT_FOUND: targeted compatible_version 9.0 not found | NotFoundFailure
          with none
        INVALID_ARGUMENT: 1.1 requested to be made compatible with 2.0 but both versions exist and are
              incompatible
          in another
        INVALID_ARGUMENT: version 1.1 already exists and is not default in set
          not the default in its set
        INVALID_ARGUMENT: version 1.0 already exists and is not default for queue
          not the default set
        accepted
          as it is
        NOT_FOUND: targeted version 9.0 not found | NotFoundFailure
          promote none, promote none within
        INVALID_ARGUMENT: request to update worker build ID compatability requires: ,
              `add_new_version_id_in_new_default_set` to be set
          empty
        INVALID_ARGUMENT: request to update worker build ID compatability requires: , an operation to be
              specified
          no operation
        INVALID_ARGUMENT: request to update worker build ID compatability requires: , `task_queue` to be set,
              an operation to be specified
          no queue
        INVALID_ARGUMENT: request to update worker build ID compatability requires: ,
              `add_new_compatible_version` to be set
          no new
        INVALID_ARGUMENT: request to update worker build ID compatability requires: ,
              `existing_compatible_version` to be set
          no existing
        INVALID_ARGUMENT: request to update worker build ID compatability requires: , Worker build IDs to be
              no larger than 255 characters
          long
    """,
    )
    await change_sets(s, merge_sets=Sets.MergeSets(primary_set_build_id="2.0", secondary_set_build_id="1.0"))
    assert len((await sets(s)).splitlines()) == 1


async def test_limits_of_sets(s: Scenario) -> None:
    for number in range(10):
        await change_sets(s, add_new_build_id_in_new_default_set=f"{number}")
    await s.expect_refusal(
        change_sets(s, add_new_build_id_in_new_default_set="10"),
        """
        FAILED_PRECONDITION: update would exceed number of compatible version sets permitted in namespace
              dynamic config (11/10)
    """,
    )


def assign(build_id: str, percentage: float | None = None) -> BuildIdAssignmentRule:
    if percentage is None:
        return BuildIdAssignmentRule(target_build_id=build_id)
    return BuildIdAssignmentRule(
        target_build_id=build_id, percentage_ramp=RampByPercentage(ramp_percentage=percentage)
    )


def redirect(source: str, target: str) -> CompatibleBuildIdRedirectRule:
    return CompatibleBuildIdRedirectRule(source_build_id=source, target_build_id=target)


class Changes:
    """Changes rules, each with the token of the one before."""

    def __init__(self, s: Scenario) -> None:
        self.s = s

    async def token(self) -> bytes:
        found = await self.s.service.get_worker_versioning_rules(
            ws.GetWorkerVersioningRulesRequest(namespace=self.s.namespace, task_queue=self.s.tq)
        )
        return found.conflict_token

    async def __call__(self, **operation: Any) -> None:
        request = Rules(namespace=self.s.namespace, task_queue=self.s.tq, **operation)
        request.conflict_token = await self.token()
        await self.s.service.update_worker_versioning_rules(request)

    async def shown(self) -> str:
        found = await self.s.service.get_worker_versioning_rules(
            ws.GetWorkerVersioningRulesRequest(namespace=self.s.namespace, task_queue=self.s.tq)
        )
        assigned = [
            f"{each.rule.target_build_id} {each.rule.percentage_ramp.ramp_percentage:g}%"
            for each in found.assignment_rules
        ]
        redirected = [
            f"{each.rule.source_build_id} -> {each.rule.target_build_id}"
            for each in found.compatible_redirect_rules
        ]
        return "\n".join(assigned + redirected)

    def insert(self, index: int, rule: BuildIdAssignmentRule) -> Any:
        return self(insert_assignment_rule=Rules.InsertBuildIdAssignmentRule(rule_index=index, rule=rule))

    def replace(self, index: int, rule: BuildIdAssignmentRule, *, force: bool = False) -> Any:
        return self(
            replace_assignment_rule=Rules.ReplaceBuildIdAssignmentRule(
                rule_index=index, rule=rule, force=force
            )
        )

    def delete(self, index: int, *, force: bool = False) -> Any:
        return self(delete_assignment_rule=Rules.DeleteBuildIdAssignmentRule(rule_index=index, force=force))

    def redirect(self, source: str, target: str) -> Any:
        return self(
            add_compatible_redirect_rule=Rules.AddCompatibleBuildIdRedirectRule(rule=redirect(source, target))
        )

    def redirect_anew(self, source: str, target: str) -> Any:
        return self(
            replace_compatible_redirect_rule=Rules.ReplaceCompatibleBuildIdRedirectRule(
                rule=redirect(source, target)
            )
        )

    def redirect_no_more(self, source: str) -> Any:
        return self(
            delete_compatible_redirect_rule=Rules.DeleteCompatibleBuildIdRedirectRule(source_build_id=source)
        )

    def commit(self, build_id: str, *, force: bool = False) -> Any:
        return self(commit_build_id=Rules.CommitBuildId(target_build_id=build_id, force=force))


async def test_rules(s: Scenario) -> None:
    rules = Changes(s)
    await rules.insert(0, assign("1"))
    await rules.insert(0, assign("2", 30))
    await rules.insert(5, assign("3", 10))
    expect(
        await rules.shown(),
        """
        2 30%
        1 100%
        3 10%
    """,
    )
    await rules.replace(1, assign("4"))
    await rules.delete(2)
    await rules.redirect("1", "5")
    await rules.redirect("0", "1")
    expect(
        await rules.shown(),
        """
        2 30%
        4 100%
        0 -> 1
        1 -> 5
    """,
    )
    await rules.redirect_anew("1", "6")
    await rules.redirect_no_more("0")
    await rules.commit("7", force=True)
    expect(
        await rules.shown(),
        """
        2 30%
        7 100%
        1 -> 6
    """,
    )
    outcomes = {
        "negative": await said(s, rules.insert(-1, assign("1"))),
        "beyond": await said(s, rules.replace(9, assign("1"))),
        "delete beyond": await said(s, rules.delete(9)),
        "too much": await said(s, rules.insert(0, assign("1", 101))),
        "part of a source": await said(s, rules.insert(0, assign("1", 10))),
        "no full one": await said(s, rules.replace(1, assign("8", 10))),
        "delete the last full one": await said(s, rules.delete(1)),
        "not polled": await said(s, rules.commit("8")),
        "redirect twice": await said(s, rules.redirect("1", "9")),
        "redirect to none": await said(s, rules.redirect("9", "")),
        "redirect a ramp": await said(s, rules.redirect("2", "9")),
        "circle": await said(s, rules.redirect("6", "1")),
        "unknown": await said(s, rules.redirect_anew("x", "y")),
        "unknown, deleted": await said(s, rules.redirect_no_more("x")),
        "long": await said(s, rules.insert(0, assign("x" * 256))),
        "token": await said(
            s,
            s.service.update_worker_versioning_rules(
                Rules(
                    namespace=s.namespace,
                    task_queue=s.tq,
                    delete_assignment_rule=Rules.DeleteBuildIdAssignmentRule(),
                    conflict_token=b"x",
                )
            ),
        ),
    }
    outcomes["token"] = outcomes["token"].partition("' does not match")[0]
    expect(
        grouped(outcomes),
        """
        INVALID_ARGUMENT: rule index cannot be negative
          negative
        INVALID_ARGUMENT: rule index 9 is out of bounds for assignment rule list of length 2
          beyond, delete beyond
        INVALID_ARGUMENT: ramp percentage must be in range [0, 100]
          too much
        FAILED_PRECONDITION: update breaks requirement, this build ID cannot be the target of a
              partially-ramped assignment rule because it is the source of a redirect rule
          part of a source
        FAILED_PRECONDITION: at least one fully-ramped assignment rule must exist (use force=true to bypass
              this requirement and set the unversioned queue as the default)
          no full one, delete the last full one
        FAILED_PRECONDITION: no versioned poller with build ID '8' seen within the last 1m10s, use force=true
              to commit anyways
          not polled
        ALREADY_EXISTS: source 1 already redirects to target 6
          redirect twice
        INVALID_ARGUMENT: the unversioned build ID cannot be the target of a redirect rule
          redirect to none
        FAILED_PRECONDITION: redirect rule source build ID cannot be the target of any partially-ramped
              assignment rule
          redirect a ramp
        FAILED_PRECONDITION: update would break acyclic requirement
          circle
        NOT_FOUND: no redirect rule found with source ID x | NotFoundFailure
          unknown, unknown, deleted
        INVALID_ARGUMENT: BuildId must be <= 255 characters, was 256
          long
        FAILED_PRECONDITION: provided conflict token '[120]
          token
    """,
    )


async def test_reachability(s: Scenario) -> None:
    await change_sets(s, add_new_build_id_in_new_default_set="1.0")
    await change_sets(s, **compatible("1.1", "1.0"))
    await s.start()
    await asyncio.sleep(1)  # the real server's lists follow after a moment

    async def reach(*build_ids: str, queues: Any = None, kind: int = 0) -> str:
        found = await s.service.get_worker_task_reachability(
            ws.GetWorkerTaskReachabilityRequest(
                namespace=s.namespace,
                build_ids=build_ids,
                task_queues=[s.tq] if queues is None else queues,
                reachability=kind,  # type: ignore[arg-type]
            )
        )
        return "\n".join(
            f"{each.build_id or 'none'} "
            + " ".join(TaskReachability.Name(kind)[18:] for kind in of_queue.reachability)
            for each in found.build_id_reachability
            for of_queue in each.task_queue_reachability
        )

    expect(
        await reach("1.0", "1.1", "9"),
        """
        1.0
        1.1 NEW_WORKFLOWS EXISTING_WORKFLOWS
        9
    """,
    )
    kinds = TaskReachability
    found = {
        TaskReachability.Name(kind)[18:]: await reach("1.1", kind=kind)
        for kind in (kinds.TASK_REACHABILITY_OPEN_WORKFLOWS, kinds.TASK_REACHABILITY_CLOSED_WORKFLOWS)
    }
    expect(
        grouped(found),
        """
            1.1 NEW_WORKFLOWS OPEN_WORKFLOWS
              OPEN_WORKFLOWS
            1.1 NEW_WORKFLOWS
              CLOSED_WORKFLOWS
        """,
    )
    outcomes = {
        "none": await said(s, reach()),
        "many": await said(s, reach(*"123456")),
        "unversioned everywhere": await said(s, reach("", queues=[])),
        "long": await said(s, reach("x" * 256)),
    }
    expect(
        grouped(outcomes),
        """
        INVALID_ARGUMENT: Must query at least one build ID (or empty string for unversioned worker)
          none
        INVALID_ARGUMENT: Too many build ids queried at once, limit: 5
          many
        INVALID_ARGUMENT: Cannot get reachability of an unversioned worker without specifying at least one
              task queue (empty build ID is interpereted as unversioned)
          unversioned everywhere
        INVALID_ARGUMENT: Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.
          long
    """,
    )
