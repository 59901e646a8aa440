package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/dodai-agent/dodai"
	"pgregory.net/rapid"
)

// pack is a battery and what its UPS says of it. Energies are in seconds at 40 % load.
type pack struct {
	Full  float64 // energy when full
	Had   float64 // of it when the site begins, 0 to 1
	Load  float64 // percent, its share while all carry
	Lie   float64 // it claims so many times the runtime that it has
	Fade  float64 // and so many times the charge
	Says  string  // among c (charge), r (runtime), v (battery voltage)
	Steps [3]float64
	Low   float64 // says LB at so many percent of its true charge, 0: never
	FedBy int     // the pack it stands behind, -1: the mains
}

// plant is a site with its batteries, mains that come and go, and a load that changes.
type plant struct {
	Packs   []pack
	Wired   bool
	Poll    float64 // seconds
	Outages [][2]float64
	Surges  []surge
	Fails   map[int]bool // polls that fail, by number
	Silent  [2]float64   // from and to when nothing answers; zero: never
	Ends    float64
	// Raise changes what a UPS says that has so much left, 0 to 1; nil: nothing does.
	Raise func(r *dodai.Reading, left float64) *dodai.Reading
}

// surge is a load that is so many times as high from a time on.
type surge struct{ From, Times float64 }

// bigger is the plant with so many times the energy in its pack i, or with all of them: -1.
func (p plant) bigger(i int, times float64) plant {
	packs := append([]pack(nil), p.Packs...)
	for j := range packs {
		if i == j || i < 0 {
			packs[j].Full *= times
		}
	}
	p.Packs = packs
	return p
}

func (p *plant) mains(t float64) bool {
	for _, o := range p.Outages {
		if t >= o[0] && t < o[1] {
			return false
		}
	}
	return true
}

func (p *plant) times(t float64) float64 {
	times := 1.0
	for _, s := range p.Surges {
		if t >= s.From {
			times = s.Times
		}
	}
	return times
}

// running is a plant on its way.
type running struct {
	*plant
	energy []float64
	out    []bool // pack i gives nothing
	load   []float64
	input  []bool
}

func (p *plant) start() *running {
	r := &running{plant: p, energy: make([]float64, len(p.Packs)), out: make([]bool, len(p.Packs)), load: make([]float64, len(p.Packs)), input: make([]bool, len(p.Packs))}
	for i, b := range p.Packs {
		r.energy[i] = b.Full * b.Had
	}
	return r
}

// burn is how much energy goes in a second at load. Source: Peukert's law, with the exponent
// of the policy: a battery ends faster than in proportion under a heavier load.
func burn(load float64) float64 { return math.Pow(load/40, peukert) }

// pass lets dt seconds pass and reports whether anything still carries the host.
func (r *running) pass(t, dt float64) (alive bool) {
	r.share(t)
	for i := len(r.Packs) - 1; i >= 0; i-- { // what feeds another one comes after it
		b := &r.Packs[i]
		r.input[i] = r.mains(t)
		if b.FedBy >= 0 {
			r.input[i] = !r.out[b.FedBy]
		}
		switch {
		case r.input[i]:
			r.energy[i] = min(b.Full, r.energy[i]+dt*b.Full/6000) // chargers grow with batteries
			r.out[i] = false
		default:
			r.energy[i] = max(0, r.energy[i]-dt*burn(r.load[i]))
			r.out[i] = r.energy[i] == 0
		}
	}
	for i := range r.Packs {
		alive = alive || !r.feeds(i) && !r.out[i]
	}
	return alive
}

func (r *running) feeds(i int) bool {
	for _, b := range r.Packs {
		if b.FedBy == i {
			return true
		}
	}
	return false
}

// share gives each pack its load: those that are left carry that of the others.
func (r *running) share(t float64) {
	total, left := 0.0, 0
	for i, b := range r.Packs {
		if !r.feeds(i) {
			if total += b.Load; !r.out[i] {
				left++
			}
		}
	}
	for i, b := range r.Packs {
		r.load[i] = b.Load * r.times(t)
		if !r.feeds(i) && left > 0 && left < r.carriers() {
			r.load[i] = total / float64(left) * r.times(t)
		}
	}
}

