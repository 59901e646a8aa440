package policy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// ruleCases play a few readings; the last decision is what counts.
var ruleCases = []struct {
	name   string
	change func(*Config)
	script string
	want   Reason // ReasonNone: stays up
	alerts string
}{
	{"on line", nil, "0 u1 OL charge=100 runtime=1200 volts=230", ReasonNone, ""},
	{"nothing heard yet", nil, "0 u1 later", ReasonNone, ""},
	{"never answers", nil, "0 u1 fails\n20 u1 fails", ReasonNone, "comms_lost"},
	{"on battery", nil, "0 u1 OL charge=100 runtime=1200\n5 u1 OB DISCHRG charge=99 runtime=1190", ReasonNone, "on_battery"},
	{"one low runtime is not believed", nil, "0 u1 OB runtime=170", ReasonNone, "on_battery"},
	{"low runtime within a second of the transfer", nil, "0 u1 OB runtime=170\n1 u1 OB runtime=169", ReasonNone, "on_battery"},
	{"low runtime for two seconds", nil, "0 u1 OB runtime=170\n2 u1 OB runtime=168", ReasonRuntime, "low_runtime on_battery"},
	{"low runtime long after the transfer", nil, "0 u1 OB runtime=300\n60 u1 OB runtime=180\n60.5 u1 OB runtime=179", ReasonRuntime, "low_runtime on_battery"},
	{"exactly what is needed is too little", nil, "0 u1 OB runtime=190\n20 u1 OB runtime=180\n22 u1 OB runtime=180", ReasonRuntime, "low_runtime on_battery"},
	{"a failed poll neither counts", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=179\n21 u1 fails", ReasonNone, "on_battery"},
	{"nor resets", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=179\n20.5 u1 fails\n21 u1 OB runtime=178", ReasonRuntime, "low_runtime on_battery"},
	{"a good reading between resets", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=179\n22 u1 OB runtime=300\n24 u1 OB runtime=179", ReasonNone, "on_battery"},
	{"three polls asked for", func(c *Config) { c.ConfirmPolls = 3 }, "0 u1 OB runtime=300\n20 u1 OB runtime=179\n22 u1 OB runtime=178", ReasonNone, "on_battery"},
	{"after a collapse two seconds", nil, "0 u1 OB runtime=900\n30 u1 OB runtime=60\n31 u1 OB runtime=59", ReasonNone, "on_battery runtime_collapse"},
	{"a collapse that lasts", nil, "0 u1 OB runtime=900\n30 u1 OB runtime=60\n32 u1 OB runtime=58", ReasonRuntime, "low_runtime on_battery runtime_collapse"},
	{"LB twice", nil, "0 u1 OB LB\n2 u1 OB LB", ReasonLB, "low_battery on_battery"},
	{"LB goes before runtime and charge", nil, "0 u1 OB LB runtime=10 charge=5\n2 u1 OB LB runtime=9 charge=5", ReasonLB, "low_battery low_charge low_runtime on_battery"},
	{"LB flickers at the transfer", nil, "0 u1 OB LB\n1.4 u1 OB LB\n1.6 u1 OB", ReasonNone, "on_battery"},
	{"LB at each of two transfers", nil, "0 u1 OB LB\n2 u1 OL\n4 u1 OB LB\n5 u1 OB", ReasonNone, "on_battery"},
	{"LB ignored", func(c *Config) { c.IgnoreLB = true }, "0 u1 OB LB charge=90\n2 u1 OB LB charge=90", ReasonNone, "low_battery on_battery"},
	{"LB not trusted yet", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=90 runtime=600\n2 u1 OB LB charge=90 runtime=598", ReasonNone, "low_battery on_battery"},
	{"LB trusted with a charge of half", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=50 runtime=600\n2 u1 OB LB charge=50 runtime=598", ReasonLB, "low_battery on_battery"},
	{"LB trusted in the end", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=90 runtime=900\n59 u1 OB LB charge=80 runtime=850\n60 u1 later", ReasonLB, "low_battery on_battery"},
	{"an early LB that went away", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=90 runtime=900\n2 u1 OB LB charge=90 runtime=898\n40 u1 OB charge=88 runtime=860\n61 u1 OB charge=86 runtime=840", ReasonNone, "on_battery"},
	{"two readings at one instant", nil, "0 u1 OL charge=90\n0 u1 OB charge=90", ReasonNone, "on_battery"},
	{"LB on line", nil, "0 u1 OL LB charge=9\n2 u1 OL LB charge=9", ReasonNone, "would_not_survive"},
	{"low charge", nil, "0 u1 OB charge=20\n2 u1 OB charge=20", ReasonCharge, "low_charge on_battery"},
	{"low charge on line", nil, "0 u1 OL charge=9\n2 u1 OL charge=9", ReasonNone, ""},
	{"low charge counts on through a flap, and fires on battery", nil, "0 u1 OB charge=20\n2 u1 OL charge=20\n4 u1 OB charge=19", ReasonCharge, "low_charge on_battery"},
	{"the mains come back at the last moment", nil, "0 u1 OB charge=20\n2 u1 OL charge=20\n4 u1 OL charge=20", ReasonNone, "on_battery"},
	{"charge above 100 is 100", nil, "0 u1 OB charge=250\n2 u1 OB charge=250", ReasonNone, "on_battery"},
	{"a negative charge is none", nil, "0 u1 OB charge=-1\n2 u1 OB charge=-1", ReasonNone, "on_battery"},
	{"a charge of 0 that stood on line already", nil, "0 u1 OL charge=0 battery=13.6 nominal=12\n5 u1 OB charge=0 battery=12.8 nominal=12\n7 u1 OB charge=0 battery=12.8 nominal=12", ReasonNone, "on_battery"},
	{"a stale charge is none", nil, "0 u1 OB charge=15@20\n2 u1 OB charge=15@22", ReasonNone, "on_battery"},
	{"an aged charge that is not stale", nil, "0 u1 OB charge=15@5\n2 u1 OB charge=15@7", ReasonCharge, "low_charge on_battery"},
	{"runtime 0 with charge is none", nil, "0 u1 OB runtime=0 charge=80\n2 u1 OB runtime=0 charge=80", ReasonNone, "on_battery"},
	{"runtime 0 with an empty battery", nil, "0 u1 OB runtime=0 charge=3\n2 u1 OB runtime=0 charge=3", ReasonRuntime, "low_charge low_runtime on_battery"},
	{"runtime 65535 is none", nil, "0 u1 OB runtime=65535\n120 u1 OB runtime=65535", ReasonNoMetrics, "on_battery"},
	{"limit on battery", func(c *Config) { c.MaxOnBattS = new(Seconds(90)) }, "0 u1 OB charge=90\n80 u1 OB charge=80\n90 u1 later", ReasonMaxOnBatt, "on_battery"},
	{"not before", func(c *Config) { c.MaxOnBattS = new(Seconds(90)) }, "0 u1 OB charge=90\n80 u1 OB charge=80\n89.9 u1 later", ReasonNone, "on_battery"},
	{"limit within a flapping outage", func(c *Config) { c.MaxOnBattS = new(Seconds(30)) }, "0 u1 OB charge=90\n20 u1 OL charge=90\n25 u1 OB charge=90\n31 u1 OB charge=89", ReasonMaxOnBatt, "on_battery"},
	{"a new outage after the hysteresis", func(c *Config) { c.MaxOnBattS = new(Seconds(30)) }, "0 u1 OB charge=90\n10 u1 OL charge=90\n20 u1 OL charge=90\n25 u1 OB charge=90\n31 u1 OB charge=89", ReasonNone, "on_battery"},
	{"no metrics", nil, "0 u1 OB\n110 u1 OB\n120 u1 later", ReasonNoMetrics, "on_battery"},
	{"a worn battery's runtime is no metric", nil, "0 u1 OB RB runtime=900\n110 u1 OB RB runtime=800\n120 u1 OB RB runtime=790", ReasonNoMetrics, "on_battery replace_battery"},
	{"silent on battery", nil, "0 u1 OB charge=90\n70 u1 fails", ReasonCommsOnBatt, "comms_lost on_battery"},
	{"silent on battery, not yet", nil, "0 u1 OB charge=90\n59 u1 fails", ReasonNone, "comms_lost on_battery"},
	{"silent on battery with little left", nil, "0 u1 OB charge=90 runtime=400\n20 u1 later", ReasonCommsOnBatt, "comms_lost on_battery"},
	{"one failed read with little left", nil, "0 u1 OB charge=90 runtime=300\n14 u1 fails", ReasonNone, "on_battery"},
	{"silent on line", nil, "0 u1 OL charge=90\n3600 u1 fails", ReasonNone, "comms_lost"},
	{"silent on line with a limit", func(c *Config) { c.CommsLostLineS = new(Seconds(120)) }, "0 u1 OL charge=90\n120 u1 later", ReasonPathOutage, "comms_lost"},
	{"frozen", nil, "0 u1 OB charge=90 runtime=900\n119 u1 OB charge=90 runtime=900\n120 u1 later", ReasonCommsOnBatt, "on_battery stale"},
	{"slow, not frozen", nil, "0 u1 OB charge=90\n80 u1 OB charge=89\n239 u1 OB charge=89", ReasonNone, "on_battery"},
	{"empty status is silence", nil, "0 u1 OB charge=90\n20 u1 charge=89\n61 u1 charge=88", ReasonCommsOnBatt, "comms_lost on_battery"},
	{"FSD at once, on line", nil, "0 u1 OL\n5 u1 OL FSD", ReasonFSD, "fsd"},
	{"FSD on battery", nil, "0 u1 OB charge=90\n5 u1 OB FSD charge=90", ReasonFSD, "fsd on_battery"},
	{"FSD withdrawn", nil, "0 u1 OL FSD\n5 u1 OL", ReasonNone, ""},
	{"timer armed", nil, "0 u1 OL timer=-1\n5 u1 OL timer=60", ReasonUPSTimer, "ups_timer"},
	{"timer found counting", nil, "0 u1 OL timer=60\n2 u1 OL timer=58\n4 u1 OL timer=56", ReasonUPSTimer, "ups_timer"},
	{"timer that fell once", nil, "0 u1 OL timer=60\n2 u1 OL timer=58", ReasonNone, ""},
	{"timer that stands, not read for once", nil, "0 u1 OL timer=60\n2 u1 OL\n4 u1 OL timer=60", ReasonNone, ""},
	{"timer that stands, first read late", nil, "0 u1 OL\n2 u1 OL timer=60\n4 u1 OL timer=60", ReasonNone, ""},
	{"timer that stands, too old for once", nil, "0 u1 OL timer=60\n2 u1 OL timer=60@20\n4 u1 OL timer=60", ReasonNone, ""},
	{"timer that stands, and flickers", nil, "0 u1 OL timer=60\n1 u1 OL timer=59\n2 u1 OL timer=60\n3 u1 OL timer=59\n4 u1 OL timer=60\n5 u1 OL timer=59", ReasonNone, ""},
	{"timer found counting, not read for once", nil, "0 u1 OL\n2 u1 OL timer=58\n4 u1 OL timer=56\n6 u1 OL\n8 u1 OL timer=52", ReasonUPSTimer, "ups_timer"},
	{"timer found counting, read now and then", nil, "0 u1 OL timer=60\n2 u1 OL timer=60@2\n10 u1 OL timer=50\n14 u1 OL timer=52@6\n20 u1 OL timer=45@5", ReasonUPSTimer, "ups_timer"},
	{"timer in steps of ten, asked more often", nil, "0 u1 OL timer=60\n4 u1 OL timer=60\n8 u1 OL timer=50\n12 u1 OL timer=50\n16 u1 OL timer=50\n18 u1 OL timer=40", ReasonUPSTimer, "ups_timer"},
	{"timer that creeps", nil, "0 u1 OL timer=60\n100 u1 OL timer=60\n102 u1 OL timer=59\n200 u1 OL timer=59\n202 u1 OL timer=58\n300 u1 OL timer=58\n302 u1 OL timer=57", ReasonNone, ""},
	{"timer that falls with pauses too long", nil, "0 u1 OL timer=60\n100 u1 OL timer=55\n200 u1 OL timer=50", ReasonNone, ""},
	{"timer that is set shorter", nil, "0 u1 OL timer=600\n2 u1 OL timer=120\n4 u1 OL timer=60", ReasonNone, ""},
	{"timer armed while it was not read", nil, "0 u1 OL timer=-1\n2 u1 OL\n4 u1 OL timer=60", ReasonUPSTimer, "ups_timer"},
	{"timer armed, then not read for once", nil, "0 u1 OL timer=-1\n2 u1 OL timer=60\n17 u1 OL", ReasonUPSTimer, "ups_timer"},
	{"timer armed, then not read any more", nil, "0 u1 OL timer=-1\n2 u1 OL timer=60\n17.1 u1 OL", ReasonNone, ""},
	{"timer armed for tomorrow", nil, "0 u1 OL timer=-1\n5 u1 OL timer=86400\n10 u1 OL timer=86395", ReasonNone, "ups_timer"},
	{"timer armed for within the hour", nil, "0 u1 OL timer=-1\n5 u1 OL timer=3600", ReasonUPSTimer, "ups_timer"},
	{"timer that has come close", nil, "0 u1 OL timer=-1\n5 u1 OL timer=3790\n15 u1 OL timer=3780", ReasonUPSTimer, "ups_timer"},
	{"timer that has not yet", nil, "0 u1 OL timer=-1\n5 u1 OL timer=3790\n14 u1 OL timer=3781", ReasonNone, "ups_timer"},
	{"timer that stands", nil, "0 u1 OL timer=60\n2 u1 OL timer=60", ReasonNone, ""},
	{"timer withdrawn", nil, "0 u1 OL timer=60\n2 u1 OL timer=58\n4 u1 OL timer=56\n6 u1 OL timer=-1", ReasonNone, ""},
	{"timer 65535 is not armed", nil, "0 u1 OL timer=-1\n2 u1 OL timer=65535", ReasonNone, ""},
	{"calibration", nil, "0 u1 OB CAL LB charge=9 volts=230\n2 u1 OB CAL LB charge=8 volts=230", ReasonNone, "calibrating"},
	{"calibration without a voltage", nil, "0 u1 OB CAL LB charge=9\n2 u1 OB CAL LB charge=8", ReasonNone, "calibrating"},
	{"mains lost in calibration", nil, "0 u1 OB CAL LB charge=9 volts=0\n2 u1 OB CAL LB charge=8 volts=0", ReasonLB, "calibrating low_battery low_charge on_battery"},
	{"self-test told by text", nil, "0 u1 OB LB charge=9 volts=230 test=In_progress\n2 u1 OB LB charge=9 volts=230 test=In_progress", ReasonNone, "calibrating"},
	{"OL and OB with voltage", nil, "0 u1 OL OB LB charge=9 volts=230\n2 u1 OL OB LB charge=9 volts=230", ReasonNone, "status_contradiction would_not_survive"},
	{"OL and OB without", nil, "0 u1 OL OB charge=9 volts=0\n2 u1 OL OB charge=9 volts=0", ReasonCharge, "low_charge on_battery status_contradiction"},
	{"OL and OB, charging", nil, "0 u1 OL OB CHRG charge=9 volts=0\n2 u1 OL OB CHRG charge=9 volts=0", ReasonNone, "status_contradiction"},
	{"OL and OB, the charge falls", nil, "0 u1 OL OB charge=22\n61 u1 OL OB charge=19\n63 u1 OL OB charge=18", ReasonCharge, "low_charge on_battery status_contradiction"},
	{"OL and OB, the runtime falls", nil, "0 u1 OL OB LB runtime=600\n30 u1 OL OB LB runtime=330\n60 u1 OL OB LB runtime=60\n62 u1 OL OB LB runtime=42", ReasonLB, "low_battery low_runtime on_battery runtime_collapse status_contradiction"},
	{"OL and OB, the runtime falls fast", nil, "0 u1 OL OB LB runtime=600\n10 u1 OL OB LB runtime=300\n20 u1 OL OB LB runtime=100\n22 u1 OL OB LB runtime=60", ReasonLB, "low_battery low_runtime on_battery runtime_collapse status_contradiction"},
	{"OL and OB, the runtime falls, with voltage", nil, "0 u1 OL OB LB runtime=600 volts=230\n30 u1 OL OB LB runtime=330 volts=230\n60 u1 OL OB LB runtime=60 volts=230\n62 u1 OL OB LB runtime=42 volts=230", ReasonNone, "status_contradiction would_not_survive"},
	{"OL and OB, the runtime fell once", nil, "0 u1 OL OB LB runtime=600\n30 u1 OL OB LB runtime=170\n90 u1 OL OB LB runtime=170\n92 u1 OL OB LB runtime=172", ReasonNone, "status_contradiction"},
	{"OL and OB, the runtime wavers", nil, "0 u1 OL OB LB runtime=160\n30 u1 OL OB LB runtime=150\n60 u1 OL OB LB runtime=170\n90 u1 OL OB LB runtime=160\n120 u1 OL OB LB runtime=175", ReasonNone, "status_contradiction"},
	{"OL and OB, low and no longer falling", nil, "0 u1 OL OB LB charge=19\n2 u1 OL OB LB charge=18\n4 u1 OL OB LB charge=18", ReasonLB, "low_battery low_charge on_battery status_contradiction"},
	{"OL and OB, low and charging unsaid", nil, "0 u1 OL OB LB charge=18\n2 u1 OL OB LB charge=19\n4 u1 OL OB LB charge=20", ReasonNone, "status_contradiction"},
	{"OL and OB after an outage stays one", nil, "0 u1 OB charge=90\n5 u1 OL OB charge=89\n70 u1 OL OB charge=88", ReasonNone, "on_battery status_contradiction"},
	{"OL and OB, with an empty status between", nil, "0 u1 OL OB charge=22\n30 u1 charge=20\n61 u1 OL OB charge=19\n63 u1 OL OB charge=18", ReasonCharge, "low_charge on_battery status_contradiction"},
	{"discharges on line with LB, no input", nil, "0 u1 OL LB DISCHRG charge=1 volts=0\n2 u1 OL LB DISCHRG charge=1 volts=0", ReasonLB, "low_battery low_charge on_battery"},
	{"the input went", nil, "0 u1 OL volts=230\n5 u1 OL LB DISCHRG volts=22\n7 u1 OL LB DISCHRG volts=22", ReasonLB, "low_battery on_battery"},
	{"the input is low, but there", nil, "0 u1 OL volts=230\n5 u1 OL LB DISCHRG volts=24\n7 u1 OL LB DISCHRG volts=24", ReasonNone, "would_not_survive"},
	{"no input was ever measured, and it has enough", nil, "0 u1 OL LB DISCHRG charge=90 volts=0\n2 u1 OL LB DISCHRG charge=90 volts=0", ReasonNone, "would_not_survive"},
	{"discharges on line, input not known", nil, "0 u1 OL LB DISCHRG charge=9\n2 u1 OL LB DISCHRG charge=8\n4 u1 OL LB DISCHRG charge=7", ReasonLB, "low_battery low_charge on_battery"},
	{"discharges on line, and stands still", nil, "0 u1 OL LB DISCHRG charge=9\n2 u1 OL LB DISCHRG charge=9\n4 u1 OL LB DISCHRG charge=9", ReasonNone, "would_not_survive"},
	{"discharges on line, and has enough", nil, "0 u1 OL LB DISCHRG charge=90\n2 u1 OL LB DISCHRG charge=88\n4 u1 OL LB DISCHRG charge=86", ReasonNone, "would_not_survive"},
	{"calibrates on line to the end", nil, "0 u1 OL CAL LB DISCHRG charge=9\n2 u1 OL CAL LB DISCHRG charge=8\n4 u1 OL CAL LB DISCHRG charge=7", ReasonNone, "calibrating"},
	{"discharges on line without LB", nil, "0 u1 OL volts=230\n5 u1 OL DISCHRG charge=9 volts=0\n7 u1 OL DISCHRG charge=8 volts=0", ReasonNone, ""},
	{"a test to the end, input not known", nil, "0 u1 OB TEST LB charge=1 runtime=5\n2 u1 OB TEST LB charge=1 runtime=3", ReasonLB, "calibrating low_battery low_charge low_runtime on_battery"},
	{"a test that says LB early", nil, "0 u1 OB TEST LB charge=80 runtime=900\n2 u1 OB TEST LB charge=80 runtime=898", ReasonNone, "calibrating"},
	{"a test to the end, with its input", nil, "0 u1 OB TEST LB charge=1 volts=230\n2 u1 OB TEST LB charge=1 volts=230", ReasonNone, "calibrating"},
	{"a test that does not end", nil, "0 u1 OB TEST charge=60\n119 u1 OB TEST LB charge=40\n120 u1 OB TEST LB charge=39\n122 u1 OB TEST LB charge=39", ReasonLB, "calibrating low_battery on_battery"},
	{"a test that does not end yet", nil, "0 u1 OB TEST charge=60\n117 u1 OB TEST LB charge=40\n119.9 u1 OB TEST LB charge=39", ReasonNone, "calibrating"},
	{"a second test", nil, "0 u1 OB TEST charge=60\n60 u1 OL charge=60\n70 u1 OB TEST LB charge=60\n130 u1 OB TEST LB charge=50", ReasonNone, "calibrating"},
	{"a long test with its input", nil, "0 u1 OB TEST charge=60 volts=230\n300 u1 OB TEST LB charge=15 volts=230\n302 u1 OB TEST LB charge=15 volts=230", ReasonNone, "calibrating"},
	{"a calibration does not end", nil, "0 u1 OB CAL charge=60\n300 u1 OB CAL LB charge=9\n302 u1 OB CAL LB charge=8", ReasonNone, "calibrating"},
	{"a test told by a text that stays", nil, "0 u1 OB LB charge=60 volts=230 test=In_progress\n120 u1 OB LB charge=30 volts=230 test=In_progress\n122 u1 OB LB charge=30 volts=230 test=In_progress", ReasonLB, "calibrating low_battery on_battery"},
	{"a text that stays on line", nil, "0 u1 OL charge=60 volts=230 test=In_progress\n300 u1 OB LB charge=60 volts=230 test=In_progress\n302 u1 OB LB charge=60 volts=230 test=In_progress", ReasonNone, "calibrating"},
	{"a test that was an outage began with it", func(c *Config) { c.MaxOnBattS = new(Seconds(130)) }, "0 u1 OB TEST charge=60\n121 u1 OB TEST charge=50\n130 u1 OB TEST charge=48", ReasonMaxOnBatt, "calibrating on_battery"},
	{"OL DISCHRG is no outage", nil, "0 u1 OL DISCHRG charge=9\n2 u1 OL DISCHRG charge=9", ReasonNone, ""},
	{"CHRG alone is on line", nil, "0 u1 OB charge=90\n5 u1 CHRG charge=90\n16 u1 CHRG charge=91", ReasonNone, ""},
	{"OFF alone keeps what was known", nil, "0 u1 OB charge=90\n5 u1 OFF charge=20\n8 u1 OFF charge=20", ReasonCharge, "low_charge on_battery"},
	{"the only UPS says OFF", nil, "0 u1 OL OFF\n30 u1 OL OFF", ReasonNone, "off_contradiction"},
	{"one of two says OFF for a moment", nil, "0 u2 OL\n0 u1 OL OFF\n29 u1 OL OFF\n31 u2 OL", ReasonNone, ""},
	{"one of two says OFF for long", nil, "0 u2 OL\n0 u1 OL OFF\n30 u1 OL OFF\n31 u2 OL", ReasonNone, "/redundancy_lost"},
	{"both say OFF for long", nil, "0 u2 OL OFF\n0 u1 OL OFF\n30 u1 OL OFF\n31 u2 OL OFF", ReasonNone, "off_contradiction u2/off_contradiction"},
	{"one of two doomed", nil, "0 u2 OL\n0 u1 OB LB\n2 u1 OB LB", ReasonNone, "/redundancy_lost low_battery on_battery"},
	{"one of two doomed, both needed", func(c *Config) { c.MinSupplies = 2 }, "0 u2 OL\n0 u1 OB LB\n2 u1 OB LB", ReasonLB, "low_battery on_battery"},
	{"both doomed, the second tips", nil, "0 u2 OB charge=90\n0 u1 OB LB\n2 u1 OB LB\n5 u2 OB charge=9\n7 u2 OB charge=9", ReasonCharge, "/redundancy_lost low_battery on_battery u2/low_charge u2/on_battery"},
	{"one OFF, the other doomed", nil, "0 u2 OL OFF\n0 u1 OB LB\n2 u1 OB LB\n30 u1 OB LB\n30 u2 OL OFF", ReasonLB, "/redundancy_lost low_battery on_battery"},
	{"a dead UPS stays doomed when its runtime runs out", nil, "0 u2 OL\n0 u1 OB runtime=5 charge=90\n3 u1 OB runtime=2 charge=90\n6 u1 OB runtime=0 charge=90\n45 u2 OL\n50 u1 fails", ReasonNone, "/redundancy_lost comms_lost low_runtime on_battery"},
	{"what doomed it first stays the reason", nil, "0 u1 OB charge=20\n2 u1 OB charge=20\n4 u1 OB LB charge=19\n6 u1 OB LB charge=18", ReasonCharge, "low_battery low_charge on_battery"},
	{"ten seconds after the transfer half a second confirms", nil, "0 u1 OB runtime=300\n10 u1 OB runtime=179\n10.5 u1 OB runtime=178", ReasonRuntime, "low_runtime on_battery"},
	{"before that it does not", nil, "0 u1 OB runtime=300\n9.9 u1 OB runtime=179\n10.4 u1 OB runtime=178", ReasonNone, "on_battery"},
	{"a rise does not save it at once", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=170\n22 u1 OB runtime=168\n24 u1 OB runtime=400\n53.9 u1 OB runtime=380", ReasonRuntime, "low_runtime on_battery"},
	{"after 30 s it does", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=170\n22 u1 OB runtime=168\n24 u1 OB runtime=400\n54 u1 OB runtime=380", ReasonNone, "on_battery"},
	{"an interrupted rise begins anew", nil, "0 u1 OB runtime=300\n20 u1 OB runtime=170\n22 u1 OB runtime=168\n24 u1 OB runtime=400\n40 u1 OB runtime=170\n50 u1 OB runtime=400\n60 u1 OB runtime=390", ReasonRuntime, "low_runtime on_battery"},
	{"back on line with LB", nil, "0 u1 OB LB\n2 u1 OB LB\n4 u1 OL LB", ReasonNone, "on_battery"},
	{"back on line with little left", nil, "0 u1 OB runtime=170\n2 u1 OB runtime=168\n4 u1 OL runtime=168", ReasonNone, "on_battery"},
	{"back on line when the limit passes", func(c *Config) { c.MaxOnBattS = new(Seconds(100)) }, "0 u1 OB charge=90\n95 u1 OL charge=90\n101 u1 OL charge=90", ReasonNone, "on_battery"},
	{"back on line when the time without metrics passes", nil, "0 u1 OB\n115 u1 OL\n121 u1 OL", ReasonNone, "on_battery"},
	{"LB trusted with three times the need left", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=90 runtime=540\n2 u1 OB LB charge=90 runtime=540", ReasonLB, "low_battery on_battery"},
	{"LB trusted without a runtime", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=90\n2 u1 OB LB charge=90", ReasonLB, "low_battery on_battery"},
	{"LB trusted without a charge", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB runtime=900\n2 u1 OB LB runtime=900", ReasonLB, "low_battery on_battery"},
	{"LB not trusted with a little more than half", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, "0 u1 OB LB charge=51 runtime=541\n2 u1 OB LB charge=51 runtime=541", ReasonNone, "low_battery on_battery"},
	{"half is no collapse", nil, "0 u1 OB runtime=800\n30 u1 OB runtime=400", ReasonNone, "on_battery"},
	{"a collapse that was none", nil, "0 u1 OB runtime=900\n30 u1 OB runtime=60\n31 u1 OB runtime=450", ReasonNone, "on_battery"},
	{"a collapse that is less deep", nil, "0 u1 OB runtime=900\n30 u1 OB runtime=60\n31 u1 OB runtime=449", ReasonNone, "on_battery runtime_collapse"},
	{"a collapse of nearly nothing", nil, "0 u1 OB runtime=10\n20 u1 OB runtime=4", ReasonRuntime, "low_runtime on_battery"},
	{"no collapse on line", nil, "0 u1 OL runtime=900\n5 u1 OL runtime=100", ReasonNone, "would_not_survive"},
	{"after a fall of the charge two seconds", nil, "0 u1 OB charge=90\n30 u1 OB charge=19\n31.9 u1 OB charge=19", ReasonNone, "on_battery"},
	{"a fall of the charge that lasts", nil, "0 u1 OB charge=90\n30 u1 OB charge=19\n32 u1 OB charge=19", ReasonCharge, "low_charge on_battery"},
	{"a fall to half is none", nil, "0 u1 OB charge=40\n30 u1 OB charge=20\n30.5 u1 OB charge=20", ReasonCharge, "low_charge on_battery"},
	{"a fall from next to nothing is none", func(c *Config) { c.MinChargePct = 4 }, "0 u1 OB charge=10\n30 u1 OB charge=4\n30.5 u1 OB charge=4", ReasonCharge, "low_charge on_battery"},
	{"a fall to next to nothing", func(c *Config) { c.MinChargePct = 4 }, "0 u1 OB charge=11\n30 u1 OB charge=4\n30.5 u1 OB charge=4", ReasonNone, "on_battery"},
	{"a charge of 0 with the battery just at its voltage", nil, "0 u1 OL charge=0 battery=12 nominal=12\n5 u1 OB charge=0\n7 u1 OB charge=0", ReasonNone, "on_battery"},
	{"a charge of 0 with a flat battery", nil, "0 u1 OL charge=0 battery=11.9 nominal=12\n5 u1 OB charge=0\n7 u1 OB charge=0", ReasonCharge, "low_charge on_battery"},
	{"a charge of 0 without its nominal voltage", nil, "0 u1 OL charge=0 battery=13.6\n5 u1 OB charge=0\n7 u1 OB charge=0", ReasonCharge, "low_charge on_battery"},
	{"a charge of 0 without its voltage", nil, "0 u1 OL charge=0 nominal=12\n5 u1 OB charge=0\n7 u1 OB charge=0", ReasonCharge, "low_charge on_battery"},
	{"a charge of 0 first seen on battery", nil, "0 u1 OB charge=0 battery=13 nominal=12\n2 u1 OB charge=0 battery=13 nominal=12", ReasonCharge, "low_charge on_battery"},
	{"a charge of 0 that once moved", nil, "0 u1 OL charge=0 battery=13.6 nominal=12\n1 u1 OL charge=5\n5 u1 OB charge=0\n7 u1 OB charge=0", ReasonCharge, "low_charge on_battery"},
	{"a stuck runtime is no metric", nil, "0 u1 OB runtime=900 load=40\n121 u1 OB runtime=900 load=41", ReasonNoMetrics, "on_battery"},
	{"one that stands just so long is", nil, "0 u1 OB runtime=900 load=40\n120 u1 OB runtime=900 load=41", ReasonNone, "on_battery"},
	{"a stuck runtime is not low", nil, "0 u1 OB runtime=170 load=40\n121 u1 OB runtime=170 charge=90 load=41\n123 u1 OB runtime=170 charge=90 load=42", ReasonNone, "on_battery"},
	{"a runtime in slow steps is not stuck", nil, "0 u1 OB runtime=900 load=1\n60 u1 OB runtime=840 load=1\n239 u1 OB runtime=840 load=2", ReasonNone, "on_battery"},
	{"too little runtime on line", nil, "0 u1 OL runtime=179 charge=90", ReasonNone, "would_not_survive"},
	{"just enough runtime on line", nil, "0 u1 OL runtime=180 charge=90", ReasonNone, ""},
	{"a low battery on an unknown line", nil, "0 u1 ALARM LB", ReasonNone, ""},
	{"contacts do not freeze", func(c *Config) { c.NoMetricsOnBattS = 3600 }, "0 u1 OB load=40\n200 u1 OB load=40", ReasonNone, "on_battery"},
	{"nothing has to move on line", nil, "0 u1 OL charge=100\n200 u1 OL charge=100", ReasonNone, ""},
	{"frozen, with a longer grace", func(c *Config) { c.CommsLostBattS = 200 }, "0 u1 OB charge=90\n199 u1 OB charge=90", ReasonNone, "on_battery stale"},
	{"frozen for longer", func(c *Config) { c.CommsLostBattS = 200 }, "0 u1 OB charge=90\n200 u1 OB charge=90", ReasonCommsOnBatt, "on_battery stale"},
	{"silent, and its line was never known", func(c *Config) { c.CommsLostLineS = new(Seconds(40)) }, "0 u1 ALARM charge=90\n60 u1 fails", ReasonNone, "comms_lost"},
	{"one of three doomed, one needed", nil, "0 u2 OL\n0 u3 OL\n0 u1 OB LB\n2 u1 OB LB", ReasonNone, "low_battery on_battery"},
	{"one of three doomed, two needed", func(c *Config) { c.MinSupplies = 2 }, "0 u2 OL\n0 u3 OL\n0 u1 OB LB\n2 u1 OB LB", ReasonNone, "/redundancy_lost low_battery on_battery"},
	{"a battery low by its charge alone while the status says nothing", nil, "0 u1 OB charge=90\n5 u1 charge=15\n7 u1 charge=15", ReasonCharge, "low_charge on_battery"},
	{"on battery, and the last test passed", nil, "0 u1 OB LB volts=230 test=Self_test_passed\n2 u1 OB LB volts=230 test=Self_test_passed", ReasonLB, "low_battery on_battery"},
	{"a test told by text, and the input is gone", nil, "0 u1 OB LB volts=0 test=In_progress\n2 u1 OB LB volts=0 test=In_progress", ReasonLB, "calibrating low_battery on_battery"},
	{"a test told by text, and the input is not known", nil, "0 u1 OB LB test=In_progress\n2 u1 OB LB test=In_progress", ReasonLB, "calibrating low_battery on_battery"},
	{"a test told by a flag", nil, "0 u1 OB TEST LB volts=230\n2 u1 OB TEST LB volts=230", ReasonNone, "calibrating"},
	{"a test on line", nil, "0 u1 OL TEST\n2 u1 OL CAL", ReasonNone, "calibrating"},
	{"a calibration after an outage does not count", func(c *Config) { c.ConfirmPolls = 3 },
		"0 u1 OB charge=15 volts=0\n1 u1 OB CAL charge=15 volts=230\n3 u1 OB CAL charge=15 volts=230\n4 u1 OB charge=15 volts=0", ReasonNone, "on_battery"},
	{"LB on line does not count", nil, "0 u1 OL LB\n2 u1 OL LB\n4 u1 OB LB", ReasonNone, "on_battery"},
	{"a reading without a status does not count for LB", nil, "0 u1 OB LB\n2 u1 charge=90", ReasonNone, "on_battery"},
	{"nor does it reset", nil, "0 u1 OB LB\n1 u1 charge=90\n2 u1 OB LB", ReasonLB, "low_battery on_battery"},
	{"what the status said stands", nil, "0 u1 OL BYPASS\n5 u1 charge=90", ReasonNone, "bypass"},
	{"FSD stands", nil, "0 u1 OL FSD\n5 u1 charge=90", ReasonFSD, "fsd"},
	{"deciding again is no reading", nil, "0 u1 OB charge=15\n3 u1 later", ReasonNone, "on_battery"},
	{"a new outage counts anew", nil, "0 u1 OB charge=15\n1 u1 OL charge=15\n11 u1 OL charge=15\n20 u1 OB charge=15", ReasonNone, "on_battery"},
	{"how slowly it moved on line says nothing on battery", nil, "0 u1 OL charge=90\n100 u1 OL charge=91\n200 u1 OB charge=91\n320 u1 OB charge=91", ReasonCommsOnBatt, "on_battery stale"},
	{"a runtime that stood on line is credible at first", nil, "0 u1 OL runtime=900\n300 u1 OL runtime=900\n310 u1 OB runtime=900\n429 u1 OB runtime=900 load=1", ReasonNone, "on_battery"},
	{"one of two says OFF, twice for a moment", nil, "0 u2 OL\n0 u1 OL OFF\n10 u1 OL\n31 u1 OL OFF\n32 u2 OL", ReasonNone, ""},
	{"timer at its end", nil, "0 u1 OL timer=3\n2 u1 OL timer=1\n4 u1 OL timer=0", ReasonUPSTimer, "ups_timer"},
	{"timer disarmed to 0", nil, "0 u1 OL timer=-1\n2 u1 OL timer=0", ReasonNone, ""},
	{"timer armed from a placeholder", nil, "0 u1 OL timer=65535\n2 u1 OL timer=90", ReasonUPSTimer, "ups_timer"},
	{"timer set, not counting yet", nil, "0 u1 OL timer=0\n2 u1 OL timer=60", ReasonNone, ""},
	{"timer set, and counting", nil, "0 u1 OL timer=0\n2 u1 OL timer=60\n4 u1 OL timer=58", ReasonUPSTimer, "ups_timer"},
	{"timer set back", nil, "0 u1 OL timer=60\n2 u1 OL timer=58\n4 u1 OL timer=56\n6 u1 OL timer=90", ReasonNone, ""},
	{"timer stops for a reading", nil, "0 u1 OL timer=60\n2 u1 OL timer=58\n4 u1 OL timer=56\n6 u1 OL timer=56", ReasonUPSTimer, "ups_timer"},
	{"timer not read for once", nil, "0 u1 OL timer=60\n2 u1 OL timer=58\n4 u1 OL", ReasonNone, ""},
	{"bypass, overload, worn", nil, "0 u1 OL BYPASS OVER RB", ReasonNone, "bypass overload replace_battery"},
}

func TestRules(t *testing.T) {
	var golden strings.Builder
	for _, tc := range ruleCases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.change)
			if tc.name == "nothing heard yet" || tc.name == "never answers" {
				d := w.device("u1", "ups")
				w.snap = w.snap.With(&d, start, time.Time{})
				w.snap.AgentStartedAt = start
			}
			w.play(tc.script)
			if w.last.Reason != tc.want || w.last.Shutdown != (tc.want != ReasonNone) {
				t.Errorf("reason %s, shutdown %v, want %s\n%s", w.last.Reason, w.last.Shutdown, tc.want, w.last.Explanation)
			}
			if diff := cmp.Diff(strings.Fields(tc.alerts), w.alerts(), cmp.Transformer("joined", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("alerts (-want +got):\n%s", diff)
			}
			fmt.Fprintf(&golden, "%s\n\t%s\n", tc.name, w.last.Explanation)
			for _, a := range w.last.Alerts {
				fmt.Fprintf(&golden, "\t! %s\n", a.Text)
			}
		})
	}
	compareGolden(t, "explanations.txt", golden.String())
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites):\n%s", path, diff)
	}
}
