'use strict';

const wf = require('@temporalio/workflow');

const { greet, wait } = wf.proxyActivities({
  startToCloseTimeout: '20s',
  heartbeatTimeout: '5s',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '10ms' },
});
const { double } = wf.proxyLocalActivities({ startToCloseTimeout: '1s' });

const put = wf.defineSignal('put');
const close = wf.defineSignal('close');
const items = wf.defineQuery('items');
const add = wf.defineUpdate('add');

/** Uses an activity, a local activity, a patch and a timer. */
async function work(name) {
  const greeting = await greet(name);
  const four = await double(2);
  const version = wf.patched('change') ? 1 : 0;
  await wf.sleep(50);
  wf.upsertMemo({ note: greeting });
  return `${greeting} ${four} ${version}`;
}

/** Gathers what it is told until it is closed. */
async function basket() {
  const held = [];
  let closed = false;
  wf.setHandler(items, () => held);
  wf.setHandler(put, (item) => void held.push(item));
  wf.setHandler(close, () => void (closed = true));
  wf.setHandler(
    add,
    async (item) => {
      await wf.sleep(10);
      return held.push(item);
    },
    {
      validator: (item) => {
        if (!item) {
          throw new Error('an item has a name');
        }
      },
    },
  );
  await wf.condition(() => closed);
  return held;
}

/** Runs a child, signals another, and asks for its end. */
async function parent(name) {
  const { workflowId } = wf.workflowInfo();
  const done = await wf.executeChild(work, { workflowId: `${workflowId}-work`, args: [name] });
  const child = await wf.startChild(basket, { workflowId: `${workflowId}-basket` });
  await child.signal(put, 'apple');
  await wf.getExternalWorkflowHandle(`${workflowId}-basket`).signal(close);
  return `${done} ${await child.result()}`;
}

/** Continues as new until zero. */
async function countdown(n) {
  if (n > 0) {
    await wf.continueAsNew(n - 1);
  }
  return 'lift-off';
}

/** Waits for its activity to notice that it was cancelled. */
async function cancellable() {
  try {
    await wait();
  } catch (error) {
    await wf.CancellationScope.nonCancellable(() => wf.sleep(10));
    throw error;
  }
}

module.exports = { work, basket, parent, countdown, cancellable };
