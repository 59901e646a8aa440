package footprint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// smartctl plays captures: the list for --scan, and for anything else the file that is
// named like the device in the last argument.
const smartctl = `#!/bin/sh
[ "$1" = --scan ] && exec cat "${0%/*}/scan.json"
for last; do :; done
exec cat "${0%/*}/${last##*/}.json"
`

// ataAttributes are what a hard disk of today lists, as id, name, flags and raw value.
var ataAttributes = []struct {
	id, flags int
	name      string
	raw       int
}{
	{1, 15, "Raw_Read_Error_Rate", 118_402_336}, {3, 3, "Spin_Up_Time", 0}, {4, 50, "Start_Stop_Count", 61},
	{5, 51, "Reallocated_Sector_Ct", 0}, {7, 15, "Seek_Error_Rate", 402_118_554}, {9, 50, "Power_On_Hours", 31_207},
	{10, 19, "Spin_Retry_Count", 0}, {12, 50, "Power_Cycle_Count", 60}, {18, 11, "Head_Health", 0},
	{187, 50, "Reported_Uncorrect", 0}, {188, 50, "Command_Timeout", 0}, {190, 34, "Airflow_Temperature_Cel", 33},
	{192, 50, "Power-Off_Retract_Count", 14}, {193, 50, "Load_Cycle_Count", 2_211}, {194, 34, "Temperature_Celsius", 33},
	{197, 18, "Current_Pending_Sector", 0}, {198, 16, "Offline_Uncorrectable", 0}, {199, 62, "UDMA_CRC_Error_Count", 0},
	{240, 0, "Head_Flying_Hours", 30_911}, {241, 0, "Total_LBAs_Written", 88_123_456_789}, {242, 0, "Total_LBAs_Read", 301_987_654_321},
}

func ataCapture(name string, n int) string {
	var table []string
	for _, a := range ataAttributes {
		table = append(table, fmt.Sprintf(`{"id":%d,"name":%q,"value":100,"worst":99,"thresh":6,"when_failed":"","flags":{"value":%d,"string":"PO--CK ",`+
			`"prefailure":%t,"updated_online":true,"performance":false,"error_rate":false,"event_count":true,"auto_keep":true},"raw":{"value":%d,"string":"%[5]d"}}`,
			a.id, a.name, a.flags, a.flags&1 == 1, a.raw))
	}
	return fmt.Sprintf(`{"json_format_version":[1,0],"smartctl":{"version":[7,4],"platform_info":"x86_64-linux","argv":["smartctl","--json=c"],"exit_status":0},
"local_time":{"time_t":1763600000,"asctime":"Thu Nov 20 00:53:20 2025 UTC"},
"device":{"name":%q,"info_name":"%[1]s [SAT]","type":"sat","protocol":"ATA"},
"model_family":"Toride Enterprise","model_name":"TORIDE HD16000","serial_number":"TH%06d","firmware_version":"TN02",
"user_capacity":{"blocks":31251759104,"bytes":16000900661248},"logical_block_size":512,"physical_block_size":4096,"rotation_rate":7200,
"form_factor":{"ata_value":2,"name":"3.5 inches"},"in_smartctl_database":true,"smart_support":{"available":true,"enabled":true},
"smart_status":{"passed":true},"ata_smart_attributes":{"revision":10,"table":[%s]},
"power_on_time":{"hours":31207},"power_cycle_count":60,"temperature":{"current":33},
"ata_smart_error_log":{"summary":{"revision":1,"count":0}},
"ata_smart_self_test_log":{"standard":{"revision":1,"table":[{"type":{"value":2,"string":"Extended offline"},"status":{"value":0,"string":"Completed without error","passed":true},"lifetime_hours":31100}],"count":1,"error_count_total":0,"error_count_outdated":0}}}
`, name, n, strings.Join(table, ","))
}

func nvmeCapture(name string, n int) string {
	return fmt.Sprintf(`{"json_format_version":[1,0],"smartctl":{"version":[7,4],"platform_info":"x86_64-linux","argv":["smartctl","--json=c"],"exit_status":0},
"local_time":{"time_t":1763600000,"asctime":"Thu Nov 20 00:53:20 2025 UTC"},
"device":{"name":%q,"info_name":%[1]q,"type":"nvme","protocol":"NVMe"},
"model_name":"TORIDE NV3840","serial_number":"TN%06d","firmware_version":"GDC5602Q","nvme_pci_vendor":{"id":5197,"subsystem_id":5197},
"nvme_ieee_oui_identifier":9528,"nvme_total_capacity":3840755982336,"nvme_unallocated_capacity":0,"nvme_controller_id":6,
"nvme_version":{"string":"1.4","value":66560},"nvme_number_of_namespaces":32,"user_capacity":{"blocks":7501476528,"bytes":3840755982336},"logical_block_size":512,
"smart_support":{"available":true,"enabled":true},"smart_status":{"passed":true,"nvme":{"value":0}},
"nvme_smart_health_information_log":{"critical_warning":0,"temperature":38,"available_spare":100,"available_spare_threshold":10,"percentage_used":3,
"data_units_read":182734665,"data_units_written":241893312,"host_reads":3418273641,"host_writes":5128273412,"controller_busy_time":8211,"power_cycles":58,
"power_on_hours":17023,"unsafe_shutdowns":21,"media_errors":0,"num_err_log_entries":0,"warning_temp_time":0,"critical_comp_time":0,"temperature_sensors":[38,46]},
"temperature":{"current":38},"power_cycle_count":58,"power_on_time":{"hours":17023},
"nvme_self_test_log":{"current_self_test_operation":{"value":0,"string":"No self-test in progress"}}}
`, name, n)
}

// writeDisks makes a smartctl of eight disks, six hard disks and two NVMe drives, and
// returns its path.
func writeDisks(t testing.TB, dir string) string {
	t.Helper()
	var list []string
	for i := range 6 {
		name := fmt.Sprintf("sd%c", 'a'+i)
		list = append(list, fmt.Sprintf(`{"name":"/dev/%s","info_name":"/dev/%[1]s [SAT]","type":"sat","protocol":"ATA"}`, name))
		write(t, filepath.Join(dir, name+".json"), ataCapture("/dev/"+name, i))
	}
	for i := range 2 {
		name := fmt.Sprintf("nvme%d", i)
		list = append(list, fmt.Sprintf(`{"name":"/dev/%s","info_name":"/dev/%[1]s","type":"nvme","protocol":"NVMe"}`, name))
		write(t, filepath.Join(dir, name+".json"), nvmeCapture("/dev/"+name, i))
	}
	write(t, filepath.Join(dir, "scan.json"), `{"json_format_version":[1,0],"smartctl":{"version":[7,4],"exit_status":0},"devices":[`+strings.Join(list, ",")+"]}\n")
	program := filepath.Join(dir, "smartctl")
	write(t, program, smartctl)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

func write(t testing.TB, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
