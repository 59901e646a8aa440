package smartctl

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// changed is a document of testdata with keys replaced: each change is a JSON object
// that is merged into it; null takes a key away.
func changed(t testing.TB, file string, changes ...string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		with := map[string]any{}
		if err := json.Unmarshal([]byte(c), &with); err != nil {
			t.Fatalf("change %s: %v", c, err)
		}
		merge(doc, with)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func merge(doc, with map[string]any) {
	for key, v := range with {
		inner, isMap := v.(map[string]any)
		have, had := doc[key].(map[string]any)
		switch {
		case v == nil:
			delete(doc, key)
		case isMap && had:
			merge(have, inner)
		default:
			doc[key] = v
		}
	}
}

// attr is a change that leaves one attribute in the table.
func attr(id int, name, raw string) string {
	return fmt.Sprintf(`{"ata_smart_attributes":{"table":[{"id":%d,"name":%q,"value":100,"when_failed":"","raw":{"value":0,"string":%q}}]}}`, id, name, raw)
}

func failedAttr(when string, prefail bool) string {
	return fmt.Sprintf(`{"ata_smart_attributes":{"table":[{"id":7,"name":"Seek_Error_Rate","value":1,"when_failed":%q,"flags":{"prefailure":%v},"raw":{"value":1,"string":"1"}}]}}`, when, prefail)
}

func ataTest(kind, status int) string {
	return fmt.Sprintf(`{"type":{"value":%d},"status":{"value":%d}}`, kind, status)
}

func ataLog(tests ...string) string {
	return `{"ata_smart_self_test_log":{"standard":{"table":[` + strings.Join(tests, ",") + `]}}}`
}

func nvmeTests(tests ...string) string {
	return `{"nvme_self_test_log":{"table":[` + strings.Join(tests, ",") + `]}}`
}

// TestVerdict has one row per rule, at its limits.
func TestVerdict(t *testing.T) {
	const ok, notice, warning, critical, unread = dodai.VerdictOK, dodai.VerdictNotice, dodai.VerdictWarning, dodai.VerdictCritical, dodai.VerdictUnreadable
	for _, c := range []struct {
		name, file string
		change     []string
		exit       int
		want       dodai.Verdict
		reason     string // part of the first one
	}{
		{"healthy ATA", "ata.json", nil, 0, ok, ""},
		{"healthy NVMe", "nvme.json", nil, 0, ok, ""},
		{"healthy SAS", "sas.json", nil, 0, ok, ""},

		{"exit bit 0", "ata.json", nil, 1, unread, "exit status 1"},
		{"exit bit 1", "ata.json", nil, 2, unread, "exit status 2"},
		{"exit bit 1, in the document alone", "ata.json", []string{`{"smartctl":{"exit_status":2}}`}, 0, unread, "exit status 2"},
		{"exit bit 2", "ata.json", nil, 4, ok, ""},
		{"exit bit 3", "ata.json", nil, 8, critical, "failing"},
		{"exit bit 4", "ata.json", nil, 16, critical, "at its threshold"},
		{"exit bit 5", "ata.json", nil, 32, notice, "in the past"},
		{"exit bit 6", "ata.json", nil, 64, notice, "error log"},
		{"exit bit 7", "ata.json", nil, 128, warning, "self-test log"},
		{"all harmless bits", "ata.json", nil, 4 | 32 | 64, notice, ""},

		{"flag failed", "ata.json", []string{`{"smart_status":{"passed":false}}`}, 0, critical, "failing"},
		{"flag absent, counters good", "ata.json", []string{`{"smart_status":null}`}, 0, ok, ""},
		{"flag absent, no counters", "ata.json", []string{`{"smart_status":null,"ata_smart_attributes":null,"temperature":{"current":0}}`}, 4, unread, "logical volume"},
		{"flag alone", "ata.json", []string{`{"ata_smart_attributes":null}`}, 0, ok, ""},
		{"pre-fail now", "ata.json", []string{failedAttr("now", true)}, 0, critical, "7 seek_error_rate"},
		{"old-age now", "ata.json", []string{failedAttr("now", false)}, 0, notice, "7 seek_error_rate"},
		{"past", "ata.json", []string{failedAttr("past", true)}, 0, notice, "in the past"},

		{"1 reallocated", "ata.json", []string{attr(5, "Reallocated_Sector_Ct", "1")}, 0, notice, "5 reallocated_sector_ct 1"},
		{"10 reallocated", "ata.json", []string{attr(5, "Reallocated_Sector_Ct", "10")}, 0, notice, ""},
		{"11 reallocated", "ata.json", []string{attr(5, "Retired_Block_Count", "11")}, 0, warning, ""},
		{"reallocated, packed", "ata.json", []string{attr(5, "Reallocated_Sector_Ct", "3 (0 9)")}, 0, notice, "5 reallocated_sector_ct 3"},
		{"spin retries", "ata.json", []string{attr(10, "Spin_Retry_Count", "1")}, 0, warning, ""},
		{"reported uncorrectable", "ata.json", []string{attr(187, "Reported_Uncorrect", "1")}, 0, warning, "187 reported_uncorrect 1"},
		{"9 pending", "ata.json", []string{attr(197, "Current_Pending_Sector", "9")}, 0, warning, ""},
		{"10 pending", "ata.json", []string{attr(197, "Current_Pending_Sector", "10")}, 0, critical, ""},
		{"10 offline uncorrectable", "ata.json", []string{attr(198, "Offline_Uncorrectable", "10")}, 0, critical, ""},
		{"command timeouts", "ata.json", []string{attr(188, "Command_Timeout", "65537")}, 0, ok, ""},
		{"197 of another meaning", "ata.json", []string{attr(197, "Erase_Cycles", "5000")}, 0, ok, ""},
		{"5 beyond any count", "ata.json", []string{attr(5, "Reallocated_Sector_Ct", "53416508262463")}, 0, ok, ""},
		{"10000 CRC errors in 24000 h", "ata.json", []string{attr(199, "UDMA_CRC_Error_Count", "10000")}, 0, notice, "cable"},
		{"10001 CRC errors in 24000 h", "ata.json", []string{attr(199, "UDMA_CRC_Error_Count", "10001")}, 0, warning, "10 a day"},
		{"CRC errors, hours unknown", "ata.json", []string{attr(199, "UDMA_CRC_Error_Count", "10001"), `{"power_on_time":null}`}, 0, notice, ""},
		{"old errors in the log", "ata.json", []string{`{"ata_smart_error_log":{"summary":{"count":12}}}`}, 64, notice, "12 entries"},

		{"media errors", "nvme.json", []string{`{"nvme_smart_health_information_log":{"media_errors":1}}`}, 0, warning, "media_errors 1"},
		{"69 % worn", "nvme.json", []string{`{"nvme_smart_health_information_log":{"percentage_used":69}}`}, 0, ok, ""},
		{"70 % worn", "nvme.json", []string{`{"nvme_smart_health_information_log":{"percentage_used":70}}`}, 0, notice, "70 %"},
		{"90 % worn", "nvme.json", []string{`{"nvme_smart_health_information_log":{"percentage_used":90}}`}, 0, warning, "90 %"},
		{"130 % worn", "nvme.json", []string{`{"nvme_smart_health_information_log":{"percentage_used":130}}`}, 0, warning, "130 %"},
		{"spare at its threshold", "nvme.json", []string{`{"nvme_smart_health_information_log":{"available_spare":10}}`}, 0, ok, ""},
		{"spare below", "nvme.json", []string{`{"nvme_smart_health_information_log":{"available_spare":9}}`}, 0, critical, "spare 9 %"},
		{"spare without threshold", "nvme.json", []string{`{"nvme_smart_health_information_log":{"available_spare":0,"available_spare_threshold":0}}`}, 0, ok, ""},
		{"spare bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":1}}`}, 0, critical, ""},
		{"temperature bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":2}}`}, 0, warning, "temperature"},
		{"degraded bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":4}}`}, 0, critical, ""},
		{"read-only bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":8}}`}, 0, critical, ""},
		{"power-loss bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":16}}`}, 0, critical, "power loss"},
		{"persistent memory bit", "nvme.json", []string{`{"nvme_smart_health_information_log":{"critical_warning":32}}`}, 0, critical, ""},

		{"10 grown defects", "sas.json", []string{`{"scsi_grown_defect_list":10}`}, 0, notice, "10 grown"},
		{"11 grown defects", "sas.json", []string{`{"scsi_grown_defect_list":11}`}, 0, warning, ""},
		{"1000 grown defects, all else good", "sas.json", []string{`{"scsi_grown_defect_list":1000}`}, 0, warning, ""},
		{"uncorrected read", "sas.json", []string{`{"scsi_error_counter_log":{"read":{"total_uncorrected_errors":1}}}`}, 0, warning, "1 read"},
		{"uncorrected, 50 defects", "sas.json", []string{`{"scsi_grown_defect_list":50,"scsi_error_counter_log":{"write":{"total_uncorrected_errors":1}}}`}, 0, warning, ""},
		{"uncorrected, 51 defects", "sas.json", []string{`{"scsi_grown_defect_list":51,"scsi_error_counter_log":{"write":{"total_uncorrected_errors":1}}}`}, 0, critical, "1 write"},
		{"SAS SSD worn", "sas.json", []string{`{"rotation_rate":0,"scsi_percentage_used_endurance_indicator":95}`}, 0, warning, "95 %"},

		{"HDD at 60", "ata.json", []string{`{"temperature":{"current":60}}`}, 0, ok, ""},
		{"HDD at 61", "ata.json", []string{`{"temperature":{"current":61}}`}, 0, warning, "61 °C"},
		{"SSD at 70", "nvme.json", []string{`{"temperature":{"current":70}}`}, 0, ok, ""},
		{"SSD at 71", "nvme.json", []string{`{"temperature":{"current":71}}`}, 0, warning, ""},
		{"above the drive's own limit", "sas.json", []string{`{"temperature":{"current":56,"drive_trip":55}}`}, 0, warning, "above 55"},
		{"limit 0 is none", "sas.json", []string{`{"temperature":{"current":35,"drive_trip":0}}`}, 0, ok, ""},

		{"long test failed", "ata.json", []string{ataLog(ataTest(1, 0), ataTest(2, 0x79))}, 0, critical, "long self-test"},
		{"long test good since", "ata.json", []string{ataLog(ataTest(2, 0), ataTest(2, 0x79))}, 0, ok, ""},
		{"long test aborted since", "ata.json", []string{ataLog(ataTest(2, 0x19), ataTest(2, 0x79))}, 0, critical, ""},
		{"short test failed", "ata.json", []string{ataLog(ataTest(1, 0x79), ataTest(2, 0))}, 0, warning, "1 short"},
		{"short test failed before the long one", "ata.json", []string{ataLog(ataTest(2, 0), ataTest(1, 0x79))}, 0, ok, ""},
		{"both failed", "ata.json", []string{ataLog(ataTest(1, 0x79), ataTest(2, 0x79))}, 0, critical, "long"},
		{"NVMe long test failed", "nvme.json", []string{nvmeTests(`{"self_test_code":{"value":2},"self_test_result":{"value":7}}`)}, 0, critical, ""},
		{"NVMe long test aborted", "nvme.json", []string{nvmeTests(`{"self_test_code":{"value":2},"self_test_result":{"value":2}}`)}, 0, ok, ""},
		{"SCSI long test failed", "sas.json", []string{`{"scsi_self_test_0":{"code":{"value":6},"result":{"value":3}}}`}, 0, critical, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := judge(drivers.Output{Stdout: changed(t, c.file, c.change...), Exit: c.exit})
			if d.Verdict != c.want {
				t.Errorf("verdict %s, want %s; reasons %q", d.Verdict, c.want, d.Reasons)
			}
			if (c.want == ok) != (len(d.Reasons) == 0) || c.reason != "" && !strings.Contains(d.Reasons[0], c.reason) {
				t.Errorf("reasons %q, want %q first", d.Reasons, c.reason)
			}
		})
	}
}

// TestValues checks what else a disk tells.
func TestValues(t *testing.T) {
	got := judge(drivers.Output{Stdout: changed(t, "sas.json")})
	want := dodai.Disk{
		Model: "EXAMPLE SAS10K", Serial: "EX0003", Firmware: "A01", Protocol: "SCSI", Verdict: dodai.VerdictOK,
		TempC: new(38.0), PowerOnHours: new(int64(30000)), Capacity: new(int64(600127266816)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("disk (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		name, file, change string
		temp, hours, wear  any
	}{
		{"temperature 0", "ata.json", `{"temperature":{"current":0}}`, nil, int64(24000), nil},
		{"temperature no drive survives", "ata.json", `{"temperature":{"current":255}}`, nil, int64(24000), nil},
		{"temperature of another type", "ata.json", `{"temperature":{"current":"warm"}}`, nil, int64(24000), nil},
		{"temperature from the NVMe log", "nvme.json", `{"temperature":null}`, 41.0, int64(5000), 0.12},
		{"temperature in an attribute", "ata.json", `{"temperature":null,"ata_smart_attributes":{"table":[{"id":190,"name":"Airflow_Temperature_Cel","raw":{"value":1,"string":"29"}},{"id":194,"name":"Temperature_Celsius","raw":{"value":94489608226,"string":"34 (Min/Max 20/41)"}}]}}`, 34.0, int64(24000), nil},
		{"hours packed with minutes", "ata.json", `{"power_on_time":null}`, 34.0, int64(24000), nil},
		{"hours no drive lived", "ata.json", `{"power_on_time":{"hours":4294967295}}`, 34.0, nil, nil},
		{"wear of a disk that turns", "ata.json", `{"endurance_used":{"current_percent":50}}`, 34.0, int64(24000), nil},
		{"wear since 7.4", "ata.json", `{"rotation_rate":0,"endurance_used":{"current_percent":50}}`, 34.0, int64(24000), 0.5},
		{"wear in statistics", "ata.json", `{"rotation_rate":0,"ata_device_statistics":{"pages":[{"table":[{"name":"Percentage Used Endurance Indicator","value":7}]}]}}`, 34.0, int64(24000), 0.07},
		{"wear in an attribute", "ata.json", `{"rotation_rate":0,"ata_smart_attributes":{"table":[{"id":233,"name":"Media_Wearout_Indicator","value":55,"raw":{"value":0,"string":"0"}}]}}`, 34.0, int64(24000), 0.45},
		{"wear levelling of a Samsung", "ata.json", `{"model_name":"SAMSUNG EXAMPLE","rotation_rate":0,"ata_smart_attributes":{"table":[{"id":177,"name":"Wear_Leveling_Count","value":91,"raw":{"value":0,"string":"0"}}]}}`, 34.0, int64(24000), 0.09},
		{"wear levelling of another", "ata.json", `{"rotation_rate":0,"ata_smart_attributes":{"table":[{"id":177,"name":"Wear_Leveling_Count","value":1,"raw":{"value":0,"string":"0"}}]}}`, 34.0, int64(24000), nil},
		{"233 of another meaning", "ata.json", `{"rotation_rate":0,"ata_smart_attributes":{"table":[{"id":233,"name":"Flash_Writes_GiB","value":55,"raw":{"value":0,"string":"0"}}]}}`, 34.0, int64(24000), nil},
	} {
		d := judge(drivers.Output{Stdout: changed(t, c.file, c.change)})
		if deref(d.TempC) != c.temp || deref(d.PowerOnHours) != c.hours || deref(d.WearRatio) != c.wear {
			t.Errorf("%s: %v °C, %v h, wear %v: want %v, %v, %v", c.name, deref(d.TempC), deref(d.PowerOnHours), deref(d.WearRatio), c.temp, c.hours, c.wear)
		}
	}
}

// TestUnreadableOutput checks that what is no document never counts as healthy.
func TestUnreadableOutput(t *testing.T) {
	for name, out := range map[string]string{
		"nothing": "", "text": "smartctl: command not found\n", "half": `{"smartctl":{"exit_status":0},"smart_status":{"pas`,
		"noise inside": `{"smartctl":{"exit_status":0}, hahaha "smart_status":{"passed":true}}`, "a list": `[]`, "empty": `{}`, "null": `null`,
	} {
		if d := judge(drivers.Output{Stdout: []byte(out)}); d.Verdict != dodai.VerdictUnreadable || len(d.Reasons) != 1 || d.TempC != nil {
			t.Errorf("%s: %+v, want unreadable with a reason", name, d)
		}
	}
	stray := "  Pending defect count:0 Pending Defects\n" + string(changed(t, "sas.json"))
	if d := judge(drivers.Output{Stdout: []byte(stray)}); d.Verdict != dodai.VerdictOK {
		t.Errorf("a stray line before the document: %+v, want ok", d)
	}
	odd := changed(t, "ata.json", `{"device":"sda","smart_status":[],"temperature":7,"rotation_rate":"7200","model_name":3}`)
	if d := judge(drivers.Output{Stdout: odd}); d.Verdict != dodai.VerdictOK || d.Model != "" || d.Serial != "EX0001" {
		t.Errorf("values of other types: %+v, want the rest read", d)
	}
}

