package smartctl

import (
	"bytes"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
)

// maxTargets bounds a list of devices: the largest controllers known take 240 drives.
const maxTargets = 1024

// parseScan reads the device list of smartctl --scan --json. The key "devices" is
// missing when there are none. Name and type together are the key of a device; a pair
// that comes twice counts once. What could not be passed back as an argument is left
// out with a note. The error is ErrProtocol.
func parseScan(data []byte) (targets []target, notes []string, err error) {
	start := bytes.IndexByte(data, '{')
	if start < 0 {
		return nil, nil, drivers.Protocol("device list", data, "a JSON document")
	}
	var doc struct {
		Smartctl *struct{} `json:"smartctl"`
		Format   []number  `json:"json_format_version"`
		Devices  []struct {
			Name text `json:"name"`
			Type text `json:"type"`
		} `json:"devices"`
	}
	if err := decode(data[start:], &doc); err != nil {
		return nil, nil, err
	}
	if doc.Smartctl == nil && doc.Format == nil && doc.Devices == nil {
		return nil, nil, drivers.Protocol("device list", data, "a document of smartctl")
	}
	seen := map[target]bool{}
	for _, dev := range doc.Devices {
		t := target{string(dev.Name), string(dev.Type)}
		switch {
		case !strings.HasPrefix(t.Name, "/") || strings.HasPrefix(t.Type, "-") || strings.ContainsRune(t.Name+t.Type, 0):
			notes = append(notes, "scan lists "+drivers.Quote([]byte(t.String()))+", which is no device")
		case len(targets) == maxTargets:
			return targets, append(notes, "scan lists more devices than can be read"), nil
		case !seen[t]:
			seen[t] = true
			targets = append(targets, t)
		}
	}
	return targets, notes, nil
}

// scanMessages is what smartctl said beside an empty list, as ": …", or nothing.
func scanMessages(data []byte) string {
	doc, err := parseDocument(data)
	if err != nil || doc.complaints() == "" {
		return ""
	}
	return ": " + doc.complaints()
}
