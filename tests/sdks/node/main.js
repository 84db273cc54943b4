'use strict';

// Uses a Temporal service through the TypeScript SDK: connects by the environment's configuration, runs a worker, and
// prints a line for each step: its name and "ok", or what went wrong.

const assert = require('node:assert');
const { setTimeout: pause } = require('node:timers/promises');
const { Client, Connection, QueryNotRegisteredError, WorkflowUpdateFailedError, WithStartWorkflowOperation } = require('@temporalio/client');
const { CancelledFailure, TerminatedFailure } = require('@temporalio/common');
const { loadClientConnectConfig } = require('@temporalio/envconfig');
const { NativeConnection, Runtime, Worker } = require('@temporalio/worker');

const STEP_MS = 60_000;
const prefix = `node-${Date.now()}-`;
const taskQueue = `${prefix}queue`;

const options = (id, ...args) => ({ workflowId: prefix + id, taskQueue, args });

async function activities(client) {
  const result = await client.workflow.execute('work', options('work', 'Ada'));
  assert.strictEqual(result, 'Hello, Ada 4 1');
}

async function signalsAndQueries(client) {
  const handle = await client.workflow.signalWithStart('basket', { ...options('basket'), signal: 'put', signalArgs: ['pear'] });
  await handle.signal('put', 'plum');
  assert.deepStrictEqual(await handle.query('items'), ['pear', 'plum']);
  await assert.rejects(handle.query('none'), QueryNotRegisteredError);
  await handle.signal('close');
  assert.deepStrictEqual(await handle.result(), ['pear', 'plum']);
}

async function updates(client) {
  const handle = await client.workflow.start('basket', options('updated'));
  assert.strictEqual(await handle.executeUpdate('add', { args: ['apple'] }), 1);
  const update = await handle.startUpdate('add', { args: ['pear'], waitForStage: 'ACCEPTED' });
  assert.strictEqual(await handle.getUpdateHandle(update.updateId).result(), 2);
  await assert.rejects(handle.executeUpdate('add', { args: [''] }), WorkflowUpdateFailedError);
  const startWorkflowOperation = new WithStartWorkflowOperation('basket', {
    ...options('updated'),
    workflowIdConflictPolicy: 'USE_EXISTING',
  });
  const count = await client.workflow.executeUpdateWithStart('add', { args: ['fig'], startWorkflowOperation });
  assert.strictEqual(count, 3);
}

async function children(client) {
  const result = await client.workflow.execute('parent', options('parent', 'Bob'));
  assert.strictEqual(result, 'Hello, Bob 4 1 apple');
}

async function continueAsNew(client) {
  assert.strictEqual(await client.workflow.execute('countdown', options('countdown', 3)), 'lift-off');
}

async function cancelAndTerminate(client) {
  const cancelled = await client.workflow.start('cancellable', options('cancelled'));
  for (;;) {
    const { raw } = await cancelled.describe();
    if (raw.pendingActivities?.length === 1 && raw.pendingActivities[0].lastStartedTime) {
      break;
    }
    await pause(20);
  }
  await cancelled.cancel();
  await assert.rejects(cancelled.result(), (error) => error.cause instanceof CancelledFailure);
  const terminated = await client.workflow.start('basket', options('terminated'));
  await terminated.terminate('enough');
  await assert.rejects(terminated.result(), (error) => error.cause instanceof TerminatedFailure);
}

async function schedules(client) {
  const schedule = await client.schedule.create({
    scheduleId: `${prefix}schedule`,
    spec: { intervals: [{ every: '24h' }] },
    action: { type: 'startWorkflow', workflowType: 'countdown', workflowId: `${prefix}scheduled`, taskQueue, args: [0] },
    memo: { note: 'daily' },
  });
  await schedule.trigger();
  await schedule.pause('later');
  await schedule.update((previous) => ({ ...previous, spec: { intervals: [{ every: '1h' }] } }));
  let described;
  do {
    await pause(20);
    described = await schedule.describe();
  } while (described.info.recentActions.length !== 1);
  assert.deepStrictEqual([described.state.paused, described.spec.intervals[0].every], [true, 3_600_000]);
  const listed = [];
  for await (const { scheduleId } of client.schedule.list()) {
    listed.push(scheduleId);
  }
  assert.ok(listed.includes(schedule.scheduleId), 'the schedule is not in the list');
  await schedule.delete();
}

async function visibility(client) {
  const query = `TaskQueue = '${taskQueue}' AND ExecutionStatus = 'Completed'`;
  for (;;) {
    const listed = [];
    for await (const each of client.workflow.list({ query })) {
      listed.push(each);
    }
    if (listed.length >= 5 && (await client.workflow.count(query)).count === listed.length) {
      break;
    }
    await pause(50);
  }
}

async function replay(client) {
  const history = await client.workflow.getHandle(`${prefix}work`).fetchHistory();
  await Worker.runReplayHistory({ workflowsPath: require.resolve('./workflows') }, history);
}

async function main() {
  Runtime.install({ logger: { trace() {}, debug() {}, info() {}, warn() {}, log() {}, error: console.error } });
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await Connection.connect(connectionOptions);
  const client = new Client({ connection, namespace });
  await client.workflowService.getSystemInfo({});
  console.log('connect: ok');
  const worker = await Worker.create({
    connection: await NativeConnection.connect(connectionOptions),
    namespace,
    taskQueue,
    workflowsPath: require.resolve('./workflows'),
    activities: require('./activities'),
  });
  const steps = [
    ['activities and timers', activities],
    ['signals and queries', signalsAndQueries],
    ['updates', updates],
    ['children', children],
    ['continue as new', continueAsNew],
    ['cancel and terminate', cancelAndTerminate],
    ['schedules', schedules],
    ['visibility', visibility],
    ['replay', replay],
  ];
  await worker.runUntil(async () => {
    for (const [name, step] of steps) {
      const tooLong = pause(STEP_MS, undefined, { ref: false }).then(() => {
        throw new Error('took too long');
      });
      await Promise.race([step(client), tooLong]).then(
        () => console.log(`${name}: ok`),
        (error) => console.log(`${name}: ${String(error.message).split('\n')[0]} ${error.cause?.message ?? ''}`),
      );
    }
  });
  await connection.close();
  process.exit(0);
}

main().catch((error) => {
  console.log(`connect: ${error}`);
  process.exit(1);
});