func (r *running) carriers() (n int) {
	for i := range r.Packs {
		if !r.feeds(i) {
			n++
		}
	}
	return n
}

// stepped shows a value in steps, 0: as it is.
func stepped(v, step float64) float64 {
	if step > 0 {
		return math.Floor(v/step+1e-9) * step
	}
	return v
}

// reading is what UPS i says; n makes the input voltage waver, as it does everywhere: so
// nothing looks frozen. The load does not, for it is a part of what is forecast.
func (r *running) reading(i, n int) *dodai.Reading {
	b := &r.Packs[i]
	left := r.energy[i] / b.Full
	vars := dodai.Vars{dodai.UPSLoad: dodai.Num(r.load[i]), dodai.InputVoltage: dodai.Num(float64(n%5) / 10)}
	status := dodai.OB | dodai.DISCHRG
	if r.input[i] {
		status = dodai.OL
		vars[dodai.InputVoltage] = dodai.Num(230 + float64(n%5)/10)
	}
	if b.Low > 0 && 100*left <= b.Low {
		status |= dodai.LB
	}
	for _, c := range b.Says {
		switch c {
		case 'c':
			vars[dodai.BatteryCharge] = dodai.Num(stepped(100*min(1, left*b.Fade), b.Steps[0]))
		case 'r':
			// Never 0, which is what UPSes say that do not know.
			vars[dodai.BatteryRuntime] = dodai.Num(max(b.Steps[1], stepped(b.Lie*r.energy[i]/burn(r.load[i]), b.Steps[1])))
		case 'v':
			vars[dodai.BatteryVoltage] = dodai.Num(stepped(42+12*left, b.Steps[2]))
			vars["battery.voltage.low"], vars["battery.voltage.nominal"] = dodai.Num(42), dodai.Num(54)
		}
	}
	out := &dodai.Reading{Kind: dodai.KindUPS, Status: status, Vars: vars}
	if r.Raise != nil {
		out = r.Raise(out, left)
	}
	return out
}

// played is what became of a plant.
type played struct {
	at       float64 // when the host was shut down or went dark; +Inf: it stayed up
	dark     bool
	why      string
	unseen   bool // a battery was empty before the policy found its feed doomed
	transfer bool // within the settling time of a transfer, plus what is asked of a trouble then
}

// name is how pack i is called. A pack that feeds another has the higher number.
func packName(i int) string { return fmt.Sprintf("u%d", i) }

// play runs the plant under a policy until the host goes down.
func (p *plant) play(cfg Config) played {
	w := &world{pol: New(cfg), snap: &dodai.Snapshot{At: start, AgentStartedAt: start / 2}}
	w.pol.Brief = true
	for i, b := range p.Packs {
		if b.FedBy >= 0 {
			w.snap.Links = append(w.snap.Links, dodai.Link{UPS: packName(i), FedBy: packName(b.FedBy)})
		} else if p.Wired {
			w.snap.Paths = append(w.snap.Paths, dodai.Path{PSU: fmt.Sprint(i), UPS: packName(i)})
		}
	}
	if len(w.snap.Links) > 0 {
		w.snap.Paths = nil // those without wiring: the last of each chain carries the host
	}
	r := p.start()
	unseen := false
	for n := 0; ; n++ {
		t := float64(n) * p.Poll
		if t > p.Ends {
			return played{at: math.Inf(1), unseen: unseen}
		}
		if !r.pass(t, p.Poll) {
			return played{at: t, dark: true, why: "dark", unseen: true}
		}
		for i := range p.Packs {
			d := w.device(packName(i), dodai.KindUPS)
			if silent := t >= p.Silent[0] && t < p.Silent[1]; r.out[i] || silent || p.Fails[n] {
				d.Failures++
				unseen = unseen || r.out[i] && w.mem.UPS[packName(i)].Doomed == ReasonNone
			} else {
				d.Reading, d.At, d.Polls, d.Failures = r.reading(i, n), at(t), d.Polls+1, 0
			}
			w.snap = w.snap.With(&d, at(t), time.Time{})
		}
		w.last, w.mem = w.pol.Decide(w.snap, w.mem, at(t))
		if w.last.Shutdown {
			out := played{at: t, why: w.last.Explanation, unseen: unseen}
			for _, u := range w.mem.UPS {
				out.transfer = out.transfer || u.Transfer.within(settle+slowConfirm, at(t))
			}
			return out
		}
	}
}

