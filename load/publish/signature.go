package publish

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// A manifest can be signed by an SSH key. The signature stands beside it, in the format that ssh-keygen writes and
// checks (PROTOCOL.sshsig of OpenSSH), so that nobody needs this program to check one:
//
//	ssh-keygen -Y verify -f allowed_signers -I WHO -n usagelake -s manifest.json.sig < manifest.json

// SignatureFile is the signature of a manifest, beside it.
const SignatureFile = ManifestName + ".sig"

const (
	// signatureNamespace is what a signature is for: one that was made for another purpose isn't taken for one of these.
	signatureNamespace = "usagelake"
	signatureMagic     = "SSHSIG"
	signatureType      = "SSH SIGNATURE" // of its armor
	signatureVersion   = 1
	signatureHash      = "sha512"
)

// signed is what the key signs, behind signatureMagic.
type signed struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// signatureBlob is what the armor holds, behind signatureMagic.
type signatureBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// Signer signs manifests.
type Signer struct {
	key       ssh.AlgorithmSigner
	algorithm string
}

// ParseSigner reads a private key as ssh-keygen writes it: Ed25519, ECDSA or RSA, without a passphrase. Its errors show
// nothing of it.
func ParseSigner(private []byte) (*Signer, error) {
	key, err := ssh.ParsePrivateKey(private)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return nil, errors.New("the key has a passphrase, which nobody could type at night: make one of its own for this, " +
			"ssh-keygen -t ed25519 -N '' -f FILE")
	}
	if err != nil {
		return nil, errors.New("it is no private key as ssh-keygen writes it")
	}
	signer, ok := key.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("a key of the kind %s can't be used: make one with ssh-keygen -t ed25519",
			key.PublicKey().Type())
	}
	algorithm := key.PublicKey().Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512 // its own name stands for SHA-1, which ssh-keygen refuses
	}
	return &Signer{signer, algorithm}, nil
}

// PublicKey is the key that signatures are checked with, as it stands in a .pub file and behind the names of a file of
// allowed signers: "ssh-ed25519 AAAA…".
func (s *Signer) PublicKey() string { return publicKey(s.key.PublicKey()) }

func publicKey(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

// sign gives the signature file of a message.
func (s *Signer) sign(message []byte) ([]byte, error) {
	signature, err := s.key.SignWithAlgorithm(rand.Reader, toSign(message), s.algorithm)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	blob := append([]byte(signatureMagic), ssh.Marshal(signatureBlob{Version: signatureVersion,
		PublicKey: s.key.PublicKey().Marshal(), Namespace: signatureNamespace, Hash: signatureHash,
		Signature: ssh.Marshal(signature)})...)
	return pem.EncodeToMemory(&pem.Block{Type: signatureType, Bytes: blob}), nil
}

func toSign(message []byte) []byte {
	sum := sha512.Sum512(message)
	return append([]byte(signatureMagic),
		ssh.Marshal(signed{Namespace: signatureNamespace, Hash: signatureHash, Digest: sum[:]})...)
}

// checkSignature holds a signature file against the message, and returns the public key that it was made with. Whose
// that is isn't known here.
func checkSignature(message, file []byte) (key string, err error) {
	block, rest := pem.Decode(file)
	if block == nil || block.Type != signatureType || len(bytes.TrimSpace(rest)) > 0 {
		return "", errors.New("it is no SSH signature")
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte(signatureMagic))
	var b signatureBlob
	if !ok || ssh.Unmarshal(body, &b) != nil {
		return "", errors.New("it is no SSH signature")
	}
	if b.Version != signatureVersion || b.Namespace != signatureNamespace || b.Hash != signatureHash {
		return "", fmt.Errorf("it is of version %d, for %q, by %q; expected %d, %q, %q", b.Version, b.Namespace, b.Hash,
			signatureVersion, signatureNamespace, signatureHash)
	}
	public, err := ssh.ParsePublicKey(b.PublicKey)
	if err != nil {
		return "", fmt.Errorf("its key: %w", err)
	}
	var s ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &s); err != nil {
		return "", fmt.Errorf("it can't be read: %w", err)
	}
	if s.Format == ssh.KeyAlgoRSA {
		return "", errors.New("it is by SHA-1, which is no proof any more")
	}
	return publicKey(public), public.Verify(toSign(message), &s)
}
