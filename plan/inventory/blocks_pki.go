package inventory

import (
	"time"

	"github.com/kinstall/kinstall/plan/resource"
)

func pkiBlock() *block {
	subject := func(name, what, example string, g grammar, field func(*PKI) any) attr {
		return attr{name: name, kind: text("text", g), field: of(field),
			doc:     what + " in the names of authorities that kinstall creates. Those that exist keep their names.",
			example: example}
	}
	return &block{
		name:   "pki",
		doc:    "Authorities and keys on this machine. docs/security.md tells where authorities may come from.",
		target: part(func(inv *Inventory) any { return &inv.PKI }),
		example: `pki {
  dir           = "secrets/pki"
  key_algorithm = "rsa-4096"
  organization  = "Wuxia Ltd"
}`,
		attrs: []attr{
			{name: "dir", kind: filePath(), fallback: `"pki"`,
				field:   of(func(p *PKI) any { return &p.Dir }),
				doc:     "Directory of the authorities, relative to the inventory. Keep it private and backed up.",
				example: `"pki"`},
			{name: "key_algorithm", kind: choice(keyAlgorithms()...), fallback: quoted(string(resource.KeyDefault)),
				field:   of(func(p *PKI) any { return &p.KeyAlgorithm }),
				doc:     "What keys are made with: those of certificates, which are renewed one member at a time when it changes, and of authorities that kinstall creates. An authority that exists keeps its key.",
				example: `"rsa-4096"`},
			subject("organization", "Organization (O)", `"Wuxia Ltd"`, subjectText, func(p *PKI) any { return &p.Organization }),
			subject("organizational_unit", "Organizational unit (OU)", `"Platform"`, subjectText, func(p *PKI) any { return &p.OrganizationalUnit }),
			subject("country", "Country (C, two letters)", `"CN"`, country, func(p *PKI) any { return &p.Country }),
			subject("province", "State or province (ST)", `"Henan"`, subjectText, func(p *PKI) any { return &p.Province }),
			subject("locality", "Locality (L)", `"Dengfeng"`, subjectText, func(p *PKI) any { return &p.Locality }),
		},
		blocks: []*block{signerBlock(), encryptionBlock()},
	}
}

func encryptionBlock() *block {
	return &block{
		name: "encryption",
		doc:  "Has the private keys in pki.dir encrypted with age: by a passphrase, or for recipients. Keys that lie there in the clear are encrypted by the next apply, and the plan says so.",
		target: func(outer any, make bool) any {
			pki := outer.(*PKI)
			if pki.Encryption == nil {
				if !make {
					return nil
				}
				pki.Encryption = &Encryption{}
			}
			return pki.Encryption
		},
		example: `encryption {
  recipients    = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
  identity_file = "~/.config/age/keys.txt"
}`,
		attrs: []attr{
			{name: "passphrase", kind: boolean(), computed: "`true` without recipients",
				field:   of(func(e *Encryption) any { return &e.Passphrase }),
				doc:     "Asks for a passphrase, once in a run: on the terminal, or as -passphrase-file and -passphrase-env say.",
				example: `true`},
			{name: "recipients", kind: list("recipients", ageRecipient, false),
				field:   of(func(e *Encryption) any { return &e.Recipients }),
				doc:     "Whom keys are encrypted for: public keys of age. Everybody who applies needs to be one of them.",
				example: `["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]`},
			{name: "identity_file", kind: filePath(),
				field:   of(func(e *Encryption) any { return &e.IdentityFile }),
				doc:     "With recipients: file of this machine with the age identity that reads the keys.",
				example: `"~/.config/age/keys.txt"`},
		},
	}
}

func signerBlock() *block {
	cfssl, command := []string{SignerCFSSL}, []string{SignerCommand}
	return &block{
		name: "signer",
		doc:  "Who signs for authorities whose keys are not on this machine. Their certificates lie in pki.dir, with no key beside them; each certificate is asked for when it is due, and held to what was asked before it is used.",
		many: true,
		label: &label{name: "KIND", doc: "`cfssl`: a cfssl server, by its authenticated API. `command`: a program on this machine.",
			kind: choice(SignerKinds()...), field: of(func(s *Signer) any { return &s.Kind })},
		target: func(outer any, make bool) any {
			if !make {
				return nil
			}
			signer := &Signer{}
			pki := outer.(*PKI)
			pki.Signers = append(pki.Signers, signer)
			return signer
		},
		each: func(outer any) []any {
			var all []any
			for _, signer := range outer.(*PKI).Signers {
				all = append(all, signer)
			}
			return all
		},
		example: `signer "cfssl" {
  url           = "https://ca.example.com:8888"
  profile       = "kubernetes"
  auth_key_file = "secrets/cfssl.key"
}`,
		attrs: []attr{
			{name: "authorities", kind: list("authorities", oneOf(signedAuthorities()...), false), computed: "`[\"kubernetes\", \"etcd\", \"front-proxy\"]`",
				field:   of(func(s *Signer) any { return &s.Authorities }),
				doc:     "Which authorities it signs for. kinstall keeps the key pair that signs service accounts' tokens in any case: it is no certificate authority.",
				example: `["kubernetes"]`},
			{name: "url", kind: text("URL", plainURL("https", "http")), labels: cfssl,
				field:   of(func(s *Signer) any { return &s.URL }),
				doc:     "The server, without /api.",
				example: `"https://ca.example.com:8888"`},
			{name: "profile", kind: text("name", profileName), labels: cfssl, computed: "the server's default",
				field:   of(func(s *Signer) any { return &s.Profile }),
				doc:     "By which of the server's profiles it signs. The profile decides on usages and validity: it must have \"server auth\" and \"client auth\", and more time than cert_renew_before.",
				example: `"kubernetes"`},
			{name: "auth_key_file", kind: filePath(), labels: cfssl,
				field:   of(func(s *Signer) any { return &s.AuthKeyFile }),
				doc:     "File of this machine with the key of the server's auth_keys, in hexadecimal digits. It must be readable by you alone.",
				example: `"secrets/cfssl.key"`},
			{name: "ca_file", kind: filePath(), labels: cfssl, computed: "the system's authorities",
				field:   of(func(s *Signer) any { return &s.CAFile }),
				doc:     "File of this machine with the authorities (PEM) that vouch for an https url.",
				example: `"cfssl-ca.pem"`},
			{name: "command", kind: arguments(), labels: command,
				field:   of(func(s *Signer) any { return &s.Command }),
				doc:     "Program and arguments, run for each certificate in the inventory's directory without a shell: the request (PEM) on standard input, the certificate (PEM) on standard output. KINSTALL_AUTHORITY and KINSTALL_NOT_AFTER stand in its environment.",
				example: `["./sign.sh", "--profile", "node"]`},
			{name: "timeout", kind: duration(time.Second), computed: "`\"30s\"`",
				field:   of(func(s *Signer) any { return &s.Timeout }),
				doc:     "How long one certificate may take.",
				example: `"1m"`},
		},
	}
}

// keyAlgorithms are the words for resource.KeyAlgorithms.
func keyAlgorithms() []string {
	var words []string
	for _, a := range resource.KeyAlgorithms() {
		words = append(words, string(a))
	}
	return words
}
