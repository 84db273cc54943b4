"""Other languages' SDKs against the service: a program each, which uses workflows, activities, signals, queries,
updates, timers, children, schedules, lists and replay, once with `tacit dev` and once over mTLS with `tacit up`.

Then all of them, and Python, read each other's encrypted payloads in one namespace (`crossing.py`).

What is not on the machine (Node, Go, or Java with Maven) is left out, and said so. Packages come from npm, the Go
module proxy and Maven Central; what is built stays in build/sdks.
"""
