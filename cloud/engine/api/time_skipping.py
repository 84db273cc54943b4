"""TestService: the calls by which the SDKs' time-skipping environments move a test server's clock."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from temporalio.api.testservice.v1 import (
    GetCurrentTimeResponse,
    LockTimeSkippingRequest,
    LockTimeSkippingResponse,
    SleepRequest,
    SleepResponse,
    SleepUntilRequest,
    UnlockTimeSkippingRequest,
    UnlockTimeSkippingResponse,
)

from cloud.engine.core.clock import fit, timestamp, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.time_skipping import FURTHEST_NS, TimeSkipping, TooManySleeps, Unbalanced
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument, ResourceExhausted, Unimplemented


class TimeSkippingMethods:
    """See the module's head. `skipping` is None in a cell whose time can't be skipped."""

    def __init__(self, runtime: Runtime, skipping: TimeSkipping | None) -> None:
        self._runtime = runtime
        self._skipping = skipping

    def _skips(self) -> TimeSkipping:
        if self._skipping is None:
            raise Unimplemented("time is not skipped here: start the server with `tacit dev --time-skipping`")
        return self._skipping

    async def lock_time_skipping(
        self, request: LockTimeSkippingRequest, context: CallContext
    ) -> LockTimeSkippingResponse:
        """Let time go at its own pace."""
        self._skips().lock()
        return LockTimeSkippingResponse()

    async def unlock_time_skipping(
        self, request: UnlockTimeSkippingRequest, context: CallContext
    ) -> UnlockTimeSkippingResponse:
        """Take one lock away."""
        try:
            self._skips().unlock()
        except Unbalanced as error:
            raise FailedPrecondition(str(error)) from None
        return UnlockTimeSkippingResponse()

    async def sleep(self, request: SleepRequest, context: CallContext) -> SleepResponse:
        """Wait for a duration of the server's time."""
        skipping = self._skips()
        try:
            await skipping.sleep(self._until(request))
        except TooManySleeps as error:
            raise ResourceExhausted(str(error)) from None
        return SleepResponse()

    async def sleep_until(self, request: SleepUntilRequest, context: CallContext) -> SleepResponse:
        """Wait until the server's clock shows a moment."""
        skipping = self._skips()
        try:
            await skipping.sleep(_bounded(to_ns(request.timestamp)))
        except TooManySleeps as error:
            raise ResourceExhausted(str(error)) from None
        return SleepResponse()

    async def unlock_time_skipping_with_sleep(
        self, request: SleepRequest, context: CallContext
    ) -> SleepResponse:
        """Skip time for a duration of the server's time."""
        skipping = self._skips()
        try:
            await skipping.unlock_and_sleep(self._until(request))
        except Unbalanced as error:
            raise FailedPrecondition(str(error)) from None
        except TooManySleeps as error:
            raise ResourceExhausted(str(error)) from None
        return SleepResponse()

    async def get_current_time(self, request: Empty, context: CallContext) -> GetCurrentTimeResponse:
        """The server's time, which may be ahead of the machine's."""
        self._skips()
        return GetCurrentTimeResponse(time=timestamp(self._runtime.clock.now()))

    def _until(self, request: SleepRequest) -> int:
        try:
            fit(request.duration)
        except Invalid as error:
            raise InvalidArgument(str(error)) from None
        return _bounded(self._runtime.clock.now() + to_ns(request.duration))


def _bounded(moment: int) -> int:
    if moment > FURTHEST_NS:
        raise InvalidArgument("time can't be skipped beyond the year 2162")
    return moment
