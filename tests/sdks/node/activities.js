'use strict';

const { Context, sleep } = require('@temporalio/activity');

/** Fails once, beats, and then greets. */
async function greet(name) {
  const context = Context.current();
  if (context.info.attempt === 1) {
    throw new Error('the first attempt fails');
  }
  context.heartbeat(name);
  return `Hello, ${name}`;
}

/** Beats until it is cancelled. */
async function wait() {
  for (;;) {
    Context.current().heartbeat();
    await sleep(50);
  }
}

/** A local activity. */
async function double(n) {
  return 2 * n;
}

module.exports = { greet, wait, double };
