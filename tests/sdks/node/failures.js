'use strict';

const { DefaultFailureConverter } = require('@temporalio/common');

// Messages and stack traces of failures go through the codec, too.
exports.failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
