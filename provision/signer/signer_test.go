package signer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinstall/kinstall/plan/inventory"
)

func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

const authKey = "c0ffee00"

var request = Request{Authority: "etcd", CSR: []byte("the request"), NotAfter: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}

func TestCFSSL(t *testing.T) {
	huge := strings.Repeat("a", maxAnswer+1)
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
		want  string
		err   string
	}{
		{"signed", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"success":true,"result":{"certificate":"PEM\n"},"errors":[],"messages":[]}`)
		}, "PEM\n", ""},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"success":false,"result":null,"errors":[{"code":5200,"message":"bad \u001b[2J token"}],"messages":[]}`)
		}, "", `refused (400 Bad Request): "bad \x1b[2J token" (code 5200)`},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "", `answered 200 OK, which is not cfssl's JSON: "<html>"`},
		{"nothing", func(http.ResponseWriter, *http.Request) {}, "", "not cfssl's JSON: nothing"},
		{"empty", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"success":true}`) }, "", `answered without a certificate`},
		{"huge", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, huge) }, "", "answered with more than 1048576 bytes"},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }, "", "gave no answer within 200ms"},
		{"slow", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, "", "gave no answer within 200ms"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		}, "", "it redirects"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				var sent struct{ Token, Request []byte }
				if err != nil || json.Unmarshal(body, &sent) != nil || r.URL.Path != "/api/v1/cfssl/authsign" {
					t.Errorf("%s: %q (%v)", r.URL.Path, body, err)
				}
				mac := hmac.New(sha256.New, []byte{0xc0, 0xff, 0xee, 0x00})
				mac.Write(sent.Request)
				if !hmac.Equal(mac.Sum(nil), sent.Token) {
					t.Error("the token is wrong")
				}
				if got, want := string(sent.Request), `{"certificate_request":"the request","profile":"node"}`; got != want {
					t.Errorf("asked %s, want %s", got, want)
				}
				if strings.Contains(string(body), authKey) {
					t.Error("the key was sent")
				}
				tt.serve(w, r)
			}))
			defer server.Close()
			s, err := New(&inventory.Signer{Kind: inventory.SignerCFSSL, URL: server.URL + "/", Profile: "node", AuthKeyFile: write(t, authKey+"\n", 0o600), Timeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Sign(t.Context(), request)
			check(t, got, err, tt.want, tt.err)
		})
	}
	t.Run("gone", func(t *testing.T) {
		server := httptest.NewServer(nil)
		server.Close()
		s, err := New(&inventory.Signer{Kind: inventory.SignerCFSSL, URL: server.URL, AuthKeyFile: write(t, authKey, 0o600), Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Sign(t.Context(), request)
		check(t, got, err, "", "connection refused")
	})
}

func check(t *testing.T, got []byte, err error, want, wantErr string) {
	t.Helper()
	if string(got) != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
		t.Errorf("got %q, %v; want %q, %q", got, err, want, wantErr)
	}
	if err != nil && (strings.Contains(err.Error(), authKey) || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x1b\n")) {
		t.Errorf("not fit to be printed: %q", err)
	}
}

// A server whose authority is not known is not asked.
func TestCFSSLOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true,"result":{"certificate":"PEM"}}`)
	}))
	defer server.Close()
	described := inventory.Signer{Kind: inventory.SignerCFSSL, URL: server.URL, AuthKeyFile: write(t, authKey, 0o600), Timeout: 5 * time.Second}
	s, err := New(&described)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), request); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v", err)
	}
	described.CAFile = write(t, string(pemOf(server)), 0o644)
	if s, err = New(&described); err != nil {
		t.Fatal(err)
	}
	got, err := s.Sign(t.Context(), request)
	check(t, got, err, "PEM", "")
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "sign.sh")
	for _, tt := range []struct {
		name, script string
		want, err    string
	}{
		{"signed", `printf '%s|' "$1" "$KINSTALL_AUTHORITY" "$KINSTALL_NOT_AFTER" "$(pwd)"; cat`, "a b; $(c)|etcd|2030-01-02T03:04:05Z|" + dir + "|the request", ""},
		{"deaf", `printf PEM`, "PEM", ""},
		{"failed", `echo "no \033[2J" token >&2; exit 3`, "", `exit status 3; it said "no \x1b[2J token"`},
		{"nothing", `cat > /dev/null`, "", "ended well and answered nothing"},
		{"huge", `yes`, "", "answered with more than 1048576 bytes"},
		{"silent", `sleep 100 & sleep 100`, "", "gave no answer within 500ms"},
		{"noisy", `yes >&2; exit 1`, "", "gave no answer within 500ms; it said"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(script, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			timeout := 20 * time.Second
			if strings.HasPrefix(tt.err, "gave no answer") {
				timeout = 500 * time.Millisecond
			}
			s, err := New(&inventory.Signer{Kind: inventory.SignerCommand, Command: []string{"./sign.sh", "a b; $(c)"}, Dir: dir, Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			got, err := s.Sign(context.Background(), request)
			check(t, got, err, tt.want, tt.err)
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// What is not there, or open to others, is found before anybody is asked.
func TestBadSigners(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signer inventory.Signer
		want   string
	}{
		{"no key file", inventory.Signer{Kind: "cfssl", AuthKeyFile: "/nonexistent/key"}, "auth_key_file /nonexistent/key: "},
		{"open key file", inventory.Signer{Kind: "cfssl", AuthKeyFile: write(t, authKey, 0o644)}, "is open to others (mode 0644)"},
		{"no hexadecimal digits", inventory.Signer{Kind: "cfssl", AuthKeyFile: write(t, "c0ffee0g", 0o600)}, "holds no key in hexadecimal digits"},
		{"empty key file", inventory.Signer{Kind: "cfssl", AuthKeyFile: write(t, "\n", 0o600)}, "holds no key in hexadecimal digits"},
		{"no authority", inventory.Signer{Kind: "cfssl", AuthKeyFile: write(t, authKey, 0o600), CAFile: write(t, "x", 0o600)}, "holds no PEM certificate"},
		{"no program", inventory.Signer{Kind: "command", Command: []string{"./nothing"}, Dir: t.TempDir()}, "nothing"},
		{"not in the path", inventory.Signer{Kind: "command", Command: []string{"kinstall-no-such-program"}}, "not found"},
		{"not executable", inventory.Signer{Kind: "command", Command: []string{write(t, "x", 0o600)}}, "permission denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(&tt.signer)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c0ffee") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func pemOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
