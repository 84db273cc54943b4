'use strict';

const { ApplicationFailure } = require('@temporalio/workflow');

// The workflow that every language serves: it tells who has read what.
exports.Read = async function Read(text) {
  if (text.startsWith('fail')) throw ApplicationFailure.nonRetryable(`node has read ${text}`);
  return `node has read ${text}`;
};
