package smartctl

import "github.com/dodai-agent/dodai"

// selfTest is one finished self-test: one that was aborted, interrupted or still runs
// shows nothing.
type selfTest struct{ long, failed bool }

// selfTests judges the newest long test, and any failure since the last good long one:
// what a long test has passed again is history.
func (f *findings) selfTests(doc *document) {
	short := 0
	for _, t := range doc.selfTests() {
		if t.long {
			if t.failed {
				f.add(dodai.VerdictCritical, "the last long self-test failed")
			}
			break
		}
		if t.failed {
			short++
		}
	}
	if short > 0 {
		f.add(dodai.VerdictWarning, "%d short self-tests failed since the last long one", short)
	}
}

// selfTests lists the finished self-tests, newest first.
func (doc *document) selfTests() []selfTest {
	var tests []selfTest
	ata := doc.ATATests.Standard.Table
	if len(doc.ATATests.Extended.Table) > 0 {
		ata = doc.ATATests.Extended.Table
	}
	for _, t := range ata {
		// The upper half of the status byte: 0 passed, 3 to 8 failed (ATA ACS-3, table
		// "Self-test execution status"). Type 2 is the extended test, with bit 7 captive.
		kind, _ := t.Type.Value.in(0, 255)
		if status, ok := t.Status.Value.in(0, 255); ok {
			tests = finished(tests, int(kind)&0x7f == 2, int(status)>>4, 3, 8)
		}
	}
	for _, t := range doc.NVMeTests.Table { // NVM Express, Device Self-test log: 5 to 7 failed
		code, _ := t.Code.Value.in(0, 15)
		if result, ok := t.Result.Value.in(0, 15); ok {
			tests = finished(tests, code == 2, int(result), 5, 7)
		}
	}
	for _, t := range doc.scsiTests { // SPC-4, Self-test results log: 3 to 7 failed
		code, _ := t.Code.Value.in(0, 7)
		if result, ok := t.Result.Value.in(0, 15); ok {
			tests = finished(tests, code == 2 || code == 6, int(result), 3, 7)
		}
	}
	return tests
}

// finished appends a test whose result is 0, passed, or from lo to hi, failed.
func finished(tests []selfTest, long bool, result, lo, hi int) []selfTest {
	failed := result >= lo && result <= hi
	if result != 0 && !failed {
		return tests
	}
	return append(tests, selfTest{long: long, failed: failed})
}
