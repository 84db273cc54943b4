"""Summary and details of child workflows, which their parents wrote, for clients that describe the children."""

from __future__ import annotations

from temporalio.client import DescribeWorkflowInput, Interceptor, OutboundInterceptor, WorkflowExecutionDescription
from temporalio.converter import DataConverter

from codec import DescribedWorkflowContext


class ReadsParentsTexts(Interceptor):
    """Lets `WorkflowHandle.describe` read a child's summary and details where payloads are bound to workflows."""

    def __init__(self, converter: DataConverter, namespace: str) -> None:
        """`converter` is the client's, before it was told of any workflow."""
        self._converter = converter
        self._namespace = namespace

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """What the client's calls go through."""
        return _Outbound(next, self._converter, self._namespace)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, converter: DataConverter, namespace: str) -> None:
        super().__init__(next)
        self._converter = converter
        self._namespace = namespace

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        description = await super().describe_workflow(input)
        parent = description.raw_description.workflow_execution_info.parent_execution.workflow_id
        if parent:
            description.data_converter = self._converter.with_context(
                DescribedWorkflowContext(self._namespace, input.id, parent)
            )
        return description
