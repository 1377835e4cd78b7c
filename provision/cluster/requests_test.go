package cluster

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// requestServer is the part of an API server that certificate requests need.
type requestServer struct {
	mu       sync.Mutex
	requests map[string]*certificatesv1.CertificateSigningRequest
	updates  int
}

func (s *requestServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const all = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	if r.URL.Path == all {
		list := certificatesv1.CertificateSigningRequestList{TypeMeta: metav1.TypeMeta{Kind: "CertificateSigningRequestList", APIVersion: "certificates.k8s.io/v1"}}
		for _, csr := range s.requests {
			list.Items = append(list.Items, *csr)
		}
		respond(w, http.StatusOK, list)
		return
	}
	for name, csr := range s.requests {
		switch r.Method + " " + r.URL.Path {
		case "GET " + all + "/" + name:
			respond(w, http.StatusOK, csr)
			return
		case "PUT " + all + "/" + name + "/approval":
			body, _ := io.ReadAll(r.Body)
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
			if err != nil {
				respondStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
				return
			}
			s.updates++
			csr.Status = object.(*certificatesv1.CertificateSigningRequest).Status
			respond(w, http.StatusOK, csr)
			return
		}
	}
	respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no "+r.URL.Path)
}

func TestRequests(t *testing.T) {
	request := func(name, signer string, conditions ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
		csr := &certificatesv1.CertificateSigningRequest{
			TypeMeta: metav1.TypeMeta{Kind: "CertificateSigningRequest", APIVersion: "certificates.k8s.io/v1"}, ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Username: "system:node:emei", Groups: []string{"system:nodes"},
				Request: []byte("x"), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth}},
		}
		for _, c := range conditions {
			csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: c, Status: "True"})
		}
		return csr
	}
	const serving = "kubernetes.io/kubelet-serving"
	ca := newAuthority(t)
	server := &requestServer{requests: map[string]*certificatesv1.CertificateSigningRequest{
		"b": request("b", serving), "a": request("a", serving), "approved": request("approved", serving, certificatesv1.CertificateApproved),
		"denied": request("denied", serving, certificatesv1.CertificateDenied), "client": request("client", "kubernetes.io/kube-apiserver-client"),
	}}
	client := newClient(t, ca, serve(t, ca, server, "kubernetes.default.svc"))
	found, err := client.ServingRequests(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range found {
		names = append(names, r.Name)
		if r.Username != "system:node:emei" || r.Signer != serving || len(r.Usages) != 1 || len(r.Groups) != 1 || string(r.PEM) != "x" {
			t.Errorf("%+v", r)
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, misfits := range map[string][]string{"a": nil, "b": {"one", "two"}, "approved": {"too late"}, "denied": nil, "gone": nil} {
		if err := client.Decide(testContext(t), name, misfits); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := server.requests["a"].Status.Conditions, server.requests["b"].Status.Conditions
	if len(a) != 1 || a[0].Type != certificatesv1.CertificateApproved || len(b) != 1 || b[0].Type != certificatesv1.CertificateDenied || b[0].Message != "one; two" || server.updates != 2 {
		t.Errorf("%+v, %+v, %d updates", a, b, server.updates)
	}
}
