package snmp

import "strings"

// families are what the driver can read, the makers' own branches first: for each
// variable the first family with a usable value wins.
var families = []*family{&powerNet, &mge, &xups, &cyberPower, &xppc, &dell, &rfc1628}

// recognised are devices the driver knows but cannot read on its own; those with RFC
// 1628 beside their own branch are read through that. key is an object that tells the
// device from others of its maker; empty: the prefix of sysObjectID is enough.
// Sources: the makers' MIBs and enterprise numbers (IANA).
var recognised = []struct{ prefix, key, what string }{
	{"1.3.6.1.4.1.318", "1.3.6.1.4.1.318.1.1.8.1.5.0", "APC rack transfer switch"},
	{"1.3.6.1.4.1.318", "1.3.6.1.4.1.318.1.1.12.1.5.0", "APC rack PDU"},
	{"1.3.6.1.4.1.318", "1.3.6.1.4.1.318.1.1.26.2.1.8.1", "APC rack PDU (rPDU2)"},
	{"1.3.6.1.4.1.318", "1.3.6.1.4.1.318.1.1.4.1.4.0", "APC switched PDU"},
	{"1.3.6.1.4.1.318.1.3.4", "", "APC rack PDU"},
	{"1.3.6.1.4.1.318.1.3.32", "", "APC rack transfer switch"},
	{"1.3.6.1.4.1.534.6.6", "", "Eaton ePDU"},
	{"1.3.6.1.4.1.534.10", "", "Eaton ATS"},
	{"1.3.6.1.4.1.534", "", "Eaton UPS (XUPS)"},
	{"1.3.6.1.4.1.705", "", "Eaton/MGE UPS"},
	{"1.3.6.1.4.1.3808.1.1.3", "", "CyberPower PDU"},
	{"1.3.6.1.4.1.3808.1.1.6", "", "CyberPower PDU"},
	{"1.3.6.1.4.1.3808", "", "CyberPower UPS"},
	{"1.3.6.1.4.1.850", "", "Tripp Lite device"},
	{"1.3.6.1.4.1.476.1.42", "", "Liebert/Vertiv device"},
	{"1.3.6.1.4.1.21239", "", "Geist/Vertiv PDU"},
	{"1.3.6.1.4.1.4555", "", "Socomec UPS"},
	{"1.3.6.1.4.1.2254.2", "", "Delta UPS"},
	{"1.3.6.1.4.1.2011.6.174", "", "Huawei UPS"},
	{"1.3.6.1.4.1.5491", "", "Riello UPS"},
	{"1.3.6.1.4.1.935", "", "Megatec/Phoenixtec UPS"},
	{"1.3.6.1.4.1.674.10902.2", "", "Dell UPS"},
	{"1.3.6.1.4.1.13742", "", "Raritan PDU"},
	{"1.3.6.1.4.1.1718", "", "Server Technology PDU"},
	{"1.3.6.1.4.1.232.165", "", "HPE PDU or UPS"},
}

// hasPrefix reports whether oid lies at or below prefix, by whole numbers.
func hasPrefix(oid, prefix string) bool {
	rest, ok := strings.CutPrefix(oid, prefix)
	return ok && (rest == "" || rest[0] == '.')
}

// recognise names a device that cannot be read, empty where it is not known: by an
// object of its own that answered, else by the longest prefix of its sysObjectID.
func recognise(sysObjectID string, has func(oid string) bool) string {
	what, best := "", 0
	for _, r := range recognised {
		if r.key != "" && has(r.key) {
			return r.what
		}
		if r.key == "" && hasPrefix(sysObjectID, r.prefix) && len(r.prefix) > best {
			what, best = r.what, len(r.prefix)
		}
	}
	return what
}
