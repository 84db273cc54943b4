"""A worker that outlives the server: `python -m tests.chaos.worker ADDRESS`. It reconnects until it is stopped."""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.chaos.workflows import QUEUE, Charge, Fulfil, charge


async def _main(address: str) -> None:
    while True:
        try:
            client = await Client.connect(address)
            await Worker(
                client,
                task_queue=QUEUE,
                workflows=[Fulfil, Charge],
                activities=[charge],
                workflow_runner=UnsandboxedWorkflowRunner(),
            ).run()
        except (RuntimeError, OSError) as error:  # the SDK's core reports a lost server as RuntimeError
            print(f"worker: {error}; connecting again", flush=True)
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
