package inventory

import "strings"

// signers sees to it that each signer can be reached and that each authority
// has one at most.
func (r *rules) signers() {
	taken := map[string]*Signer{}
	for _, s := range r.inv.PKI.Signers {
		r.signer(s)
		if !r.good(&s.Kind, &s.Authorities) {
			continue
		}
		if len(s.Authorities) == 0 {
			r.report(invalidSigner.at(r.subject(&s.Authorities, s), "It signs for no authority."))
		}
		for i, name := range s.Authorities {
			if other := taken[name]; other != nil {
				r.report(advise(invalidSigner.at(r.subject(&s.Authorities, s, i), "The signer at %s signs for the authority %q already.", other.Place, name),
					"Say in authorities which one signs for which."))
				continue
			}
			taken[name] = s
		}
	}
	r.signsInCluster(taken["kubernetes"])
}

// signsInCluster sees that nobody asks the cluster for certificates whose authority
// has its key elsewhere.
func (r *rules) signsInCluster(s *Signer) {
	k := &r.inv.Kubelet
	for field, asks := range map[*string]bool{&k.Certificates: k.Certificates == CertificatesRotated, &k.ServingCertificates: k.ServingCertificates == CertificatesRequested} {
		if s != nil && asks && r.good(field) {
			r.report(advise(invalidSigner.at(r.subject(field, k), "Kubelets would ask the cluster for certificates, where nobody can sign them: the key of the authority \"kubernetes\" is with the signer at %s.", s.Place),
				"Remove it, so that apply has kubelets' certificates signed; or keep the authority's key in pki."))
		}
	}
}

func (r *rules) signer(s *Signer) {
	if !r.good(&s.Kind, &s.URL, &s.AuthKeyFile, &s.CAFile, &s.Command) {
		return
	}
	switch {
	case s.Kind == SignerCFSSL && s.URL == "":
		r.report(advise(invalidSigner.at(r.subject(nil, s), "It is not said where the cfssl server is."), "Add it, like: url = \"https://ca.example.com:8888\""))
	case s.Kind == SignerCFSSL && s.AuthKeyFile == "":
		r.report(advise(invalidSigner.at(r.subject(nil, s), "Requests to cfssl are authenticated, and there is no key for that."),
			"Add auth_key_file, with the key that stands in the server's auth_keys."))
	case s.Kind == SignerCFSSL && s.CAFile != "" && !strings.HasPrefix(s.URL, "https:"):
		r.report(advise(invalidSigner.at(r.subject(&s.CAFile, s), "ca_file vouches for https servers, and %s is none.", quote(s.URL)), "Use https, or remove ca_file."))
	case s.Kind == SignerCommand && len(s.Command) == 0:
		r.report(advise(invalidSigner.at(r.subject(&s.Command, s), "It is not said what to run."), "Add it, like: command = [\"./sign.sh\"]"))
	}
}

// encryption is by a passphrase or for recipients, who can read it again.
func (r *rules) encryption() {
	e := r.inv.PKI.Encryption
	if e == nil || !r.good(&e.Passphrase, &e.Recipients, &e.IdentityFile) {
		return
	}
	switch {
	case e.Passphrase && (len(e.Recipients) > 0 || e.IdentityFile != ""):
		r.report(advise(conflictingAttributes.at(r.subject(&e.Passphrase, e), "Keys are encrypted with a passphrase or for recipients, not both."),
			"Keep passphrase, or recipients and identity_file."))
	case !e.Passphrase && len(e.Recipients) == 0:
		r.report(advise(missingAttribute.at(r.subject(&e.Recipients, e), "Keys would be encrypted for nobody."), "Add recipients, or set passphrase = true."))
	case !e.Passphrase && e.IdentityFile == "":
		r.report(advise(missingAttribute.at(r.subject(nil, e), "Nothing says by which identity this machine reads the keys that it encrypts."),
			"Add it, like: identity_file = \"~/.config/age/keys.txt\""))
	}
}
