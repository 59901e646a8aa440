package hidups

import (
	"embed"
	"encoding/hex"
	"fmt"
	"strings"
)

// Model is a kind of unit: what it says of itself on the bus and how it misbehaves.
type Model struct {
	Name                      string // for Models
	Vendor, Product           uint16 // USB ids
	Release                   uint16 // bcdDevice
	Manufacturer, Text        string // USB strings
	ReportDescriptor          []byte
	Volts, Watts, Battery     float64 // nominal: mains, what it can carry, battery; see Config
	LowTransfer, HighTransfer float64 // volts; 0 means 20 % below and 15 % above Volts
	BatteryVoltsFactor        float64 // by which the battery voltage is wrong; 0 means 1
	FrequencyFactor           float64 // by which frequencies are wrong; 0 means 1
	ExtraBytes                int     // by which each report is longer than declared
	RestartsWithoutMains      bool    // a DelayBeforeStartup above 0 switches the output on though the mains are away
	LeavesBusAtTransfer       bool    // disappears for Config.Gap whenever the mains go or return
	NoInputReports            bool    // says nothing without being asked
}

//go:embed descriptors/*.hex
var descriptors embed.FS

// Models are the units there are, Standard first.
func Models() []Model { return []Model{Standard(), BackUPS(), CyberPower(), Santak()} }

// Standard is a unit as the specification has it, with ids that nobody sells anything
// under: those that pid.codes keeps for tests.
func Standard() Model {
	return Model{
		Name: "standard", Vendor: 0x1209, Product: 0x0001, Release: 0x0100,
		Manufacturer: "dodai", Text: "Simulated UPS 600", ReportDescriptor: mustLoad("standard"),
	}
}

// BackUPS is an APC Back-UPS RS 1000G: hundredths of volts, voltages that lie outside the
// limits it declares, and the firmware in the product's name.
func BackUPS() Model {
	return Model{
		Name: "backups", Vendor: 0x051d, Product: 0x0002, Release: 0x0090,
		Manufacturer: "American Power Conversion", Text: "Back-UPS RS 1000G FW:868.L3 -P.D USB FW:L3",
		ReportDescriptor: mustLoad("backups-rs1000g"),
		Volts:            120, Watts: 600, Battery: 24, LowTransfer: 88, HighTransfer: 139,
	}
}

// CyberPower is an EC850LCD: the battery voltage too high by half, delays in whole
// minutes, so that less than one means now, off the bus for a moment at each transfer, and
// on again without mains when a time is given.
func CyberPower() Model {
	return Model{
		Name: "cyberpower", Vendor: 0x0764, Product: 0x0501, Release: 0x0001,
		Manufacturer: "CPS", Text: "EC850LCD", ReportDescriptor: mustLoad("ec850lcd"), Volts: 120, Watts: 450, Battery: 12,
		BatteryVoltsFactor: 1.5, LeavesBusAtTransfer: true, RestartsWithoutMains: true,
	}
}

// Santak is a TG-BOX 850 of the MGE and Eaton family: status without an Input report's
// charge, whole volts, half of everything on a vendor's page.
func Santak() Model {
	return Model{
		Name: "santak", Vendor: 0x0463, Product: 0xffff, Release: 0x0100,
		Manufacturer: "EATON", Text: "SANTAK TG-BOX 850", ReportDescriptor: mustLoad("tgbox850"),
		Volts: 220, Watts: 850, Battery: 12, LowTransfer: 184, HighTransfer: 264,
	}
}

func mustLoad(name string) []byte {
	text, err := descriptors.ReadFile("descriptors/" + name + ".hex")
	if err != nil {
		panic(err) // a file that was built in
	}
	b, err := parseHex(string(text))
	if err != nil {
		panic(fmt.Sprintf("descriptors/%s.hex: %v", name, err))
	}
	return b
}

// parseHex reads hexadecimal digits; spaces mean nothing, and neither does what follows a #.
func parseHex(text string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	return hex.DecodeString(digits.String())
}
