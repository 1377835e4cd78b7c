package inventory

import "github.com/kinstall/kinstall/plan/resource"

func pkiBlock() *block {
	subject := func(name, what, example string, g grammar, field func(*PKI) any) attr {
		return attr{name: name, kind: text("text", g), field: of(field),
			doc:     what + " in the names of authorities that kinstall creates. Those that exist keep their names.",
			example: example}
	}
	return &block{
		name:   "pki",
		doc:    "Authorities and keys on this machine. docs/security.md tells where else authorities may come from.",
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
