package sdks;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import io.temporal.api.common.v1.Payload;
import io.temporal.payload.codec.PayloadCodec;
import io.temporal.payload.codec.PayloadCodecException;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * Encrypts payloads with the keys of a Tacit key ring's file, as a codec of the Java SDK's own interface. It reads both formats
 * that the Python side may write, and writes the samples' or Tacit's own (version 1).
 */
final class RingCodec implements PayloadCodec {
  private static final String SAMPLES = "binary/encrypted";
  private static final String TACIT = "binary/tacit-encrypted";
  private static final int TAG_BITS = 128;
  private static final SecureRandom RANDOM = new SecureRandom();

  private final String binding;
  private final String active;
  private final Map<String, byte[]> keys = new HashMap<>();
  private final boolean samples;

  RingCodec(String path, boolean samples) throws IOException {
    JsonNode ring = new ObjectMapper().readTree(new File(path));
    binding = ring.get("binding").asText();
    String found = null;
    for (JsonNode key : ring.get("keys")) {
      String state = key.get("state").asText();
      if (!state.equals("disabled")) {
        keys.put(key.get("id").asText(), Base64.getDecoder().decode(key.get("material").asText()));
      }
      if (state.equals("active")) {
        found = key.get("id").asText();
      }
    }
    active = found;
    this.samples = samples;
  }

  @Override
  public List<Payload> encode(List<Payload> payloads) {
    List<Payload> encoded = new ArrayList<>();
    for (Payload payload : payloads) {
      byte[] nonce = new byte[samples ? 12 : 24];
      RANDOM.nextBytes(nonce);
      byte[] key = keys.get(active);
      byte[] plain = payload.toByteArray();
      ByteBuffer data = ByteBuffer.allocate(plain.length + 64);
      if (samples) {
        data.put(nonce).put(gcm(Cipher.ENCRYPT_MODE, key, nonce, plain, new byte[0]));
      } else {
        byte[] inner = Arrays.copyOfRange(nonce, 12, 24);
        data.put((byte) 1).put(nonce);
        data.put(gcm(Cipher.ENCRYPT_MODE, derived(key, nonce), inner, plain, associated(active)));
      }
      encoded.add(
          Payload.newBuilder()
              .putMetadata("encoding", ByteString.copyFromUtf8(samples ? SAMPLES : TACIT))
              .putMetadata("encryption-key-id", ByteString.copyFromUtf8(active))
              .setData(ByteString.copyFrom(data.array(), 0, data.position()))
              .build());
    }
    return encoded;
  }

  @Override
  public List<Payload> decode(List<Payload> payloads) {
    List<Payload> decoded = new ArrayList<>();
    for (Payload payload : payloads) {
      String encoding = payload.getMetadataOrDefault("encoding", ByteString.EMPTY).toStringUtf8();
      if (!encoding.equals(SAMPLES) && !encoding.equals(TACIT)) {
        decoded.add(payload);
        continue;
      }
      String id = payload.getMetadataOrThrow("encryption-key-id").toStringUtf8();
      byte[] key = keys.get(id);
      if (key == null) {
        throw new PayloadCodecException("key " + id + " is not in the key ring");
      }
      try {
        decoded.add(Payload.parseFrom(open(encoding, id, key, payload.getData().toByteArray())));
      } catch (InvalidProtocolBufferException error) {
        throw new PayloadCodecException(error);
      }
    }
    return decoded;
  }

  private byte[] open(String encoding, String id, byte[] key, byte[] data) {
    if (encoding.equals(SAMPLES)) {
      byte[] nonce = Arrays.copyOf(data, 12);
      return gcm(Cipher.DECRYPT_MODE, key, nonce, Arrays.copyOfRange(data, 12, data.length), new byte[0]);
    }
    if (data.length < 41 || data[0] != 1) {
      throw new PayloadCodecException("the payload is cut, or of another version than 1");
    }
    byte[] nonce = Arrays.copyOfRange(data, 1, 25);
    byte[] inner = Arrays.copyOfRange(nonce, 12, 24);
    byte[] sealed = Arrays.copyOfRange(data, 25, data.length);
    return gcm(Cipher.DECRYPT_MODE, derived(key, nonce), inner, sealed, associated(id));
  }

  /** What Tacit's format authenticates besides the payload: its version, the key's id, the ring's binding. */
  private byte[] associated(String id) {
    byte[][] parts = {
      {1}, id.getBytes(StandardCharsets.UTF_8), binding.getBytes(StandardCharsets.UTF_8)
    };
    byte[] label = "tacit payload\0".getBytes(StandardCharsets.UTF_8);
    ByteBuffer data = ByteBuffer.allocate(label.length + 12 + parts[0].length + parts[1].length + parts[2].length);
    data.put(label);
    for (byte[] part : parts) {
      data.putInt(part.length).put(part);
    }
    return data.array();
  }

  private static byte[] gcm(int mode, byte[] key, byte[] nonce, byte[] content, byte[] associated) {
    try {
      Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
      cipher.init(mode, new SecretKeySpec(key, "AES"), new GCMParameterSpec(TAG_BITS, nonce));
      cipher.updateAAD(associated);
      return cipher.doFinal(content);
    } catch (GeneralSecurityException error) {
      throw new PayloadCodecException(error);
    }
  }

  /** XAES-256-GCM's key for a nonce: CMAC over its first 12 bytes, twice; AES-GCM takes the last 12. */
  private static byte[] derived(byte[] key, byte[] nonce) {
    try {
      Cipher block = Cipher.getInstance("AES/ECB/NoPadding");
      block.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(key, "AES"));
      byte[] zero = block.doFinal(new byte[16]);
      byte[] k1 = new byte[16];
      for (int i = 0; i < 16; i++) {
        k1[i] = (byte) (zero[i] << 1 | (i < 15 ? (zero[i + 1] & 0xff) >> 7 : 0));
      }
      k1[15] ^= (byte) ((zero[0] & 0x80) == 0 ? 0 : 0x87);
      byte[] halves = new byte[32];
      for (int half = 0; half < 2; half++) {
        byte[] input = new byte[16];
        input[1] = (byte) (half + 1);
        input[2] = 'X';
        System.arraycopy(nonce, 0, input, 4, 12);
        for (int i = 0; i < 16; i++) {
          input[i] ^= k1[i];
        }
        System.arraycopy(block.doFinal(input), 0, halves, 16 * half, 16);
      }
      return halves;
    } catch (GeneralSecurityException error) {
      throw new PayloadCodecException(error);
    }
  }
}
