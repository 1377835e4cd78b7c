package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kinstall/kinstall/plan/resource"
)

// decided reports whether somebody has said yes or no to a request.
func decided(csr *certificatesv1.CertificateSigningRequest) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied
	})
}

// ServingRequests are the requests of kubelets for certificates to serve with that
// nobody has decided on, by name.
func (c *Client) ServingRequests(ctx context.Context) ([]resource.CertificateRequest, error) {
	var requests []resource.CertificateRequest
	err := retry(ctx, "list certificate requests", apierrors.IsForbidden, func(ctx context.Context) error {
		list, err := c.requests.List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + resource.ServingSigner})
		if err != nil {
			return err
		}
		requests = nil
		for _, csr := range list.Items {
			if decided(&csr) || csr.Spec.SignerName != resource.ServingSigner {
				continue
			}
			r := resource.CertificateRequest{Name: csr.Name, Username: csr.Spec.Username, Groups: csr.Spec.Groups, Signer: csr.Spec.SignerName, PEM: csr.Spec.Request}
			for _, usage := range csr.Spec.Usages {
				r.Usages = append(r.Usages, string(usage))
			}
			requests = append(requests, r)
		}
		return nil
	})
	slices.SortFunc(requests, func(a, b resource.CertificateRequest) int { return strings.Compare(a.Name, b.Name) })
	return requests, err
}

// Decide approves of a request, or denies it for what does not fit. What a request
// says never changes (the API sees to that): it is what was judged. One that is
// gone, or that somebody decided on meanwhile, is left alone.
func (c *Client) Decide(ctx context.Context, name string, misfits []string) error {
	condition := certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "FitsInventory", Message: "user, groups, names and addresses are as in kinstall's inventory",
	}
	if len(misfits) > 0 {
		condition.Type, condition.Reason, condition.Message = certificatesv1.CertificateDenied, "NotInInventory", strings.Join(misfits, "; ")
	}
	return retry(ctx, fmt.Sprintf("decide on certificate request %s", name), apierrors.IsForbidden, func(ctx context.Context) error {
		csr, err := c.requests.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		case decided(csr):
			return nil
		}
		csr.Status.Conditions = append(csr.Status.Conditions, condition)
		_, err = c.requests.UpdateApproval(ctx, name, csr, metav1.UpdateOptions{FieldManager: FieldManager})
		return err
	})
}
