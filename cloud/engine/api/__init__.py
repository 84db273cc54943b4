"""WorkflowService and OperatorService, grouped by subject: plain coroutines (request, call context) -> response.

They know no transport. Each group is a class over the runtime whose public methods are named like the RPCs in snake case;
``service.py`` puts them into one table. Refusals of lower layers become RPC errors in one place, ``refusals.py``.
"""
