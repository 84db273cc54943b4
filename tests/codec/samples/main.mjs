// Seals and opens as the TypeScript sample does, with WebCrypto: nonce first, AES-256-GCM, no associated data.
//
//   node main.mjs seal|open < lines of hex words
import { webcrypto } from 'node:crypto';
import { createInterface } from 'node:readline';

const bytes = (word) => Buffer.from(word.slice(1), 'hex');
const imported = (raw) => webcrypto.subtle.importKey('raw', raw, { name: 'AES-GCM' }, false, ['encrypt', 'decrypt']);

for await (const line of createInterface({ input: process.stdin })) {
  const [first, ...rest] = line.trim().split(' ').map(bytes);
  const key = await imported(first);
  let out;
  if (process.argv[2] === 'seal') {
    const [iv, plain] = rest;
    const sealed = await webcrypto.subtle.encrypt({ name: 'AES-GCM', iv, tagLength: 128 }, key, plain);
    out = Buffer.concat([iv, Buffer.from(sealed)]);
  } else {
    const [data] = rest;
    const algorithm = { name: 'AES-GCM', iv: data.subarray(0, 12), tagLength: 128 };
    out = Buffer.from(await webcrypto.subtle.decrypt(algorithm, key, data.subarray(12)));
  }
  console.log('x' + out.toString('hex'));
}
