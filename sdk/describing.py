"""Summary and details of child workflows, which their parents wrote, for clients that describe the children."""

from __future__ import annotations

import dataclasses

from temporalio.client import (
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowExecutionDescription,
)
from temporalio.converter import DataConverter

from codec import DescribedWorkflowContext


class ReadsParentsTexts(Interceptor):
    """Lets `WorkflowHandle.describe` read a child's summary and details where payloads are bound to workflows."""

    def __init__(self, converter: DataConverter, namespace: str) -> None:
        """`converter` is the client's, before it was told of any workflow."""
        self._converter = converter
        self._namespace = namespace

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        """What the client's calls go through."""
        return _Outbound(next, self._converter, self._namespace)


class _Outbound(OutboundInterceptor):
    def __init__(self, inner: OutboundInterceptor, converter: DataConverter, namespace: str) -> None:
        super().__init__(inner)
        self._converter = converter
        self._namespace = namespace

    async def describe_workflow(
        self,
        input: DescribeWorkflowInput,  # noqa: A002 - the SDK's name
    ) -> WorkflowExecutionDescription:
        description = await super().describe_workflow(input)
        parent = description.raw_description.workflow_execution_info.parent_execution.workflow_id
        if not parent:
            return description
        context = DescribedWorkflowContext(self._namespace, description.id, parent)
        return _ChildDescription.of(description, self._converter.with_context(context))


class _ChildDescription(WorkflowExecutionDescription):
    """A description that reads with the converter it is given."""

    reading: DataConverter

    @classmethod
    def of(cls, description: WorkflowExecutionDescription, reading: DataConverter) -> _ChildDescription:
        child = cls(
            **{
                field.name: getattr(description, field.name)
                for field in dataclasses.fields(description)
                if field.init
            }
        )
        child.reading = reading
        return child

    @property
    def data_converter(self) -> DataConverter:
        """The client's, told of this workflow and its parent."""
        return self.reading
