package plan

import (
	"bytes"
	"encoding/base64"

	"github.com/kinstall/kinstall/plan/inventory"
)

// OperatorFiles lists the files of the operator's machine whose content
// belongs into the plan, by absolute path, each once. Some hold secrets.
func OperatorFiles(inv *inventory.Inventory) []string {
	var paths []string
	seen := map[string]bool{"": true}
	named := func(all ...string) {
		for _, path := range all {
			if !seen[path] {
				seen[path] = true
				paths = append(paths, path)
			}
		}
	}
	for _, r := range inv.Runtime.Registries {
		named(r.CAFile, r.PasswordFile)
	}
	if audited(inv) {
		named(inv.Audit.PolicyFile, inv.Audit.WebhookFile)
	}
	named(inv.Admission.ConfigFile)
	return paths
}

// operatorFile is the content of one of OperatorFiles.
func (c *compiler) operatorFile(path string) []byte {
	content, ok := c.files[path]
	if !ok {
		panic("plan: " + path + " was not read") // check sees to it
	}
	return content
}

// credentialsOfRegistries is a config.json as `docker login` writes it; nil if
// there are no credentials. It is a secret.
func (c *compiler) credentialsOfRegistries() []byte {
	type entry struct {
		Auth string `json:"auth"`
	}
	auths := map[string]any{}
	for _, r := range c.inventory.Runtime.Registries {
		if r.PasswordFile == "" {
			continue
		}
		name := r.Name
		if name == inventory.DockerHub {
			name = "https://index.docker.io/v1/" // its name of old, by which clients look it up
		}
		password := bytes.TrimRight(c.operatorFile(r.PasswordFile), "\r\n")
		auths[name] = entry{base64.StdEncoding.EncodeToString(append([]byte(r.Username+":"), password...))}
	}
	if len(auths) == 0 {
		return nil
	}
	return formatJSON(map[string]any{"auths": auths})
}
