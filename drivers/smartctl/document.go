package smartctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
)

// number is a JSON number that may be absent. A value of another type is absent too,
// so that one odd key costs that key and not the document. smartctl writes values
// beyond 2^53 as numbers as well; none of those is a count the rules use.
type number struct {
	v  float64
	ok bool
}

func (n *number) UnmarshalJSON(data []byte) error {
	*n = number{}
	text := string(bytes.Trim(bytes.TrimSpace(data), `"`))
	if v, err := strconv.ParseFloat(text, 64); err == nil && v >= -1e300 && v <= 1e300 && len(text) > 0 && strings.Trim(text, "+-.0123456789eE") == "" {
		*n = number{v, true}
	}
	return nil
}

// in returns the number when it lies from lo to hi.
func (n number) in(lo, hi float64) (float64, bool) {
	return n.v, n.ok && n.v >= lo && n.v <= hi
}

// positive is the count, where there is one above 0 that can be one: vendors pack
// several counters into one raw value, which then exceeds any count.
func (n number) positive() (float64, bool) { return n.in(1, 1<<32) }

// text is a JSON string; another type is empty.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(strings.TrimSpace(s))
	}
	return nil
}

// flag is a JSON truth value that may be absent.
type flag struct{ set, ok bool }

func (f *flag) UnmarshalJSON(data []byte) error {
	*f = flag{set: string(data) == "true", ok: string(data) == "true" || string(data) == "false"}
	return nil
}

// document is what of smartctl's JSON the driver uses. Key names changed little from
// 7.0 to 7.5; each is optional.
type document struct {
	Smartctl struct {
		ExitStatus number    `json:"exit_status"`
		Messages   []message `json:"messages"`
	} `json:"smartctl"`
	Device struct {
		Type     text `json:"type"`
		Protocol text `json:"protocol"`
	} `json:"device"`

	ModelName   text `json:"model_name"`
	SCSIModel   text `json:"scsi_model_name"`
	SCSIVendor  text `json:"scsi_vendor"`
	SCSIProduct text `json:"scsi_product"`
	Serial      text `json:"serial_number"`
	Firmware    text `json:"firmware_version"`
	SCSIRev     text `json:"scsi_revision"`
	Capacity    struct {
		Bytes number `json:"bytes"`
	} `json:"user_capacity"`
	NVMeCapacity number `json:"nvme_total_capacity"`
	Rotation     number `json:"rotation_rate"` // 0: an SSD

	Status struct {
		Passed flag `json:"passed"`
	} `json:"smart_status"`
	Temperature struct {
		Current   number `json:"current"`
		DriveTrip number `json:"drive_trip"`
	} `json:"temperature"`
	PowerOn struct {
		Hours number `json:"hours"`
	} `json:"power_on_time"`

	ATA struct {
		Table []attribute `json:"table"`
	} `json:"ata_smart_attributes"`
	ATAErrors struct {
		Summary  counted `json:"summary"`
		Extended counted `json:"extended"`
	} `json:"ata_smart_error_log"`
	ATATests struct {
		Standard ataTests `json:"standard"`
		Extended ataTests `json:"extended"`
	} `json:"ata_smart_self_test_log"`
	ATAStatistics struct {
		Pages []statisticsPage `json:"pages"`
	} `json:"ata_device_statistics"`

	NVMe      *nvmeLog `json:"nvme_smart_health_information_log"`
	NVMeTests struct {
		Table []nvmeTest `json:"table"`
	} `json:"nvme_self_test_log"`

	SCSIDefects number `json:"scsi_grown_defect_list"`
	SCSIErrors  *struct {
		Read  scsiErrors `json:"read"`
		Write scsiErrors `json:"write"`
	} `json:"scsi_error_counter_log"`
	SCSIEndurance number `json:"scsi_percentage_used_endurance_indicator"`

	EnduranceUsed struct {
		Percent number `json:"current_percent"`
	} `json:"endurance_used"` // since 7.4
	SpareAvailable struct {
		Percent   number `json:"current_percent"`
		Threshold number `json:"threshold_percent"`
	} `json:"spare_available"` // since 7.4

	scsiTests []scsiTest
}

