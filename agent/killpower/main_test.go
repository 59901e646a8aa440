package killpower_test

import (
	"os"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

func TestMain(m *testing.M) { os.Exit(peer.Run(m)) }
