package policy

import (
	"reflect"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fill sets everything in v: instants to at, numbers to 7, two elements each.
func fill(v reflect.Value, at time.Duration) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, at)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{"a", "b"} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, at)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 5)) // room for an append
		for i := range v.Len() {
			fill(v.Index(i), at)
		}
	case reflect.Array:
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Int64:
		v.SetInt(int64(at))
	case reflect.Int:
		v.SetInt(7)
	default:
		v.SetUint(7)
	}
}

// TestShiftMovesEverything: no instant is forgotten, whoever adds one, and the memory
// that is shifted stays as it was.
func TestShiftMovesEverything(t *testing.T) {
	made := func(at time.Duration) (m Memory) {
		fill(reflect.ValueOf(&m).Elem(), at)
		return m
	}
	was := made(time.Hour)
	if diff := cmp.Diff(made(50*time.Minute), was.Shift(-10*time.Minute)); diff != "" {
		t.Errorf("shifted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(made(time.Hour), was); diff != "" {
		t.Errorf("the original (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Memory{}, Memory{}.Shift(time.Hour)); diff != "" {
		t.Errorf("nothing shifted (-want +got):\n%s", diff)
	}
	var u UPSMemory
	u.shift(time.Hour)
	if want := (UPSMemory{Last: Facts{At: time.Hour}, LineAt: time.Hour, DoomedAt: time.Hour}); !cmp.Equal(want, u) {
		t.Errorf("what never came was moved:\n%s", cmp.Diff(want, u))
	}
}

// TestFork: two decisions from one memory share nothing: the second does not change what
// the first has remembered.
func TestFork(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawHistory(rt).play(t, 0, func(w *world, before Memory, now time.Duration) {
			first := asJSON(t, w.mem)
			w.pol.Decide(otherwise(w.snap, now), before, now)
			if again := asJSON(t, w.mem); again != first {
				rt.Fatalf("remembered\n%s\nafter another decision\n%s", first, again)
			}
		})
	})
}

// otherwise is a snapshot in which every UPS says something else.
func otherwise(s *dodai.Snapshot, now time.Duration) *dodai.Snapshot {
	for _, dev := range s.OfKind(dodai.KindUPS) {
		if dev.Reading == nil {
			continue
		}
		d := *dev
		d.Reading, d.At, d.Polls = dev.Reading.Clone(), now, dev.Polls+1
		d.Reading.Status ^= dodai.OL | dodai.OB
		if charge, ok := d.Reading.Vars.Float(dodai.BatteryCharge); ok {
			d.Reading.Vars[dodai.BatteryCharge] = dodai.Num(max(0, charge-1))
		}
		s = s.With(&d, now, time.Time{})
	}
	return s
}
