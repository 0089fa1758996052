package keyset_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/bridge/authorize/keyset"
	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/internal/issuertest"
)

// source is an issuer without a network.
type source struct {
	doc   []byte
	err   error
	asked int
	wait  time.Duration
}

func (s *source) load(ctx context.Context) ([]byte, error) {
	s.asked++
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.doc, s.err
}

func find(t *testing.T, s *keyset.Set, alg, kid string) error {
	t.Helper()
	found, err := s.Find(t.Context(), alg, kid)
	if err == nil && len(found) == 0 {
		t.Error("no key and no error")
	}
	return err
}

func isAway(err error) bool { return errors.As(err, new(*keyset.UnavailableError)) }

// E1: an unknown key id asks the issuer at most once in 10 s, and a known one does not.
func TestUnknownKeyIDsAskTheIssuerOnceIn10Seconds(t *testing.T) {
	one := issuertest.NewKey(t, jose.ES256, "one")
	src := &source{doc: issuertest.Set(t, one)}
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, nil)
		defer s.Close()
		for n := range 10_000 {
			if err := find(t, s, "ES256", "one"); err != nil {
				t.Fatal(err)
			}
			if err := find(t, s, "ES256", fmt.Sprint("x", n)); !errors.Is(err, keyset.ErrUnknownKey) {
				t.Fatalf("got %v; want that the key is unknown", err)
			}
		}
		if src.asked != 1 {
			t.Errorf("asked %d times at once; want 1", src.asked)
		}
		time.Sleep(10 * time.Second)
		for n := range 100 {
			_ = find(t, s, "ES256", fmt.Sprint("y", n))
		}
		if src.asked != 2 {
			t.Errorf("asked %d times in 10 s; want 2", src.asked)
		}
	})
}

// E1: a key that the issuer adds is found by its id, and one that it withdraws stops
// counting at the next refresh.
func TestKeysAreRotatedAndWithdrawn(t *testing.T) {
	one, two := issuertest.NewKey(t, jose.ES256, "one"), issuertest.NewKey(t, jose.ES256, "two")
	src := &source{doc: issuertest.Set(t, one)}
	both, second := issuertest.Set(t, one, two), issuertest.Set(t, two)
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, nil)
		defer s.Close()
		if err := find(t, s, "ES256", "one"); err != nil {
			t.Fatal(err)
		}
		before, _ := s.Version()
		src.doc = both
		time.Sleep(11 * time.Second)
		if err := find(t, s, "ES256", "two"); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if after, _ := s.Version(); after == before {
			t.Error("the version is that of the keys before")
		}
		src.doc = second
		time.Sleep(5 * time.Minute)
		if err := find(t, s, "ES256", "two"); err != nil { // starts a fetch in the background
			t.Fatal(err)
		}
		synctest.Wait()
		if err := find(t, s, "ES256", "one"); !errors.Is(err, keyset.ErrUnknownKey) {
			t.Errorf("the withdrawn key: got %v", err)
		}
	})
}

// E1: keys that were not refreshed for 10 min are not used without asking.
func TestOldKeysWaitForAFetch(t *testing.T) {
	one, two := issuertest.NewKey(t, jose.ES256, "one"), issuertest.NewKey(t, jose.ES256, "two")
	src := &source{doc: issuertest.Set(t, one), wait: time.Second}
	second := issuertest.Set(t, two)
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, nil)
		defer s.Close()
		_ = find(t, s, "ES256", "one")
		src.doc = second
		time.Sleep(10 * time.Minute)
		if _, ok := s.Version(); ok {
			t.Error("what was verified with the old keys counts")
		}
		if err := find(t, s, "ES256", "one"); !errors.Is(err, keyset.ErrUnknownKey) {
			t.Errorf("got %v; want that the key is unknown", err)
		}
	})
}

// E1: while the issuer is away the known keys count for an hour more, and an unknown one is
// neither wrong nor right.
func TestKeysCountForAnHourWhileTheIssuerIsAway(t *testing.T) {
	src := &source{doc: issuertest.Set(t, issuertest.NewKey(t, jose.ES256, "one"))}
	synctest.Test(t, func(t *testing.T) {
		var reports []error
		s := keyset.New(src.load, func(err error) { reports = append(reports, err) })
		defer s.Close()
		_ = find(t, s, "ES256", "one")
		src.err = errors.New("away")
		time.Sleep(11 * time.Second)
		if err := find(t, s, "ES256", "two"); !isAway(err) {
			t.Errorf("an unknown key: got %v", err)
		}
		if err := find(t, s, "ES256", "two"); !isAway(err) {
			t.Errorf("an unknown key, at once: got %v", err)
		}
		for range 69 - 1 {
			time.Sleep(time.Minute)
			if err := find(t, s, "ES256", "one"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		err := find(t, s, "ES256", "one")
		var away *keyset.UnavailableError
		if !errors.As(err, &away) || away.RetryAfter < time.Second || away.RetryAfter > 10*time.Second {
			t.Fatalf("after an hour and 10 min: got %v", err)
		}
		src.err = nil
		time.Sleep(10 * time.Second)
		if err := find(t, s, "ES256", "one"); err != nil {
			t.Errorf("when it is back: %v", err)
		}
		if last := len(reports) - 1; last < 1 || reports[0] == nil || reports[last] != nil {
			t.Errorf("reported %v; want errors, and at last that it is back", reports)
		}
	})
}

// E1: many requests at one time ask once, and a request whose client leaves ends the wait of
// no other.
func TestOneFetchForAllWhoWait(t *testing.T) {
	src := &source{doc: issuertest.Set(t, issuertest.NewKey(t, jose.EdDSA, "one")), wait: time.Second}
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, nil)
		defer s.Close()
		gone, leave := context.WithCancel(t.Context())
		results := make(chan error)
		go func() { _, err := s.Find(gone, "EdDSA", "one"); results <- err }()
		synctest.Wait()
		for range 50 {
			go func() { _, err := s.Find(t.Context(), "EdDSA", "one"); results <- err }()
		}
		leave()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want that the request has ended", err)
		}
		for range 50 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if src.asked != 1 {
			t.Errorf("asked %d times", src.asked)
		}
	})
}