type message struct {
	Text     text `json:"string"`
	Severity text `json:"severity"`
}

type attribute struct {
	ID         number `json:"id"`
	Name       text   `json:"name"`
	Value      number `json:"value"`
	WhenFailed text   `json:"when_failed"` // "now", "past" or empty
	Flags      struct {
		Prefailure flag `json:"prefailure"`
	} `json:"flags"`
	Raw struct {
		Value number `json:"value"`
		Text  text   `json:"string"`
	} `json:"raw"`
}

type counted struct {
	Count number `json:"count"`
}

type statisticsPage struct {
	Table []struct {
		Name  text   `json:"name"`
		Value number `json:"value"`
	} `json:"table"`
}

type valued struct {
	Value number `json:"value"`
}

type ataTests struct {
	Table []struct {
		Type   valued `json:"type"`
		Status struct {
			Value  number `json:"value"`
			Passed flag   `json:"passed"`
		} `json:"status"`
	} `json:"table"`
}

type nvmeTest struct {
	Code   valued `json:"self_test_code"`
	Result valued `json:"self_test_result"`
}

type scsiTest struct {
	Code   valued `json:"code"`
	Result valued `json:"result"`
}

type nvmeLog struct {
	Warning    number `json:"critical_warning"`
	Spare      number `json:"available_spare"`
	SpareLimit number `json:"available_spare_threshold"`
	Used       number `json:"percentage_used"`
	MediaErrs  number `json:"media_errors"`
	Temp       number `json:"temperature"`
	Hours      number `json:"power_on_hours"`
}

type scsiErrors struct {
	Uncorrected number `json:"total_uncorrected_errors"`
}

// maxSCSITests is how many results a SCSI self-test log holds (SPC, log page 10h).
const maxSCSITests = 20

// parseDocument reads what smartctl printed. Versions before 7.3 could print a line of
// plain text first. The error is ErrProtocol.
func parseDocument(data []byte) (*document, error) {
	start := bytes.IndexByte(data, '{')
	if start < 0 {
		return nil, drivers.Protocol("output", data, "a JSON document")
	}
	doc := &document{}
	if err := decode(data[start:], doc); err != nil {
		return nil, err
	}
	keys := map[string]json.RawMessage{}
	if err := decode(data[start:], &keys); err != nil {
		return nil, err
	}
	for i := range maxSCSITests {
		raw, ok := keys["scsi_self_test_"+strconv.Itoa(i)]
		if !ok {
			break
		}
		test := scsiTest{}
		if decode(raw, &test) == nil {
			doc.scsiTests = append(doc.scsiTests, test)
		}
	}
	return doc, nil
}

// decode reads JSON and lets a value of another type than expected pass as absent.
func decode(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); odd {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: output %s: want a JSON document: %w", drivers.ErrProtocol, drivers.Quote(data), err)
	}
	return nil
}

// complaints are smartctl's messages that are more than information, or all when there
// is no such one.
func (doc *document) complaints() string {
	var bad, all []string
	for _, m := range doc.Smartctl.Messages {
		if m.Text == "" {
			continue
		}
		all = append(all, string(m.Text))
		if m.Severity == "error" {
			bad = append(bad, string(m.Text))
		}
	}
	if len(bad) == 0 {
		bad = all
	}
	if len(bad) > 2 {
		bad = bad[:2] // the rest lists what would have been valid
	}
	return strings.Join(bad, "; ")
}

// asleep reports that smartctl left the disk alone because it sleeps.
func (doc *document) asleep() bool {
	for _, m := range doc.Smartctl.Messages {
		if strings.HasPrefix(string(m.Text), "Device is in ") && strings.Contains(string(m.Text), " mode, exit(") {
			return true
		}
	}
	return false
}
