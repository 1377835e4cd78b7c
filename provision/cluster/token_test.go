package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// secretServer is the part of an API server that tokens need. It holds one Secret.
type secretServer struct {
	mu     sync.Mutex
	clock  time.Time
	secret *corev1.Secret
	usable []bool // whether the token counted, after each write
	lose   int    // answers to lose
}

func (s *secretServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const all = "/api/v1/namespaces/kube-system/secrets"
	there := s.secret != nil && r.URL.Path == all+"/"+s.secret.Name
	write := func(from *corev1.Secret) {
		for key, value := range from.StringData {
			if s.secret.Data == nil {
				s.secret.Data = map[string][]byte{}
			}
			s.secret.Data[key] = []byte(value)
		}
		s.usable = append(s.usable, string(s.secret.Data["usage-bootstrap-authentication"]) == "true")
	}
	var sent corev1.Secret
	switch {
	case r.Method == http.MethodPost && r.URL.Path == all:
		if s.secret != nil {
			respondStatus(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, "it is there")
			return
		}
		body, _ := io.ReadAll(r.Body)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &sent) // protobuf
		if err != nil {
			respondStatus(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		sent = *object.(*corev1.Secret)
		s.secret = &corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: sent.ObjectMeta, Type: sent.Type}
		s.secret.CreationTimestamp = metav1.NewTime(s.clock)
		write(&sent)
	case r.Method == http.MethodPatch && there:
		_ = json.NewDecoder(r.Body).Decode(&sent)
		write(&sent)
	case r.Method == http.MethodDelete && there:
		s.secret = nil
		respondStatus(w, http.StatusOK, "", "")
		return
	case r.Method == http.MethodGet && there:
	default:
		respondStatus(w, http.StatusNotFound, metav1.StatusReasonNotFound, "no "+r.URL.Path)
		return
	}
	if s.lose > 0 {
		s.lose--
		respondStatus(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "lost")
		return
	}
	respond(w, http.StatusOK, s.secret)
}

// A token counts for nothing before it has an end, which is reckoned by the API
// server's clock, however wrong the operator's is; and it is shown nowhere.
func TestToken(t *testing.T) {
	for name, lose := range map[string]int{"at once": 0, "with an answer lost": 1} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			server := &secretServer{clock: time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC), lose: lose}
			client := newClient(t, ca, serve(t, ca, server, "kubernetes.default.svc"))
			token, err := client.CreateToken(testContext(t), 15*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(token.Bearer()) {
				t.Errorf("%q is no token", token.Bearer())
			}
			id, secret, _ := strings.Cut(token.Bearer(), ".")
			if server.secret.Name != "bootstrap-token-"+id || server.secret.Type != "bootstrap.kubernetes.io/token" {
				t.Errorf("%s of type %s", server.secret.Name, server.secret.Type)
			}
			data := map[string]string{}
			for key, value := range server.secret.Data {
				data[key] = string(value)
			}
			want := map[string]string{
				"token-id": id, "token-secret": secret, "expiration": "2031-02-03T04:20:06Z", "usage-bootstrap-authentication": "true",
				"auth-extra-groups": "system:bootstrappers:kinstall", "description": "made by kinstall for one apply",
			}
			if diff := cmp.Diff(want, data); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]bool{false, true}, server.usable); diff != "" {
				t.Errorf("when it counted (-want +got):\n%s", diff)
			}
			if shown := fmt.Sprintf("%s %v %+v %#v", token, token, token, token); strings.Contains(shown, secret) {
				t.Errorf("it is shown: %s", shown)
			}
			for range 2 {
				if err := client.DeleteToken(testContext(t), token); err != nil || server.secret != nil {
					t.Errorf("%v, %v", err, server.secret)
				}
			}
		})
	}
}
