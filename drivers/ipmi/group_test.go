package ipmi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// TestWhatIsASupply: which sensors and records tell that there is one, in which order
// they come, and which are about the same.
func TestWhatIsASupply(t *testing.T) {
	parts := func(n int) (list []entity) {
		for i := range n {
			list = append(list, entity{10, byte(i + 1)})
		}
		return list
	}
	ok := func(instance byte, name string) observation { return status(instance, name, 1, 0x7f) }
	other := func(id byte, name string, typ byte) observation {
		o := separatePresence(entity{id, 1}, name, readPresence, 1) // absent
		o.typ = typ
		return o
	}
	for _, tt := range []struct {
		name  string
		obs   []observation
		assoc []association
		want  string
	}{
		{"by entity", []observation{ok(3, "C Status"), ok(1, "A Status"), ok(2, "B Status")}, nil, "10.1 A ok, 10.2 B ok, 10.3 C ok"},
		{"by its watts", []observation{value(entity{10, 4}, "PIN", unitWatts, 50)}, nil, "10.4 PSU 1 unknown"},
		{"not by its volts", []observation{value(entity{10, 4}, "VIN", unitVolts, 230)}, nil, ""},
		{"not by the board's watts", []observation{value(entity{7, 1}, "Power", unitWatts, 50)}, nil, ""},
		{"by its presence", []observation{separatePresence(entity{10, 2}, "P", readSpecific, 2)}, nil, "10.2 PSU 1 absent"},
		{"not by another part's presence", []observation{separatePresence(entity{3, 2}, "P", readSpecific, 2)}, nil, ""},
		{"by an association of eight", nil, []association{{entity{0x13, 1}, parts(8)}}, "10.1 PSU 1 unknown, 10.2 PSU 2 unknown, 10.3 PSU 3 unknown, 10.4 PSU 4 unknown, 10.5 PSU 5 unknown, 10.6 PSU 6 unknown, 10.7 PSU 7 unknown, 10.8 PSU 8 unknown"},
		{"not by one that spans every number", nil, []association{{entity{0x13, 1}, parts(9)}}, ""},
		{"not by one of other parts", nil, []association{{entity{0x13, 1}, []entity{{20, 1}}}}, ""},
		{"two sensors about one, by the same name", []observation{ok(1, "Status"), status(1, "Status", 9, 0x7f)}, nil, "10.1 PSU 1 input_lost"},
		{"two sensors about one, of which one knows presence", []observation{ok(1, "PS1 Status"), status(1, "PS1 Fault", 2, 0x7e)}, nil, "10.1 PS1 failed"},
		{"absent by name", []observation{status(1, "PS1 Status", 0, 0x7e), other(7, "ps1_PRESENCE", typePresence)}, nil, "10.1 PS1 absent"},
		{"absent by another name", []observation{status(1, "PS1 Status", 0, 0x7e), other(7, "PS2 Presence", typePresence)}, nil, "10.1 PS1 ok"},
		{"a name that is only presence", []observation{status(1, "Status", 0, 0x7e), other(7, "Presence", typePresence)}, nil, "10.1 PSU 1 ok"},
		{"not a sensor of presence", []observation{status(1, "PS1 Status", 0, 0x7e), other(7, "PS1 Presence", typeUnit)}, nil, "10.1 PS1 ok"},
		{"its own sensor knows better", []observation{status(1, "PS1 Status", 0, 0x7e), separatePresence(entity{10, 1}, "P", readSpecific, 1), other(7, "PS1 Presence", typePresence)}, nil, "10.1 PS1 ok"},
	} {
		var got []string
		for _, p := range decide(tt.obs, tt.assoc, nil).PSUs {
			got = append(got, fmt.Sprintf("%s %s %s", p.ID, p.Name, p.State))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
	}
}

func TestRedundancySensors(t *testing.T) {
	one := status(1, "PS1 Status", 1, 0x7f)
	for _, tt := range []struct {
		name string
		obs  []observation
		want string
	}{
		{"nothing at all", nil, ""},
		{"counted", []observation{one}, "system none"},
		{"a silent sensor", []observation{one, unavailable(redundancy(entity{7, 1}, typeUnit, 1))}, "system none"},
		{"a silent sensor and no supply", []observation{unavailable(redundancy(entity{7, 1}, typeUnit, 1))}, "system unknown"},
		{"one that speaks", []observation{one, redundancy(entity{7, 1}, typeSupply, 1)}, "system full"},
		{"one of two speaks", []observation{one, redundancy(entity{7, 1}, typeSupply, 1), unavailable(redundancy(entity{7, 2}, typeUnit, 1))}, "PS Redundancy full, PS Redundancy unknown"},
		{"of fans", []observation{one, redundancy(entity{7, 1}, 4, 1)}, "system none"},
	} {
		var got []string
		for _, r := range decide(tt.obs, nil, nil).Redundancy {
			got = append(got, fmt.Sprintf("%s %s", r.Domain, r.State))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, text, tt.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"bmc": "bmc:623", "bmc:7": "bmc:7", "192.0.2.1": "192.0.2.1:623", "2001:db8::1": "[2001:db8::1]:623", "[2001:db8::1]": "[2001:db8::1]:623", "[2001:db8::1]:7": "[2001:db8::1]:7",
		":623": "", "bmc:": "", "bmc:1:2": "", "x::y": "",
	} {
		if got, err := addressOption(in); got != want || (err == nil) != (want != "") {
			t.Errorf("address %q is %q, %v: want %q", in, got, err, want)
		}
	}
}

func TestAccount(t *testing.T) {
	for name, want := range map[string]types.PrivilegeLevel{"user": types.PrivilegeLevelUser, "operator": types.PrivilegeLevelOperator, "administrator": types.PrivilegeLevelAdministrator} {
		d, err := Factory.Open("b", map[string]string{"address": "b", "privilege": name, "user": strings.Repeat("u", 16), "password": strings.Repeat("p", 20)}, nil)
		if err != nil || d.(*driver).who.privilege != want || len(d.(*driver).who.suites) != 2 {
			t.Errorf("privilege %s: %v, %v: want %v and two suites", name, d, err, want)
		}
	}
}

// TestErrors: which of them cost the session, and what an operator is told.
func TestErrors(t *testing.T) {
	d := &driver{device: "b"}
	for _, tt := range []struct {
		err  error
		lost bool
		is   error
		hint string
	}{
		{codeBusy, false, drivers.ErrProtocol, ""},
		{codePrivilege, false, drivers.ErrDenied, "check user, password and privilege"},
		{fmt.Errorf("%w: none", drivers.ErrNoData), false, drivers.ErrNoData, ""},
		{drivers.Unreachable(errNoAnswer), true, drivers.ErrUnreachable, ""},
		{errors.New("odd"), true, drivers.ErrProtocol, ""},
		{fmt.Errorf("%w: %w", drivers.ErrDenied, errRefused), true, drivers.ErrDenied, "set cipher to a suite"},
	} {
		e, _ := errors.AsType[*drivers.Error](d.fail("ask", tt.err))
		if lost(tt.err) != tt.lost || !errors.Is(e, tt.is) || e.Driver != "ipmi" || e.Device != "b" || e.Op != "ask" || !strings.HasPrefix(e.Hint, tt.hint) || (tt.hint == "") != (e.Hint == "") {
			t.Errorf("%v: lost %v, %+v: want lost %v, %v, hint %q", tt.err, lost(tt.err), e, tt.lost, tt.is, tt.hint)
		}
	}
}

func TestDeviceID(t *testing.T) {
	for in, want := range map[string]string{"\x20\x01\x84\x02": "4.02", "\x20\x01\x02\x45\x02": "2.45", "\x20\x01\x02": ""} {
		if got := parseDeviceID([]byte(in)); got != (dodai.Device{CardFirmware: want}) {
			t.Errorf("device id % x: %+v, want firmware %q", in, got, want)
		}
	}
}

// TestFRUSerial: the product's number goes before the board's.
func TestFRUSerial(t *testing.T) {
	area := func(skip int, fields ...string) []byte {
		b := append([]byte{1, 0, 25}, make([]byte, skip-3)...)
		for _, f := range fields {
			b = append(append(b, 0xc0|byte(len(f))), f...)
		}
		b = append(b, 0xc1)
		return append(b, make([]byte, (8-len(b)%8)%8)...)
	}
	board, product := area(6, "MM", "PP", "BOARD1"), area(3, "MM", "PP", "NN", "VV", "PROD1")
	image := func(boardAt, productAt byte, body ...byte) []byte {
		head := []byte{1, 0, 0, boardAt, productAt, 0, 0}
		return append(append(head, -sum(head)), body...)
	}
	both := append(append([]byte{}, board...), product...)
	second := byte(1 + len(board)/8)
	short := image(0, 1, product[:len(product)-6]...)
	for name, tt := range map[string]struct {
		image []byte
		want  string
	}{
		"both":              {image(1, second, both...), "PROD1"},
		"board alone":       {image(1, 0, both...), "BOARD1"},
		"neither":           {image(0, 0, both...), ""},
		"beyond the end":    {image(0, 9, board...), ""},
		"a nameless one":    {image(1, second, append(append([]byte{}, board...), area(3, "MM", "PP", "NN", "VV", "")...)...), "BOARD1"},
		"too few fields":    {image(0, 1, area(3, "MM", "PP")...), ""},
		"cut short":         {short, ""},
		"of another format": {image(0, 1, append([]byte{2}, product[1:]...)...), ""},
	} {
		if got, err := parseFRU(tt.image); err != nil || got.serial != tt.want {
			t.Errorf("%s: serial %q, %v: want %q", name, got.serial, err, tt.want)
		}
	}
}
