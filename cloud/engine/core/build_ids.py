"""The first two forms of worker versioning, per task queue: sets of compatible build ids, and rules that assign and redirect build ids.

Both are the older API's (it calls them v0.1 and v0.2), kept for those who still manage them; worker deployments replaced them.
Functions check first and change after. Times are nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud.engine.core.errors import Invalid, NotNow
from cloud.engine.core.limits import Limits

__all__ = ["BuildIds", "Exists", "NotThere", "Redirect", "Rule", "Set"]


class NotThere(Exception):
    """What the change is about is not there."""


class Exists(Exception):
    """What the change would make is there already."""


@dataclass(slots=True)
class Set:
    """Build ids that can stand in for one another; the last one is the set's default."""

    build_ids: list[str]
    default_since: int


@dataclass(slots=True)
class Rule:
    """New workflows get `build_id`: all (100) or a share of those that no earlier rule took."""

    build_id: str
    percentage: float
    created_at: int
    deleted_at: int = 0
    has_ramp: bool = True

    @property
    def full(self) -> bool:
        """Whether it takes all."""
        return self.percentage == 100


@dataclass(slots=True)
class Redirect:
    """What is assigned to `source` goes to `target`."""

    source: str
    target: str
    created_at: int
    deleted_at: int = 0


@dataclass(slots=True)
class BuildIds:
    """What is known of a task queue's build ids. The last set is the queue's default. `changed_at` names its state."""

    sets: list[Set] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    changed_at: int = 0

    def set_of(self, build_id: str) -> int:
        """The index of a build id's set, -1 if it is in none."""
        return next((i for i, each in enumerate(self.sets) if build_id in each.build_ids), -1)

    @property
    def active_rules(self) -> list[Rule]:
        """Those that count."""
        return [rule for rule in self.rules if not rule.deleted_at]

    @property
    def active_redirects(self) -> list[Redirect]:
        """Those that count."""
        return [redirect for redirect in self.redirects if not redirect.deleted_at]

    def default(self) -> str:
        """The build id that the first full rule assigns, "" for none."""
        return next((rule.build_id for rule in self.active_rules if rule.full), "")

    @property
    def is_empty(self) -> bool:
        """Whether nothing here leads any task."""
        return not (self.sets or self.active_rules or self.active_redirects)

    # --- which workers a task is for ---

    def default_of_set(self, build_id: str) -> str:
        """The build id that has the tasks of `build_id`'s set, "" if it is in none."""
        at = self.set_of(build_id)
        return self.sets[at].build_ids[-1] if at >= 0 else ""

    def default_set(self) -> str:
        """The build id that has the tasks of the queue's default set, "" without sets."""
        return self.sets[-1].build_ids[-1] if self.sets else ""

    def assigned(self, share: float) -> str:
        """The build id that rules give to what lies at `share` of all (0 to 100), "" for none."""
        for rule in self.active_rules:
            if rule.full or rule.percentage > share:
                return rule.build_id
        return ""

    def may_assign(self, build_id: str) -> bool:
        """Whether rules give new work to a build id, "" for workers without versioning: what no rule takes is theirs."""
        for rule in self.active_rules:
            if rule.build_id == build_id:
                return True
            if rule.full:
                return False
        return not build_id

    def redirected(self, build_id: str) -> str:
        """Where redirects lead from a build id, which may be "": workers without versioning."""
        targets = {redirect.source: redirect.target for redirect in self.active_redirects}
        for _ in range(len(targets) + 1):
            if build_id not in targets:
                break
            build_id = targets[build_id]
        return build_id

    def build_ids(self) -> set[str]:
        """All that sets and rules name."""
        named = {build_id for each in self.sets for build_id in each.build_ids}
        named.update(rule.build_id for rule in self.active_rules)
        for redirect in self.active_redirects:
            named.update((redirect.source, redirect.target))
        return named - {""}


# --- sets --------------------------------------------------------------------------------------------------------


def check_sets(data: BuildIds, limits: Limits) -> None:
    """Check that there are not too many.

    Raises:
        NotNow: there are.
    """
    count = len(data.sets)
    if count > limits.build_id_sets:
        raise NotNow(
            "update would exceed number of compatible version sets permitted in namespace dynamic config "
            f"({count}/{limits.build_id_sets})"
        )
    ids = sum(len(each.build_ids) for each in data.sets)
    if ids > limits.build_ids:
        raise NotNow(
            "update would exceed number of build IDs permitted in namespace dynamic config "
            f"({ids}/{limits.build_ids})"
        )


def add_set(data: BuildIds, build_id: str, now: int) -> None:
    """A new build id that is compatible with none, the queue's default from now on.

    Raises:
        Invalid: it is in a set already, unless it alone is the default set.
    """
    at = data.set_of(build_id)
    if at >= 0:
        if at == len(data.sets) - 1 and data.sets[at].build_ids == [build_id]:
            return
        raise Invalid(f"version {build_id} already exists")
    data.sets.append(Set([build_id], now))


def add_compatible(data: BuildIds, build_id: str, existing: str, *, make_default: bool, now: int) -> None:
    """A new build id in the set of `existing`, the set's default from now on.

    Raises:
        NotThere: `existing` is in no set.
        Invalid: the new one is in a set, and not as it is asked for.
    """
    into, at = data.set_of(existing), data.set_of(build_id)
    if into < 0:
        raise NotThere(f"targeted compatible_version {existing} not found")
    if at < 0:
        data.sets[into].build_ids.append(build_id)
        if make_default:
            _make_default(data, into, now)
        return
    if at != into:
        raise Invalid(
            f"{build_id} requested to be made compatible with {existing} but both versions exist and are incompatible"
        )
    if make_default and at != len(data.sets) - 1:
        raise Invalid(f"version {build_id} already exists and is not default for queue")
    if data.sets[at].build_ids[-1] != build_id:
        raise Invalid(f"version {build_id} already exists and is not default in set")


def promote_set(data: BuildIds, build_id: str, now: int) -> None:
    """The build id's set is the queue's default from now on.

    Raises:
        NotThere: it is in none.
    """
    at = _found(data, build_id, "targeted version")
    if at != len(data.sets) - 1:
        _make_default(data, at, now)


def promote_in_set(data: BuildIds, build_id: str) -> None:
    """The build id is its set's default from now on.

    Raises:
        NotThere: it is in none.
    """
    ids = data.sets[_found(data, build_id, "targeted version")].build_ids
    ids.remove(build_id)
    ids.append(build_id)


def merge_sets(data: BuildIds, primary: str, secondary: str) -> None:
    """The sets of both are one, with the primary's default.

    Raises:
        NotThere: one of both is in no set.
    """
    into = _found(data, primary, "targeted primary version")
    other = _found(data, secondary, "targeted secondary version")
    if into == other:
        return
    kept, gone = data.sets[into], data.sets[other]
    merged = Set([*gone.build_ids, *kept.build_ids], max(kept.default_since, gone.default_since))
    was_default = max(into, other) == len(data.sets) - 1
    data.sets = [each for each in data.sets if each is not kept and each is not gone]
    data.sets.insert(len(data.sets) if was_default else min(into, other), merged)


def _found(data: BuildIds, build_id: str, what: str) -> int:
    at = data.set_of(build_id)
    if at < 0:
        raise NotThere(f"{what} {build_id} not found")
    return at


def _make_default(data: BuildIds, at: int, now: int) -> None:
    chosen = data.sets.pop(at)
    chosen.default_since = now
    data.sets.append(chosen)