// E1: Close ends a fetch that no request waits for, and waits for its end.
func TestCloseEndsAFetch(t *testing.T) {
	src := &source{doc: issuertest.Set(t, issuertest.NewKey(t, jose.EdDSA, "one"))}
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, func(err error) { t.Errorf("reported %v", err) })
		if err := find(t, s, "EdDSA", "one"); err != nil {
			t.Fatal(err)
		}
		src.wait = time.Hour
		time.Sleep(6 * time.Minute)
		if _, ok := s.Version(); !ok {
			t.Error("the keys do not count after six minutes")
		}
		synctest.Wait()
		if src.asked != 2 {
			t.Fatalf("asked %d times, want 2", src.asked)
		}
		started := time.Now()
		s.Close()
		if took := time.Since(started); took > 0 {
			t.Errorf("Close took %s", took)
		}
		if _, ok := s.Version(); !ok || src.asked != 2 {
			t.Errorf("after Close: the keys count: %v; asked %d times", ok, src.asked)
		}
	})
}

// E1: a reload closes the set of the configuration before, and requests to that one may still
// be under way. They get their keys, and the fetch ends with the last of them.
func TestRequestsUnderWayGetTheirKeysAfterClose(t *testing.T) {
	src := &source{doc: issuertest.Set(t, issuertest.NewKey(t, jose.EdDSA, "one")), wait: time.Second}
	synctest.Test(t, func(t *testing.T) {
		s := keyset.New(src.load, nil)
		result := make(chan error)
		go func() { _, err := s.Find(t.Context(), "EdDSA", "one"); result <- err }()
		synctest.Wait()
		s.Close()
		if err := <-result; err != nil {
			t.Errorf("a request that waited: %v", err)
		}
		fresh := keyset.New(src.load, nil)
		fresh.Close()
		if err := find(t, fresh, "EdDSA", "one"); err != nil {
			t.Errorf("a request that came to the set at last: %v", err)
		}
		src.wait = time.Hour
		left := keyset.New(src.load, nil)
		gone, leave := context.WithCancel(t.Context())
		go func() { _, err := left.Find(gone, "EdDSA", "one"); result <- err }()
		synctest.Wait()
		left.Close()
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("a request whose client leaves: %v", err)
		}
		started := time.Now()
		synctest.Wait() // the fetch has ended, or the test would end with it an hour later
		if took := time.Since(started); took > 0 {
			t.Errorf("the fetch of no request took %s", took)
		}
	})
	if src.asked != 3 {
		t.Errorf("asked %d times, want 3", src.asked)
	}
}

// E1: `use`, `key_ops`, `alg` and the type of a key are honoured, and a key that cannot be
// read takes no other away.
func TestKeysForOtherUsesDoNotCount(t *testing.T) {
	const (
		rsa1024 = `{"kty":"RSA","kid":"k","n":"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0nLV","e":"AQAB"}`
		p256    = `"kty":"EC","kid":"k","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
		good    = `{` + p256 + `}`
	)
	for name, tc := range map[string]struct {
		keys, alg string
		want      int // keys found
	}{
		"fits":               {good, "ES256", 1},
		"use":                {`{` + p256 + `,"use":"enc"}`, "ES256", 0},
		"use is sig":         {`{` + p256 + `,"use":"sig"}`, "ES256", 1},
		"key_ops":            {`{` + p256 + `,"key_ops":["sign"]}`, "ES256", 0},
		"key_ops has verify": {`{` + p256 + `,"key_ops":["verify"]}`, "ES256", 1},
		"alg":                {`{` + p256 + `,"alg":"ES384"}`, "ES256", 0},
		"another type":       {good, "RS256", 0},
		"another curve":      {good, "ES384", 0},
		"symmetric":          {`{"kty":"oct","kid":"k","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`, "HS256", 0},
		"private":            {`{` + p256 + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`, "ES256", 0},
		"short":              {rsa1024, "RS256", 0},
		"beside a broken":    {`{"kty":"XX","kid":"k"},{"kty":"EC","kid":"k","crv":"P-256","x":"AA","y":"AA"},{"kty":1},` + good, "ES256", 1},
		"twice":              {good + `,` + good, "ES256", 2},
	} {
		t.Run(name, func(t *testing.T) {
			src := &source{doc: []byte(`{"keys":[` + tc.keys + `]}`)}
			s := keyset.New(src.load, nil)
			defer s.Close()
			for _, kid := range []string{"k", ""} {
				found, err := s.Find(t.Context(), tc.alg, kid)
				if len(found) != tc.want {
					t.Errorf("kid %q: found %d, %v; want %d", kid, len(found), err, tc.want)
				}
			}
			if found, _ := s.Find(t.Context(), tc.alg, "other"); len(found) != 0 {
				t.Error("found a key by another id")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}],"keys":[]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig"}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, err := keyset.Parse(doc)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if !k.IsPublic() || !k.Valid() || k.Use != "" {
				t.Errorf("kept %+v", k)
			}
		}
	})
}
