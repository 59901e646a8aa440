package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/export"
)

// serve opens the Unix socket of the local commands and the TCP port of the exporters. A
// machine must not be left alone because nobody can ask about it: what cannot be opened
// is tried again beside the loop. Two things are errors: a socket at which another agent
// answers, which guards this machine already, and a name that can be no socket's.
func (a *Agent) serve(ctx context.Context, group *errgroup.Group) error {
	if a.opts.Socket != "" {
		err := a.serveSocket(ctx, group)
		if errors.Is(err, errSocketName) || errors.Is(err, errOtherAgent) && !a.opts.SocketOptional {
			return err
		}
		a.retry(ctx, group, "no local commands for now", err, a.serveSocket)
	}
	if a.opts.Listen != "" {
		a.retry(ctx, group, "no metrics for now", a.serveMetrics(ctx, group), a.serveMetrics)
	}
	return nil
}

// retryOpen is how often a port or a socket that cannot be opened is tried again.
const retryOpen = 2 * time.Second

// retry says what is not open, and goes on trying beside the loop. With a nil err there
// is nothing to do.
func (a *Agent) retry(ctx context.Context, group *errgroup.Group, what string, err error, open func(context.Context, *errgroup.Group) error) {
	if err == nil {
		return
	}
	a.log.Error(what+", trying again", "err", err)
	group.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryOpen):
			}
			if open(ctx, group) == nil {
				return nil
			}
		}
	})
}

func (a *Agent) serveSocket(ctx context.Context, group *errgroup.Group) error {
	l, err := listenUnix(a.opts.Socket)
	if err != nil {
		return err
	}
	a.serveOn(ctx, group, l, a.localAPI(), withPeer)
	return nil
}

func (a *Agent) serveMetrics(ctx context.Context, group *errgroup.Group) error {
	l, err := net.Listen("tcp", a.opts.Listen)
	if err != nil {
		return err
	}
	addr := l.Addr()
	a.addr.Store(&addr)
	a.log.Info("serving metrics", "address", addr.String())
	a.serveOn(ctx, group, l, a.remoteAPI(), nil)
	return nil
}

func (a *Agent) serveOn(ctx context.Context, group *errgroup.Group, l net.Listener, h http.Handler, conn func(context.Context, net.Conn) context.Context) {
	srv := &http.Server{
		Handler: h, ConnContext: conn,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	group.Go(func() error {
		if err := srv.Serve(limitConns(l)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", l.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			return srv.Close()
		}
		return nil
	})
}

// maxSocket is how long the name of a Unix socket may be: sun_path has 108 bytes, the
// last of them zero. Source: unix(7).
const maxSocket = 107

var (
	errSocketName = errors.New("socket for the local commands")
	errOtherAgent = errors.New("another agent is listening there")
)

// listenUnix opens the socket for its owner and group. A socket file left by a process
// that is gone is replaced; one that answers is another agent's.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocket {
		return nil, fmt.Errorf("%w: %s has %d characters, a socket's name at most %d", errSocketName, path, len(path), maxSocket)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket for the local commands: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("socket for the local commands %s: %w", path, errOtherAgent)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket for the local commands: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket for the local commands: %w", err)
	}
	return l, nil
}

// remoteAPI is what may be read over the network. Nothing in it changes anything.
func (a *Agent) remoteAPI() http.Handler {
	mux := http.NewServeMux()
	export.Mount(mux, a.metrics, a.healthy, a.readyNow)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s := a.Status()
		if s.Shutdown != nil {
			for i := range s.Shutdown.Steps {
				s.Shutdown.Steps[i].Does = "" // a command line may hold what is nobody's business
				s.Shutdown.Steps[i].Why = ""  // and so may what a program says that fails
			}
		}
		writeJSON(w, s)
	})
	return mux
}

