package ipmi

import (
	"errors"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// TestChassisPrivilege is held against go-ipmi's BMC, because ipmi_sim lets an account
// of privilege USER have OPERATOR.
func TestChassisPrivilege(t *testing.T) {
	t.Parallel()
	address := serve17(t, newFake(), types.CipherSuiteID17)
	_, err := Dial(t.Context(), Login{Address: address, User: "viewer", Password: "pass phrase of 20 by"})
	if !errors.Is(err, ErrPrivilege) || !errors.Is(err, drivers.ErrDenied) || errors.Is(err, ErrCipher) {
		t.Errorf("Dial = %v, want %v", err, ErrPrivilege)
	}
}
