package dodai

// ArrayState is the state of a RAID set.
type ArrayState string

// The states of an array. Rebuilding is degraded with a copy onto an empty slot running.
const (
	ArrayOptimal    ArrayState = "optimal"
	ArrayDegraded   ArrayState = "degraded"
	ArrayRebuilding ArrayState = "rebuilding"
	ArrayFailed     ArrayState = "failed"
	ArrayInactive   ArrayState = "inactive"
	ArrayUnknown    ArrayState = "unknown"
)

// ArrayStates lists every state, for metrics that export one series each.
var ArrayStates = []ArrayState{ArrayOptimal, ArrayDegraded, ArrayRebuilding, ArrayFailed, ArrayInactive, ArrayUnknown}

// Activity is what a RAID set is busy with.
type Activity string

// The activities of an array, in md's words.
const (
	ActivityNone    Activity = "none"
	ActivityCheck   Activity = "check"
	ActivityResync  Activity = "resync"
	ActivityRecover Activity = "recover"
	ActivityReshape Activity = "reshape"
	ActivityReplace Activity = "replace"
	ActivityInit    Activity = "init"
	ActivityDelayed Activity = "delayed"
	ActivityPending Activity = "pending"
	ActivityFrozen  Activity = "frozen"
)

// Array is a RAID set. A nil pointer or nil slice is a value the source does not have.
type Array struct {
	ID      string     `json:"id"`
	Level   string     `json:"level,omitempty"` // raid0 … raid10, linear, spanned, container, mirror, raidz1 …
	State   ArrayState `json:"state"`
	Missing *int       `json:"missing,omitempty"` // slots without a working member
	// Failing are the ids of members that are failed, offline or missing, journal,
	// log and cache devices included; empty, not nil, when there are none.
	Failing  []string `json:"failing"`
	Spares   *int     `json:"spares,omitempty"` // usable hot spares this array can take
	Activity Activity `json:"activity,omitempty"`
	Percent  *float64 `json:"percent"` // progress of the activity; nil when nothing runs
	// ToleranceLeft is how many more members may fail whichever they are.
	ToleranceLeft *int     `json:"tolerance_left,omitempty"`
	SPOFs         []string `json:"spofs,omitempty"` // members whose loss alone would now lose the array
	Suspect       []string `json:"suspect,omitempty"`
	Writable      *bool    `json:"writable,omitempty"`
	MismatchCount *int64   `json:"mismatch_cnt,omitempty"`
}

// Redundant reports whether the level can lose a member at all.
func (a Array) Redundant() bool {
	switch a.Level {
	case "raid0", "linear", "spanned", "single", "jbod", "container", "stripe":
		return false
	}
	return true
}

// Health is a coarse verdict on a controller.
type Health string

// The verdicts on a controller.
const (
	HealthOK        Health = "ok"
	HealthAttention Health = "attention"
	HealthFailed    Health = "failed"
	HealthUnknown   Health = "unknown"
)

// Controller is a RAID controller.
type Controller struct {
	ID              string `json:"id"`
	Health          Health `json:"health"`
	CacheProtection string `json:"cache_protection,omitempty"` // optimal, charging, degraded, failed, absent, unknown
}

// DriveState is what an array or controller makes of one drive.
type DriveState string

// The states of a drive.
const (
	DriveOnline        DriveState = "online"
	DriveRebuilding    DriveState = "rebuilding"
	DriveSpareGlobal   DriveState = "hotspare_global"
	DriveSpare         DriveState = "hotspare_dedicated"
	DriveFailed        DriveState = "failed"
	DriveOffline       DriveState = "offline"
	DriveMissing       DriveState = "missing"
	DriveForeign       DriveState = "foreign"
	DriveGood          DriveState = "unconfigured_good"
	DriveBad           DriveState = "unconfigured_bad"
	DriveJBOD          DriveState = "jbod"
	DriveReplacing     DriveState = "replacing"
	DriveJournal       DriveState = "journal"
	DriveJournalFailed DriveState = "journal_failed"
)

// Drive is a physical drive as an array or controller sees it.
type Drive struct {
	ID     string     `json:"id"`
	State  DriveState `json:"state"`
	Slot   *int       `json:"slot,omitempty"`
	Serial string     `json:"serial,omitempty"`
}

// Verdict is what a disk's own health data amounts to.
type Verdict string

// The verdicts on a disk, by rising urgency; unreadable means that nothing can be said.
const (
	VerdictOK         Verdict = "ok"
	VerdictNotice     Verdict = "notice"   // worth recording, not alarming
	VerdictWarning    Verdict = "warning"  // a published failure predictor above zero
	VerdictCritical   Verdict = "critical" // the drive says it fails, or data cannot be read
	VerdictUnreadable Verdict = "unreadable"
)

// Verdicts lists every verdict, for metrics that export one series each.
var Verdicts = []Verdict{VerdictOK, VerdictNotice, VerdictWarning, VerdictCritical, VerdictUnreadable}

// Disk is a drive's own account of its health. Device and Type together are the key:
// behind a controller several drives share one device.
type Disk struct {
	Device       string   `json:"device"`
	Type         string   `json:"type,omitempty"` // smartctl's -d
	Model        string   `json:"model,omitempty"`
	Serial       string   `json:"serial,omitempty"`
	Firmware     string   `json:"firmware,omitempty"`
	Protocol     string   `json:"protocol,omitempty"` // ATA, SCSI, NVMe
	Verdict      Verdict  `json:"verdict"`
	Reasons      []string `json:"reasons,omitempty"` // why the verdict is not ok, one finding each
	TempC        *float64 `json:"temperature_celsius,omitempty"`
	PowerOnHours *int64   `json:"power_on_hours,omitempty"`
	Capacity     *int64   `json:"capacity_bytes,omitempty"`
	WearRatio    *float64 `json:"wear_ratio,omitempty"` // of an SSD's endurance: 0 new, 1 used up; may exceed 1
	Standby      bool     `json:"standby,omitempty"`    // asleep and left asleep: the values are absent, not zero
}
