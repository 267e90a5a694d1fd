// Checks a vault's proof, or a consistency proof against an older checkpoint, with the code of Go's checksum database.
// go run sumdb.go VKEY PROOF   or   go run sumdb.go VKEY CONSISTENCY OLD-CHECKPOINT
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error) {
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

func read(name string) string {
	data, err := os.ReadFile(name)
	check(err)
	return string(data)
}

func hash(text string) tlog.Hash {
	var h tlog.Hash
	data, err := base64.StdEncoding.DecodeString(text)
	check(err)
	if copy(h[:], data) != len(h) || len(data) != len(h) {
		check(fmt.Errorf("a hash of %d bytes", len(data)))
	}
	return h
}

func open(text string, verifiers note.Verifiers) (int64, tlog.Hash) {
	n, err := note.Open([]byte(text), verifiers)
	check(err)
	lines := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	return size, hash(lines[2])
}

func main() {
	verifier, err := note.NewVerifier(strings.TrimSpace(read(os.Args[1])))
	check(err)
	verifiers := note.VerifierList(verifier)
	text := read(os.Args[2])
	blank := strings.Index(text, "\n\n")
	head := strings.Split(text[:blank], "\n")
	size, root := open(text[blank+2:], verifiers)
	var path []tlog.Hash
	index, extra := int64(-1), ""
	for _, line := range head {
		switch {
		case strings.HasPrefix(line, "c2sp.org/"):
		case strings.HasPrefix(line, "extra "):
			extra = line[6:]
		case strings.HasPrefix(line, "index "), strings.HasPrefix(line, "old "):
			index, err = strconv.ParseInt(line[strings.Index(line, " ")+1:], 10, 64)
			check(err)
		default:
			path = append(path, hash(line))
		}
	}
	if strings.HasPrefix(text, "old ") {
		oldSize, oldRoot := open(read(os.Args[3]), verifiers)
		if oldSize != index {
			check(fmt.Errorf("it is from size %d, the old checkpoint is of %d", index, oldSize))
		}
		check(tlog.CheckTree(tlog.TreeProof(path), size, root, oldSize, oldRoot))
		fmt.Printf("accepted: size %d extends size %d\n", size, oldSize)
		return
	}
	data, err := base64.StdEncoding.DecodeString(extra)
	check(err)
	record := sha256.Sum256(data)
	check(tlog.CheckRecord(tlog.RecordProof(path), size, root, index, tlog.RecordHash(record[:])))
	fmt.Printf("accepted: record %d of %d\n", index, size)
}
