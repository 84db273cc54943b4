"""Whether what a collection was told makes sense: the rules, without I/O.

A collection believes the service: what no history shows is in use by nobody. So a service that lies, or that is not the one
whose workflows wrote the objects, can have objects deleted that are in use, and nothing on this side could prove otherwise.
What looks like that is refused until a person who knows the reason says so:

- Nothing at all refers to a namespace's objects (the wrong service, or the wrong prefix).
- More than `DUE_SHARE_MAX` of them would be deleted at once.
- The service shows much less of a kind than at the last run (`SHOWN_SHARE_MIN`), or says that it has no such kind, and had
  it then. Then nothing is marked either, nor remembered: the run after this one compares with the same.

Who hides little at a time, or has hidden it from the first run on, is not found out: back up the store against that, or keep
its versions.
"""

from __future__ import annotations

from codec.storage.gc import Plan, Showed

DUE_SHARE_MAX = 0.5
SHOWN_SHARE_MIN = 0.5
SHOWN_MIN = 20
"""Of how many things at the last run fewer are remarkable: what is few goes up and down."""


def doubts_of_service(namespace: str, now: Showed, before: Showed | None) -> list[str]:
    """What is odd about what the service has shown of a namespace, a sentence for each; `before` is of the last run."""
    if before is None:
        return []
    found = []
    for what in ("workflows", "schedules", "standalone"):
        was, is_now = getattr(before, what), getattr(now, what)
        if was >= SHOWN_MIN and is_now < was * SHOWN_SHARE_MIN:
            things = "standalone activities and operations" if what == "standalone" else what
            found.append(
                f"The service shows {is_now} {things} of {namespace!r}, and showed {was} at the last run. If you know where "
                "they have gone (deleted, or past their retention), say so (--unusual)."
            )
    return found + [
        f"The service says that it has no {kind}, and had them in {namespace!r} at the last run. If it really is another "
        "version or has them switched off, say so (--unusual)."
        for kind in sorted(set(now.absent) - set(before.absent))
    ]


def doubts_of_plan(namespace: str, place: str, plan: Plan) -> list[str]:
    """What is odd about what would be deleted, unless it is everything (`refers_to_nothing`)."""
    due, every = plan.due_tally.objects, plan.all.objects
    if not refers_to_nothing(plan) and due > every * DUE_SHARE_MAX:
        return [
            f"{due} of the {every} objects of {namespace!r} in {place} are due. If you know why they are so many (a first run "
            "over an old store, workflows that were deleted), say so (--unusual)."
        ]
    return []


def refers_to_nothing(plan: Plan) -> bool:
    """Whether something would be deleted though nothing at all is referred to."""
    return bool(plan.due) and not plan.referenced.objects
