'use strict';

// Encrypts payloads with the keys of a Tacit key ring's file, as a codec of the TypeScript SDK's own interface. It reads both
// formats that the Python side may write, and writes the samples' or Tacit's own (version 1).

const { createCipheriv, createDecipheriv, randomBytes } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { temporal } = require('@temporalio/proto');

const { Payload } = temporal.api.common.v1;
const TAG_BYTES = 16;

class RingCodec {
  constructor(path, samples) {
    const ring = JSON.parse(readFileSync(path, 'utf8'));
    this.binding = ring.binding;
    this.samples = samples;
    const usable = ring.keys.filter((key) => key.state !== 'disabled');
    this.keys = new Map(usable.map((key) => [key.id, Buffer.from(key.material, 'base64')]));
    this.active = ring.keys.find((key) => key.state === 'active').id;
  }

  async encode(payloads) {
    return payloads.map((payload) => {
      const plain = Payload.encode(payload).finish();
      const key = this.keys.get(this.active);
      const encoding = this.samples ? 'binary/encrypted' : 'binary/tacit-encrypted';
      const nonce = randomBytes(this.samples ? 12 : 24);
      const data = this.samples
        ? Buffer.concat([nonce, seal(key, nonce, plain, Buffer.alloc(0))])
        : Buffer.concat([Buffer.from([1]), nonce, seal(derived(key, nonce), nonce.subarray(12), plain, this.associated(this.active))]);
      return { metadata: { encoding: Buffer.from(encoding), 'encryption-key-id': Buffer.from(this.active) }, data };
    });
  }

  async decode(payloads) {
    return payloads.map((payload) => {
      const encoding = Buffer.from(payload.metadata?.encoding ?? []).toString();
      if (encoding !== 'binary/encrypted' && encoding !== 'binary/tacit-encrypted') return payload;
      const id = Buffer.from(payload.metadata['encryption-key-id']).toString();
      const key = this.keys.get(id);
      if (!key) throw new Error(`key ${id} is not in the key ring`);
      const data = Buffer.from(payload.data);
      if (encoding === 'binary/encrypted') {
        return Payload.decode(open(key, data.subarray(0, 12), data.subarray(12), Buffer.alloc(0)));
      }
      if (data.length < 25 + TAG_BYTES || data[0] !== 1) throw new Error('the payload is cut, or of another version than 1');
      const nonce = data.subarray(1, 25);
      return Payload.decode(open(derived(key, nonce), nonce.subarray(12), data.subarray(25), this.associated(id)));
    });
  }

  // What Tacit's format authenticates besides the payload: its version, the key's id, the ring's binding.
  associated(id) {
    const parts = [Buffer.from([1]), Buffer.from(id), Buffer.from(this.binding)];
    const lengths = parts.map((part) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(part.length);
      return length;
    });
    return Buffer.concat([Buffer.from('tacit payload\0'), ...parts.flatMap((part, i) => [lengths[i], part])]);
  }
}

function seal(key, nonce, plain, associated) {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function open(key, nonce, sealed, associated) {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
}

// XAES-256-GCM's key for a nonce: CMAC over its first 12 bytes, twice; AES-GCM takes the last 12.
function derived(key, nonce) {
  const block = (input) => {
    const cipher = createCipheriv('aes-256-ecb', key, null);
    cipher.setAutoPadding(false);
    return Buffer.concat([cipher.update(input), cipher.final()]);
  };
  const zero = block(Buffer.alloc(16));
  const k1 = Buffer.from(zero.map((byte, i) => (byte << 1) | (i < 15 ? zero[i + 1] >> 7 : 0)));
  if (zero[0] & 0x80) k1[15] ^= 0x87;
  const half = (number) => {
    const input = Buffer.concat([Buffer.from([0, number, 0x58, 0]), nonce.subarray(0, 12)]);
    return block(input.map((byte, i) => byte ^ k1[i]));
  };
  return Buffer.concat([half(1), half(2)]);
}

module.exports = { RingCodec };
