package e2e

import "testing"

func remoteFaults(t *testing.T, d *daemon) []planted { return nil }
func remoteHealthy(t *testing.T, d *daemon) []string { return nil }
