package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kinstall/kinstall/plan/resource"
)

// Token is a bootstrap token
// (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/). It
// is shown by nothing but Bearer.
type Token struct {
	id     string // names it, and its user: no secret
	secret string
}

// String is what a token is called.
func (t Token) String() string { return "bootstrap token " + t.id }

// GoString implements fmt.GoStringer.
func (t Token) GoString() string { return t.String() }

// Bearer is what to show to the API.
func (t Token) Bearer() string { return t.id + "." + t.secret }

// object is the name of the token's Secret.
func (t Token) object() string { return "bootstrap-token-" + t.id }

const (
	tokenIDLength     = 6
	tokenSecretLength = 16
	tokenLetters      = "abcdefghijklmnopqrstuvwxyz0123456789"
)

func newToken() (Token, error) {
	word := func(length int) (string, error) {
		letters := make([]byte, length)
		for i := range letters {
			n, err := rand.Int(rand.Reader, big.NewInt(int64(len(tokenLetters))))
			if err != nil {
				return "", err
			}
			letters[i] = tokenLetters[n.Int64()]
		}
		return string(letters), nil
	}
	id, err := word(tokenIDLength)
	if err != nil {
		return Token{}, err
	}
	secret, err := word(tokenSecretLength)
	return Token{id, secret}, err
}

// CreateToken makes a token by which kubelets may ask for their first certificate
// for a while. Its end is reckoned by the API server's clock: it counts for nothing
// until that has said when it was made.
func (c *Client) CreateToken(ctx context.Context, lifetime time.Duration) (Token, error) {
	token, err := newToken()
	if err != nil {
		return Token{}, err
	}
	created := &corev1.Secret{}
	err = retry(ctx, "create "+token.String(), apierrors.IsForbidden, func(ctx context.Context) error {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: token.object(), Namespace: metav1.NamespaceSystem},
			Type:       corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{
				"description":       "made by kinstall for one apply",
				"token-id":          token.id,
				"token-secret":      token.secret,
				"auth-extra-groups": resource.JoinGroup,
			},
		}
		found, err := c.secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: FieldManager})
		if apierrors.IsAlreadyExists(err) { // an answer got lost
			found, err = c.secrets.Get(ctx, token.object(), metav1.GetOptions{})
		}
		created = found
		return err
	})
	if err != nil {
		return Token{}, err
	}
	patch, err := json.Marshal(map[string]any{"stringData": map[string]string{
		"expiration":                     created.CreationTimestamp.UTC().Add(lifetime).Format(time.RFC3339),
		"usage-bootstrap-authentication": "true",
	}})
	if err != nil {
		return Token{}, err
	}
	err = retry(ctx, "make "+token.String()+" good", nil, func(ctx context.Context) error {
		_, err := c.secrets.Patch(ctx, token.object(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		return err
	})
	return token, err
}

// DeleteToken deletes a token. One that is not there is as it should be.
func (c *Client) DeleteToken(ctx context.Context, token Token) error {
	return retry(ctx, fmt.Sprintf("delete %s", token), nil, func(ctx context.Context) error {
		err := c.secrets.Delete(ctx, token.object(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}