// TestStandby checks how sleeping is told from broken.
func TestStandby(t *testing.T) {
	const asleep = `{"smartctl":{"messages":[{"string":"Device is in STANDBY mode, exit(3)","severity":"information"}],"exit_status":3},"device":{"type":"sat","protocol":"ATA"}}`
	const bare = `{"smartctl":{"exit_status":3},"device":{"type":"sat","protocol":"ATA"},"model_name":"EXAMPLE"}`
	const broken = `{"smartctl":{"messages":[{"string":"Smartctl open device: /dev/sda failed: No such device","severity":"error"}],"exit_status":3}}`
	for _, c := range []struct {
		name, doc string
		exit      int
		want      bool
	}{
		{"says so", asleep, 3, true}, {"with smartctl's own exit status", asleep, 2, true}, {"by exit status alone", bare, 3, true},
		{"error", broken, 3, false}, {"whole document", string(changed(t, "ata.json")), 3, false}, {"another exit status", bare, 7, false},
	} {
		d := judge(drivers.Output{Stdout: []byte(c.doc), Exit: c.exit})
		if d.Standby != c.want || d.Verdict != dodai.VerdictUnreadable {
			t.Errorf("%s: standby %v, verdict %s: want %v and unreadable", c.name, d.Standby, d.Verdict, c.want)
		}
	}
}

func TestLeadingNumber(t *testing.T) {
	for in, want := range map[string]any{
		"0": 0.0, "8 (0 2)": 8.0, "2725 (151 234 0)": 2725.0, "24000h+12m+01.5s": 24000.0, "34 (Min/Max 20/40)": 34.0,
		"": nil, "-1": nil, "0x0000": nil, "0/0": nil, "n/a": nil, "1234567890123456": nil,
	} {
		got, ok := leadingNumber(in)
		if (want == nil) == ok || ok && got != want {
			t.Errorf("leadingNumber(%q) = %v, %v: want %v", in, got, ok, want)
		}
	}
}
