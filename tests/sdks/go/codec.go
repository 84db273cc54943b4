package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"
)

// ringCodec encrypts payloads with the keys of a Tacit key ring's file, as a codec of the Go SDK's own interface. It reads
// both formats that the Python side may write, and writes the samples' or Tacit's own (version 1).
type ringCodec struct {
	binding string
	active  string
	keys    map[string][]byte
	samples bool
}

func newRingCodec(path string, samples bool) (*ringCodec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ring struct {
		Binding string
		Keys    []struct{ Id, State, Material string }
	}
	if err := json.Unmarshal(content, &ring); err != nil {
		return nil, err
	}
	codec := &ringCodec{binding: ring.Binding, keys: map[string][]byte{}, samples: samples}
	for _, key := range ring.Keys {
		material, err := base64.StdEncoding.DecodeString(key.Material)
		if err != nil {
			return nil, err
		}
		if key.State != "disabled" {
			codec.keys[key.Id] = material
		}
		if key.State == "active" {
			codec.active = key.Id
		}
	}
	return codec, nil
}

func (c *ringCodec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	encoded := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		plain, err := proto.Marshal(payload)
		if err != nil {
			return nil, err
		}
		metadata := map[string][]byte{"encryption-key-id": []byte(c.active)}
		key := c.keys[c.active]
		var data []byte
		if c.samples {
			metadata["encoding"] = []byte("binary/encrypted")
			gcm, err := newGCM(key)
			if err != nil {
				return nil, err
			}
			nonce := make([]byte, gcm.NonceSize())
			if _, err := rand.Read(nonce); err != nil {
				return nil, err
			}
			data = gcm.Seal(nonce, nonce, plain, nil)
		} else {
			metadata["encoding"] = []byte("binary/tacit-encrypted")
			nonce := make([]byte, 24)
			if _, err := rand.Read(nonce); err != nil {
				return nil, err
			}
			gcm, err := newXAES(key, nonce)
			if err != nil {
				return nil, err
			}
			head := append([]byte{1}, nonce...)
			data = gcm.Seal(head, nonce[12:], plain, c.associated(c.active))
		}
		encoded[i] = &commonpb.Payload{Metadata: metadata, Data: data}
	}
	return encoded, nil
}

func (c *ringCodec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	decoded := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		encoding := string(payload.Metadata["encoding"])
		if encoding != "binary/encrypted" && encoding != "binary/tacit-encrypted" {
			decoded[i] = payload
			continue
		}
		id := string(payload.Metadata["encryption-key-id"])
		key, known := c.keys[id]
		if !known {
			return nil, fmt.Errorf("key %q is not in the key ring", id)
		}
		plain, err := c.open(encoding, id, key, payload.Data)
		if err != nil {
			return nil, err
		}
		decoded[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, decoded[i]); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

func (c *ringCodec) open(encoding, id string, key, data []byte) ([]byte, error) {
	if encoding == "binary/encrypted" {
		gcm, err := newGCM(key)
		if err != nil {
			return nil, err
		}
		if len(data) < gcm.NonceSize() {
			return nil, errors.New("the payload is cut")
		}
		return gcm.Open(nil, data[:gcm.NonceSize()], data[gcm.NonceSize():], nil)
	}
	if len(data) < 25 || data[0] != 1 {
		return nil, errors.New("the payload is cut, or of another version than 1")
	}
	nonce := data[1:25]
	gcm, err := newXAES(key, nonce)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce[12:], data[25:], c.associated(id))
}

// associated is what Tacit's format authenticates besides the payload: its version, the key's id, the ring's binding.
func (c *ringCodec) associated(id string) []byte {
	data := []byte("tacit payload\x00")
	for _, part := range [][]byte{{1}, []byte(id), []byte(c.binding)} {
		data = binary.BigEndian.AppendUint32(data, uint32(len(part)))
		data = append(data, part...)
	}
	return data
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// newXAES is XAES-256-GCM: AES-GCM, for the last 12 bytes of the nonce, under a key derived from the first 12 by CMAC.
func newXAES(key, nonce []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k1 := make([]byte, 16)
	block.Encrypt(k1, k1)
	msb := k1[0] >> 7
	for i := range k1 {
		k1[i] <<= 1
		if i < 15 {
			k1[i] |= k1[i+1] >> 7
		}
	}
	k1[15] ^= msb * 0x87
	derived := make([]byte, 32)
	for half := range 2 {
		part := append([]byte{0, byte(half + 1), 'X', 0}, nonce[:12]...)
		subtle.XORBytes(part, part, k1)
		block.Encrypt(derived[16*half:], part)
	}
	return newGCM(derived)
}
