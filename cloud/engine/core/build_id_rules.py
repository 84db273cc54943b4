"""Assignment and redirect rules of a task queue's build ids (the second form of worker versioning): how they may change.

Deleted rules stay for a while: workflows that they assigned may still be open. Times are nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloud.engine.core.build_ids import BuildIds, Exists, NotThere, Redirect, Rule
from cloud.engine.core.clock import SECOND
from cloud.engine.core.errors import Invalid, NotNow
from cloud.engine.core.limits import Limits

DELETED_KEPT = 14 * 24 * 3600 * SECOND
"""How long deleted rules stay (matching.wv.DeletedRuleRetentionTime)."""

POLLER_SEEN = 70 * SECOND
"""A build id whose worker polled within this time may be committed without force."""


def _check_target(data: BuildIds, rule: Rule) -> None:
    if not 0 <= rule.percentage <= 100:
        raise Invalid("ramp percentage must be in range [0, 100]")
    _check_in_no_set(data, rule.build_id, "target")
    if not rule.full and any(each.source == rule.build_id for each in data.active_redirects):
        raise NotNow(
            "update breaks requirement, this build ID cannot be the target of a partially-ramped assignment rule "
            "because it is the source of a redirect rule"
        )


def _check_in_no_set(data: BuildIds, build_id: str, what: str) -> None:
    if data.set_of(build_id) >= 0:
        raise NotNow(f"update breaks requirement, {what} build ID is already a member of a version set")


def _check_full(had: bool, rules: Iterable[Rule]) -> None:
    if had and not any(rule.full for rule in rules):
        raise NotNow(
            "at least one fully-ramped assignment rule must exist (use force=true to bypass this requirement "
            "and set the unversioned queue as the default)"
        )


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.assignment_rules:
        raise NotNow(
            f"update exceeds number of assignment rules permitted in namespace ({count}/{limits.assignment_rules})"
        )


def _at(data: BuildIds, index: int) -> Rule:
    active = data.active_rules
    if not 0 <= index < len(active):
        raise Invalid(f"rule index {index} is out of bounds for assignment rule list of length {len(active)}")
    return active[index]


def insert(data: BuildIds, index: int, rule: Rule, limits: Limits) -> None:
    """Put a rule before the one at `index`, at the end if there is none.

    Raises:
        Invalid, NotNow: it may not be.
    """
    if index < 0:
        raise Invalid("rule index cannot be negative")
    _check_target(data, rule)
    active = data.active_rules
    _check_count(len(active) + 1, limits)
    at = data.rules.index(active[index]) if index < len(active) else len(data.rules)
    data.rules.insert(at, rule)


def replace(data: BuildIds, index: int, rule: Rule, *, force: bool) -> None:
    """Put a rule in the place of the one at `index`.

    Raises:
        Invalid, NotNow: it may not be.
    """
    _check_target(data, rule)
    old = _at(data, index)
    active = data.active_rules
    others = [rule, *(each for each in active if each is not old)]
    _check_full(not force and any(each.full for each in data.rules), others)
    data.rules.insert(data.rules.index(old), rule)
    old.deleted_at = rule.created_at


def delete(data: BuildIds, index: int, *, force: bool, now: int) -> None:
    """Take the rule at `index` away.

    Raises:
        Invalid, NotNow: it may not be.
    """
    old = _at(data, index)
    others = [each for each in data.active_rules if each is not old]
    _check_full(not force and any(each.full for each in data.rules), others)
    old.deleted_at = now


def commit(
    data: BuildIds, build_id: str, *, polled_lately: bool, force: bool, limits: Limits, now: int
) -> None:
    """All new workflows get `build_id`: its own ramps and other full rules go.

    Raises:
        NotNow: it may not be.
    """
    if not polled_lately and not force:
        raise NotNow(
            f"no versioned poller with build ID '{build_id}' seen within the last 1m10s, use force=true to commit anyways"
        )
    _check_in_no_set(data, build_id, "target")
    gone = [rule for rule in data.active_rules if rule.build_id == build_id or rule.full]
    _check_count(len(data.active_rules) - len(gone) + 1, limits)
    for rule in gone:
        rule.deleted_at = now
    data.rules.append(Rule(build_id, 100, now))


def _check_redirect(data: BuildIds, redirect: Redirect) -> None:
    if not redirect.target:
        raise Invalid("the unversioned build ID cannot be the target of a redirect rule")
    _check_in_no_set(data, redirect.source, "source")
    _check_in_no_set(data, redirect.target, "target")


def _check_graph(active: list[Redirect], limits: Limits) -> None:
    target_of = {redirect.source: redirect.target for redirect in active}
    for start in target_of:
        seen, build_id = set(), start
        while build_id in target_of:
            if build_id in seen:
                raise NotNow("update would break acyclic requirement")
            seen.add(build_id)
            build_id = target_of[build_id]
    for redirect in active:
        count = len(upstream(active, redirect.target))
        if count > limits.upstream_build_ids:
            raise NotNow(
                "update exceeds number of upstream build ids permitted in namespace "
                f"({count}/{limits.upstream_build_ids})"
            )


def upstream(redirects: Iterable[Redirect], build_id: str) -> set[str]:
    """The build ids that redirects lead from to `build_id`, over any number of steps."""
    sources: dict[str, list[str]] = {}
    for redirect in redirects:
        sources.setdefault(redirect.target, []).append(redirect.source)
    found: set[str] = set()
    ahead = [build_id]
    while ahead:
        for source in sources.get(ahead.pop(), ()):
            if source not in found:
                found.add(source)
                ahead.append(source)
    return found - {build_id}


def add_redirect(data: BuildIds, redirect: Redirect, limits: Limits) -> None:
    """Redirect a build id that is redirected nowhere.

    Raises:
        Invalid, NotNow: it may not be.
        Exists: it is redirected.
    """
    _check_redirect(data, redirect)
    if any(not rule.full and rule.build_id == redirect.source for rule in data.active_rules):
        raise NotNow(
            "redirect rule source build ID cannot be the target of any partially-ramped assignment rule"
        )
    active = data.active_redirects
    for each in active:
        if each.source == redirect.source:
            raise Exists(f"source {redirect.source} already redirects to target {each.target}")
    if len(active) + 1 > limits.redirect_rules:
        raise NotNow(
            "update exceeds number of redirect rules permitted in namespace "
            f"({len(active) + 1}/{limits.redirect_rules})"
        )
    _check_graph([redirect, *active], limits)
    data.redirects.insert(0, redirect)


def replace_redirect(data: BuildIds, redirect: Redirect, limits: Limits) -> None:
    """Redirect a build id elsewhere.

    Raises:
        Invalid, NotNow: it may not be.
        NotThere: it is redirected nowhere.
    """
    _check_redirect(data, redirect)
    old = _redirect_of(data, redirect.source)
    _check_graph([redirect, *(each for each in data.active_redirects if each is not old)], limits)
    old.deleted_at = redirect.created_at
    data.redirects.insert(0, redirect)


def delete_redirect(data: BuildIds, source: str, now: int) -> None:
    """Redirect a build id no more.

    Raises:
        NotThere: it is redirected nowhere.
    """
    _redirect_of(data, source).deleted_at = now


def _redirect_of(data: BuildIds, source: str) -> Redirect:
    for each in data.active_redirects:
        if each.source == source:
            return each
    raise NotThere(f"no redirect rule found with source ID {source}")


def forget_deleted(data: BuildIds, now: int) -> None:
    """Let go of rules that were deleted long ago."""
    oldest = now - DELETED_KEPT
    data.rules = [rule for rule in data.rules if not rule.deleted_at or rule.deleted_at > oldest]
    data.redirects = [each for each in data.redirects if not each.deleted_at or each.deleted_at > oldest]