// biggest is how many times the battery, and lightest how many times the load, a plant gets.
const (
	biggest  = 5
	lightest = 0.3
)

func drawPack(t *rapid.T, exact bool) pack {
	b := pack{
		Full: rapid.Float64Range(60, 4000).Draw(t, "full"), Had: rapid.Float64Range(0.3, 1).Draw(t, "had"), Load: rapid.Float64Range(10, 60).Draw(t, "load"),
		Lie: rapid.SampledFrom([]float64{0.5, 0.8, 1, 1, 1, 1.3, 2, 4}).Draw(t, "lie"), Fade: rapid.SampledFrom([]float64{0.7, 1, 1, 1, 1.2}).Draw(t, "fade"),
		Says: rapid.SampledFrom([]string{"", "c", "r", "cr", "v", "crv"}).Draw(t, "says"),
		Low:  rapid.SampledFrom([]float64{0, 0, 5, 15, 40}).Draw(t, "low"), FedBy: -1,
	}
	// A claim of more than ten hours counts as none: so much is not believed of any battery.
	b.Lie = min(b.Lie, runtimeMax/(biggest*b.Full/burn(b.Load*lightest)))
	if !exact {
		b.Steps = [3]float64{
			rapid.SampledFrom([]float64{1, 1, 0.1, 5, 10}).Draw(t, "charge step"), rapid.SampledFrom([]float64{1, 1, 60}).Draw(t, "runtime step"), 0.1,
		}
		if b.Steps[1]/b.Lie > 100 { // a step would take as long as what counts as frozen
			b.Steps[1] = 1
		}
	}
	return b
}

func drawPlant(t *rapid.T, exact bool, packs int) plant {
	p := plant{Wired: rapid.Bool().Draw(t, "wired"), Poll: rapid.SampledFrom([]float64{1, 2, 2, 5}).Draw(t, "poll"), Fails: map[int]bool{}}
	for range packs {
		p.Packs = append(p.Packs, drawPack(t, exact))
	}
	from := float64(rapid.IntRange(5, 30).Draw(t, "from"))
	for range rapid.IntRange(0, 3).Draw(t, "short ones") {
		long := float64(rapid.IntRange(1, 90).Draw(t, "long"))
		p.Outages = append(p.Outages, [2]float64{from, from + long})
		from += long + float64(rapid.IntRange(1, 60).Draw(t, "back for"))
	}
	p.Outages = append(p.Outages, [2]float64{from, math.Inf(1)})
	p.Ends = from + 3000
	if rapid.IntRange(0, 3).Draw(t, "surges") == 0 {
		p.Surges = []surge{{from + float64(rapid.IntRange(0, 600).Draw(t, "surge")), rapid.Float64Range(lightest, 2).Draw(t, "times")}}
	}
	for range rapid.IntRange(0, 5).Draw(t, "fails") {
		p.Fails[rapid.IntRange(0, 300).Draw(t, "fail")] = true
	}
	if rapid.IntRange(0, 5).Draw(t, "silent") == 0 {
		at := from + float64(rapid.IntRange(0, 300).Draw(t, "silent at"))
		p.Silent = [2]float64{at, at + float64(rapid.IntRange(5, 100).Draw(t, "silent for"))}
	}
	return p
}
