// Seals and opens as the Go sample does: nonce first, AES-256-GCM, no associated data. Its zlib is compress/zlib's.
//
//	go run main.go seal|open|zlib < lines of hex words
package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		var parts [][]byte
		for _, word := range words {
			parts = append(parts, must(hex.DecodeString(strings.TrimPrefix(word, "x"))))
		}
		var out []byte
		switch os.Args[1] {
		case "seal": // key, nonce, plaintext
			gcm := must(cipher.NewGCM(must(aes.NewCipher(parts[0]))))
			out = gcm.Seal(bytes.Clone(parts[1]), parts[1], parts[2], nil)
		case "open": // key, data
			gcm := must(cipher.NewGCM(must(aes.NewCipher(parts[0]))))
			size := gcm.NonceSize()
			out = must(gcm.Open(nil, parts[1][:size], parts[1][size:], nil))
		case "zlib": // plaintext
			var buffer bytes.Buffer
			writer := zlib.NewWriter(&buffer)
			must(writer.Write(parts[0]))
			must(0, writer.Close())
			out = buffer.Bytes()
		}
		fmt.Println("x" + hex.EncodeToString(out))
	}
}