// localAPI is what the local commands use. Reading is for everyone who may open the
// socket; what acts is for root and the agent's own user.
func (a *Agent) localAPI() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", a.remoteAPI())
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.Status()) })
	mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, list(a.View().Findings)) })
	mux.HandleFunc("GET /v1/events", a.getEvents)
	mux.HandleFunc("GET /v1/drills", a.listDrills)
	mux.HandleFunc("GET /v1/drills/{id}", a.getDrill)
	mux.Handle("POST /v1/drills", privileged(a.postDrill))
	mux.Handle("DELETE /v1/drills", privileged(a.abortDrill))
	mux.HandleFunc("GET /v1/battery", a.getBattery)
	mux.Handle("POST /v1/battery", privileged(a.postBattery))
	mux.HandleFunc("GET /v1/boot-hold", a.getBootHold)
	mux.Handle("POST /v1/boot-hold", privileged(a.postBootHold))
	mux.HandleFunc("GET /v1/maintenance", a.getMaintenance)
	mux.Handle("POST /v1/maintenance", privileged(a.postMaintenance))
	mux.Handle("DELETE /v1/maintenance", privileged(a.deleteMaintenance))
	mux.HandleFunc("GET /v1/shutdown", a.getShutdown)
	mux.Handle("POST /v1/shutdown", privileged(a.shutdownRequest(a.ShutDown)))
	mux.Handle("DELETE /v1/shutdown", privileged(a.shutdownRequest(a.CancelShutdown)))
	mux.HandleFunc("GET /v1/preflight", a.getPreflight)
	mux.Handle("POST /v1/preflight", privileged(a.postPreflight))
	mux.Handle("POST /v1/step", privileged(a.postStep))
	mux.Handle("POST /v1/reload", privileged(func(w http.ResponseWriter, r *http.Request) {
		if err := a.Reload(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}))
	for path, takes := range localMethods {
		mux.HandleFunc(path, wrongMethod(takes))
	}
	return mux
}

// localMethods are what each path takes, for who asks in another way: "/" takes any, and
// would answer that there is no such path.
var localMethods = map[string]string{
	"/v1/shutdown":  "GET, HEAD, POST, DELETE",
	"/v1/preflight": "GET, HEAD, POST", "/v1/step": "POST",
	"/v1/audit": "GET, HEAD", "/v1/events": "GET, HEAD", "/v1/drills/{id}": "GET, HEAD", "/v1/reload": "POST",
	"/v1/drills": "GET, HEAD, POST, DELETE", "/v1/battery": "GET, HEAD, POST", "/v1/boot-hold": "GET, HEAD, POST", "/v1/maintenance": "GET, HEAD, POST, DELETE",
}

func wrongMethod(takes string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", takes)
		http.Error(w, fmt.Sprintf("%s is not for %s: want %s", dodai.Printable(r.URL.Path), dodai.Printable(r.Method), takes), http.StatusMethodNotAllowed)
	}
}

// healthy is nil while the loop decides: its last decision is not older than a few ticks.
func (a *Agent) healthy() error {
	if age := a.clock() - a.View().Snapshot.At; age > 5*tick {
		return fmt.Errorf("the last decision is %v old", age.Round(time.Millisecond))
	}
	return nil
}

func (a *Agent) readyNow() error {
	select {
	case <-a.ready:
		return a.View().wayDown()
	default:
	}
	for _, d := range a.View().Snapshot.Devices {
		if !d.Answered() {
			return fmt.Errorf("%s has not been heard yet", d.Name)
		}
	}
	return nil
}

// getEvents answers the newest events of the journal, oldest first: ?limit=100.
func (a *Agent) getEvents(w http.ResponseWriter, r *http.Request) {
	limit := 100
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10000 {
			http.Error(w, fmt.Sprintf("limit is %q: want a whole number from 1 to 10000", s), http.StatusBadRequest)
			return
		}
		limit = n
	}
	events, err := a.store.events(r.Context(), limit)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, events)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the peer has gone; there is nobody to tell
}

// list makes a list that is empty in JSON, not null, when there is nothing in it.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
