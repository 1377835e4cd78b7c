package main

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/kinstall/kinstall/e2e/lab"
)

// machines reads from an inventory what the lab needs of it: the name and the
// address of each host.
func machines(path string) ([]lab.Machine, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	file, diags := hclsyntax.ParseConfig(source, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	content, _, diags := file.Body.PartialContent(&hcl.BodySchema{
		Blocks: []hcl.BlockHeaderSchema{{Type: "host", LabelNames: []string{"name"}}},
	})
	if diags.HasErrors() {
		return nil, diags
	}
	var found []lab.Machine
	for _, block := range content.Blocks {
		attributes, _, diags := block.Body.PartialContent(&hcl.BodySchema{
			Attributes: []hcl.AttributeSchema{{Name: "address", Required: true}},
		})
		if diags.HasErrors() {
			return nil, diags
		}
		attribute := attributes.Attributes["address"]
		value, diags := attribute.Expr.Value(nil)
		if diags.HasErrors() {
			return nil, diags
		}
		if value.IsNull() || value.Type() != cty.String {
			return nil, fmt.Errorf("%s: host %q: address is not a string", attribute.Range, block.Labels[0])
		}
		address, err := netip.ParseAddr(value.AsString())
		if err != nil {
			return nil, fmt.Errorf("%s: host %q: %w", attribute.Range, block.Labels[0], err)
		}
		found = append(found, lab.Machine{Name: block.Labels[0], Address: address})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no host blocks", path)
	}
	return found, nil
}
