'use strict';

// Serves a queue, or asks a worker of another language: `serve QUEUE`, `ask QUEUE ID TEXT`.

const { Client, Connection } = require('@temporalio/client');
const { loadClientConnectConfig } = require('@temporalio/envconfig');
const { NativeConnection, Runtime, Worker } = require('@temporalio/worker');
const { RingCodec } = require('./codec');

async function main([what, taskQueue, workflowId, text]) {
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const ring = process.env.KEY_RING;
  const dataConverter = ring && {
    payloadCodecs: [new RingCodec(ring, process.env.WRITE_FORMAT === 'samples')],
    failureConverterPath: require.resolve('./failures'),
  };
  if (what === 'serve') {
    Runtime.install({ logger: { trace() {}, debug() {}, info() {}, warn() {}, log() {}, error: console.error } });
    const connection = await NativeConnection.connect(connectionOptions);
    const workflowsPath = require.resolve('./crossing-workflows');
    const worker = await Worker.create({ connection, namespace, taskQueue, workflowsPath, dataConverter });
    console.log('ready');
    await worker.run();
    return;
  }
  const connection = await Connection.connect(connectionOptions);
  const client = new Client({ connection, namespace, dataConverter });
  const told = await client.workflow
    .execute('Read', { taskQueue, workflowId, args: [text] })
    .catch((error) => `${error.message}: ${error.cause?.message ?? ''}`);
  console.log(`told: ${told}`);
  await connection.close();
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.log(String(error.stack ?? error));
    process.exit(1);
  },
);
